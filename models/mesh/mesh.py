"""TexturedMesh: what every model returns and every file is written from."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from meshdrop.models.axes.stance import Stance
from meshdrop.models.mesh.cleaning import Triangles, clean, weld
from meshdrop.models.mesh.errors import MeshError
from meshdrop.models.mesh.glb import glb_of
from meshdrop.models.mesh.glb_reader import GlbMesh, decode_glb
from meshdrop.models.mesh.output_formats import ALWAYS, MESH_FILES, function

__all__ = [
    "MESH_FILES",
    "FinishedMesh",
    "MeshError",
    "TexturedMesh",
    "decode_picture",
    "glb_with_jpeg",
    "read_glb",
    "read_mesh",
    "upright",
    "welded_mesh",
    "write_all",
    "write_glb",
]


@dataclass(frozen=True)
class TexturedMesh:
    """Triangles with one UV atlas and one base-colour texture.

    ``vertices`` (V, 3) float32, metres, in the capture's world, whichever way is up there. ``faces`` (F, 3) int32,
    counter-clockwise seen from outside. ``uv`` (F, 3, 2) float32 per face corner, in [0, 1], **v up** (v = 0 is
    the bottom row of the texture, as in OBJ; GLB is flipped on writing). ``texture`` (H, W, 3) uint8 sRGB, row 0
    on top. ``seen`` (H, W) bool, True where a camera saw the surface of that texel; False texels were filled in.
    ``roughness`` and ``metallic`` are constant factors in 0..1.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]
    texture: NDArray[np.uint8]
    seen: NDArray[np.bool_]
    roughness: float = 1.0
    metallic: float = 0.0

    def check(self) -> None:
        """Raise ``MeshError`` naming the first thing that breaks the promises above."""
        _check_array("vertices", self.vertices, np.float32, (None, 3))
        _check_array("faces", self.faces, np.int32, (None, 3))
        _check_array("uv", self.uv, np.float32, (len(self.faces), 3, 2))
        _check_array("texture", self.texture, np.uint8, (None, None, 3))
        _check_array("seen", self.seen, np.bool_, self.texture.shape[:2])
        if not len(self.faces):
            raise MeshError("the mesh has no triangles")
        if not np.isfinite(self.vertices).all():
            raise MeshError(f"{int((~np.isfinite(self.vertices)).any(axis=1).sum())} vertices are not finite")
        if self.faces.min() < 0 or self.faces.max() >= len(self.vertices):
            span = f"{self.faces.min()}..{self.faces.max()}"
            raise MeshError(f"faces name vertices {span}, but there are {len(self.vertices)}")
        if not (self.uv.min() >= 0.0 and self.uv.max() <= 1.0):  # also catches NaN
            raise MeshError(f"uv spans {self.uv.min():.4g}..{self.uv.max():.4g}, outside of [0, 1]")
        for name, factor in (("roughness", self.roughness), ("metallic", self.metallic)):
            if not 0.0 <= factor <= 1.0:
                raise MeshError(f"{name} is {factor}, outside of [0, 1]")

    def cleaned(self) -> TexturedMesh:
        """The same surface with equal positions welded, degenerate triangles mended, unused vertices dropped.

        Raises ``MeshError`` when the mesh breaks its promises or nothing real is left.
        """
        self.check()
        triangles = clean(Triangles(self.vertices, self.faces, self.uv))
        if not len(triangles.faces):
            raise MeshError(f"all {len(self.faces)} triangles are degenerate: the mesh has no surface")
        return replace(self, vertices=triangles.vertices, faces=triangles.faces, uv=triangles.uv)

    def vertex_normals(self) -> NDArray[np.float32]:
        """Smooth unit normals (V, 3), weighted by the angle of each corner (Thürmer and Wüthrich 1998).

        Needs a cleaned mesh: across UV seams the surface shares its vertices, so shading shows no seam. Where
        the weighted sum vanishes (two sheets back to back) the normal of one adjoining triangle stands in.
        """
        corners = self.vertices.astype(np.float64)[self.faces]
        face_normals = _unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
        normals = np.zeros((len(self.vertices), 3))
        for k in range(3):
            there = _unit(corners[:, (k + 1) % 3] - corners[:, k])
            back = _unit(corners[:, (k + 2) % 3] - corners[:, k])
            angle = np.arccos(np.clip((there * back).sum(axis=1), -1.0, 1.0))
            for axis in range(3):
                normals[:, axis] += np.bincount(self.faces[:, k], angle * face_normals[:, axis], len(normals))
        vanished = np.linalg.norm(normals, axis=1) < 1e-9
        if vanished.any():
            any_face = np.zeros(len(normals), np.int64)
            any_face[self.faces] = np.arange(len(self.faces))[:, None]
            normals[vanished] = face_normals[any_face[vanished]]
        return _unit(normals).astype(np.float32)

    def vertex_colours(self) -> NDArray[np.uint8]:
        """Texture colour per vertex (V, 3), sRGB: bilinear at every corner, averaged over its corners."""
        corner_colours = _bilinear(self.texture, self.uv.reshape(-1, 2))
        flat = self.faces.ravel()
        count = np.maximum(np.bincount(flat, minlength=len(self.vertices)), 1)
        sums = [np.bincount(flat, corner_colours[:, channel], len(self.vertices)) for channel in range(3)]
        return np.rint(np.stack(sums, axis=1) / count[:, None]).astype(np.uint8)


