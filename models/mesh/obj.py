"""Wavefront OBJ and MTL as text: one texture coordinate per corner, a material that renders white as white."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from meshdrop.models.mesh.mesh import FinishedMesh


def write(finished: FinishedMesh, folder: Path) -> None:
    """Write ``mesh.obj`` and ``mesh.mtl``, which name ``texture.png`` beside them."""
    mesh, (texcoords, corner) = finished.mesh, finished.texcoords
    (folder / "mesh.obj").write_bytes(
        encode_obj(
            vertices=mesh.vertices,
            normals=finished.normals,
            texcoords=texcoords,
            faces=mesh.faces,
            corner_texcoords=corner,
            material_file="mesh.mtl",
            comments=finished.comments,
        )
    )
    (folder / "mesh.mtl").write_bytes(encode_mtl("texture.png", mesh.roughness, mesh.metallic))


def encode_obj(
    *,
    vertices: NDArray[np.float32],
    normals: NDArray[np.float32],
    texcoords: NDArray[np.float32],
    faces: NDArray[np.int32],
    corner_texcoords: NDArray[np.int32],
    material_file: str,
    comments: Sequence[str],
) -> bytes:
    """OBJ text; nine significant digits give every float32 back exactly.

    ``vertices`` and ``normals`` (V, 3) share ``faces`` (F, 3); ``texcoords`` (T, 2), v up, are named by
    ``corner_texcoords`` (F, 3).
    """
    rows = np.stack([faces, corner_texcoords, faces], axis=2).reshape(len(faces), 9) + 1
    return "".join(
        [
            *(f"# {comment}\n" for comment in comments),
            f"mtllib {material_file}\no mesh\n",
            _rows("v %.9g %.9g %.9g\n", vertices),
            _rows("vt %.9g %.9g\n", texcoords),
            _rows("vn %.6f %.6f %.6f\n", normals),
            "usemtl surface\ns 1\n",
            _rows("f %d/%d/%d %d/%d/%d %d/%d/%d\n", rows),
        ]
    ).encode("ascii")


def _rows(pattern: str, values: NDArray[np.generic]) -> str:
    return (pattern * len(values)) % tuple(values.ravel().tolist())


def encode_mtl(texture_file: str, roughness: float, metallic: float) -> bytes:
    """MTL text: the texture as it is (``Kd 1 1 1``), no ambient or specular light, PBR factors beside it.

    Many exporters write ``Kd 0.4`` and every texture comes out dark. Viewers that know the PBR extension read
    ``Pr`` and ``Pm``; others fall back to diffuse shading (``illum 1``).
    """
    return (
        "newmtl surface\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nd 1\nillum 1\n"
        f"Pr {roughness:.6g}\nPm {metallic:.6g}\nmap_Kd {texture_file}\n"
    ).encode("ascii")
