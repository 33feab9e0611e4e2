"""PLY, binary little endian, with normals and vertex colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from meshdrop.models.mesh.mesh import FinishedMesh

VERTEX = np.dtype([("position", "<f4", 3), ("normal", "<f4", 3), ("colour", "u1", 3)])
FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])


def write(finished: FinishedMesh, folder: Path) -> None:
    """Write ``mesh.ply``, with vertex colours sampled from the texture."""
    mesh = finished.mesh
    content = encode_ply(mesh.vertices, finished.normals, mesh.vertex_colours(), mesh.faces, finished.comments)
    (folder / "mesh.ply").write_bytes(content)


def encode_ply(
    vertices: NDArray[np.float32],
    normals: NDArray[np.float32],
    colours: NDArray[np.uint8],
    faces: NDArray[np.int32],
    comments: Sequence[str],
) -> bytes:
    """One PLY file: ``vertices`` and ``normals`` (V, 3), ``colours`` (V, 3) sRGB, ``faces`` (F, 3)."""
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {comment}" for comment in comments),
        f"element vertex {len(vertices)}",
        *(f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    points = np.empty(len(vertices), VERTEX)
    points["position"], points["normal"], points["colour"] = vertices, normals, colours
    triangles = np.empty(len(faces), FACE)
    triangles["count"], triangles["corners"] = 3, faces
    return "\n".join(header).encode("ascii") + points.tobytes() + triangles.tobytes()