@dataclass(frozen=True)
class FinishedMesh:
    """A cleaned mesh with what every writer wants of it: ``normals`` (V, 3), and the texture encoded as ``picture``.

    ``extras`` (plain JSON values) are what is said about the mesh.
    """

    mesh: TexturedMesh
    normals: NDArray[np.float32]
    picture: bytes
    extras: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, mesh: TexturedMesh, extras: Mapping[str, Any]) -> FinishedMesh:
        """Clean a mesh and encode its texture as PNG (lossless at any size); raises ``MeshError``."""
        mesh = mesh.cleaned()
        return cls(mesh, mesh.vertex_normals(), encode_picture(mesh.texture), extras)

    @cached_property
    def texcoords(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Distinct texture coordinates (T, 2) in order of first use, and which one each corner (F, 3) uses."""
        flat = np.ascontiguousarray(self.mesh.uv.reshape(-1, 2)) + np.float32(0.0)
        _, first, inverse = np.unique(flat.view(np.uint64).ravel(), return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        return flat[first[order]], rank[inverse.ravel()].reshape(-1, 3)

    @property
    def comments(self) -> tuple[str, ...]:
        """What a text header says of the positions, for formats that have no place of their own for it: there nothing
        turns them, so the axis is the vertices' own."""
        stance = Stance.of(self.extras)
        told = [f"units: {self.extras.get('units', 'metre')}", f"up axis: {stance.axis}"]
        if any(stance.origin):
            x, y, z = stance.origin
            told.append(f"origin: {x!r} {y!r} {z!r} (of the capture's world: add it to every position)")
        return tuple(told)


def write_all(mesh: TexturedMesh, folder: Path, extras: Mapping[str, Any]) -> list[Path]:
    """Write every file of ``MESH_FILES`` into ``folder`` from one cleaned mesh; returns the paths in that order.

    ``extras`` (plain JSON values) goes into the GLB's ``asset.extras``; its ``units`` (else metres), its ``world_up``
    (else +Y), by which the GLB's node is turned, and its ``origin_m`` are said in the other formats too. Raises
    ``MeshError`` or ``OSError``; no file is ever skipped. The same mesh and extras give the same bytes.
    """
    finished = FinishedMesh.of(mesh, extras)
    folder.mkdir(parents=True, exist_ok=True)
    for found in ALWAYS:
        function(found.write)(finished, folder)
    return [folder / name for name in MESH_FILES]


def write_glb(mesh: TexturedMesh, path: Path, extras: Mapping[str, Any]) -> None:
    """Write one binary glTF file: metres, +Y up by its node, the texture inside as PNG (lossless at any size)."""
    path.write_bytes(glb_of(FinishedMesh.of(mesh, extras)))


def read_glb(path: Path) -> TexturedMesh:
    """Read a GLB with UV seams welded again, in the capture's world; ``seen`` is True everywhere (a GLB has none).

    Raises ``MeshError`` for anything else than one textured triangle mesh, ``OSError`` when it cannot be opened.
    """
    content = decode_glb(path.read_bytes(), path.name)
    return welded_mesh(content, np.ones(content.texture.shape[:2], np.bool_))


def read_mesh(folder: Path) -> TexturedMesh:
    """Read ``mesh.glb`` of a model's folder with ``texture_seen.png``, the mask of texels that were seen."""
    mesh = read_glb(folder / "mesh.glb")
    name = "texture_seen.png"
    seen = decode_picture((folder / name).read_bytes(), name)[..., 0] > 127
    if seen.shape != mesh.texture.shape[:2]:
        raise MeshError(f"{name} is {seen.shape[1]}x{seen.shape[0]}, the texture is not")
    return replace(mesh, seen=seen)


def welded_mesh(content: GlbMesh, seen: NDArray[np.bool_]) -> TexturedMesh:
    """A GLB's mesh with vertices shared across UV seams again; raises ``MeshError`` when it breaks its promises."""
    welded = weld(Triangles(content.positions, content.indices, content.texcoords[content.indices]))
    mesh = TexturedMesh(
        welded.vertices, welded.faces, welded.uv, content.texture, seen, content.roughness, content.metallic
    )
    mesh.check()
    return mesh


def decode_picture(raw: bytes, name: str) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of an encoded picture; raises ``MeshError`` naming ``name`` when it is damaged."""
    try:
        with Image.open(io.BytesIO(raw)) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise MeshError(f"{name}: its picture cannot be decoded ({error})") from error


def upright(mesh: TexturedMesh, extras: Mapping[str, Any]) -> TexturedMesh:
    """The mesh as a scene shows it that says ``extras`` of it: +Y up, no longer in the capture's world."""
    return replace(mesh, vertices=Stance.of(extras).stand(mesh.vertices))


def glb_with_jpeg(mesh: TexturedMesh, jpeg: bytes, extras: Mapping[str, Any]) -> bytes:
    """A GLB for looking at: a cleaned mesh whose picture is ``jpeg``, of any size, instead of its own texture."""
    return glb_of(FinishedMesh(mesh, mesh.vertex_normals(), jpeg, extras), "image/jpeg")


def _bilinear(texture: NDArray[np.uint8], uv: NDArray[np.float32]) -> NDArray[np.float64]:
    """Texture colours (N, 3) in 0..255 at ``uv`` (N, 2), v up; texel centres at half-integers, edges clamped."""
    height, width = texture.shape[:2]
    x = np.clip(uv[:, 0].astype(np.float64) * width - 0.5, 0, width - 1)
    y = np.clip((1 - uv[:, 1].astype(np.float64)) * height - 0.5, 0, height - 1)
    x0, y0 = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    top = texture[y0, x0] * (1 - fx) + texture[y0, x1] * fx
    bottom = texture[y1, x0] * (1 - fx) + texture[y1, x1] * fx
    colours: NDArray[np.float64] = top * (1 - fy) + bottom * fy
    return colours


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def encode_picture(pixels: NDArray[Any]) -> bytes:
    """A picture (H, W) or (H, W, 3) uint8, or bool, as PNG.

    Lossless; run-length matches alone pack an atlas (speckle of many small charts) better and faster than deflate's
    own search does: 690 kB in 0.12 s instead of 751 kB in 0.29 s for 1024 x 1024 texels of a cow.
    """
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_type=zlib.Z_RLE)
    return stream.getvalue()


def _check_array(name: str, value: NDArray[Any], dtype: type, shape: tuple[int | None, ...]) -> None:
    right_shape = value.ndim == len(shape) and all(
        want in {None, have} for want, have in zip(shape, value.shape, strict=True)
    )
    if not right_shape or value.dtype != dtype:
        wanted = " x ".join("any" if side is None else str(side) for side in shape)
        raise MeshError(f"{name} is {value.dtype} {value.shape}, expected {np.dtype(dtype)} {wanted}")
