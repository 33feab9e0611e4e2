"""The texture by itself, and the mask of what a camera saw of it, as PNG."""

from __future__ import annotations

from pathlib import Path

from meshdrop.models.mesh.mesh import FinishedMesh, encode_picture


def write(finished: FinishedMesh, folder: Path) -> None:
    """Write ``texture.png`` and ``texture_seen.png`` (white: seen)."""
    (folder / "texture.png").write_bytes(finished.picture)
    (folder / "texture_seen.png").write_bytes(encode_picture(finished.mesh.seen))
