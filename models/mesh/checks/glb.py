"""The GLB that all other files are compared with; trimesh has read it (``models/mesh/glb_reader.py``)."""

from __future__ import annotations

from meshdrop.models.mesh.delivered import DeliveredMesh, check_surface


def check(files: DeliveredMesh) -> None:
    """A surface with its texture. Its vertices are split where charts meet, so it does not say how many places."""
    check_surface("mesh.glb", files.surface)
