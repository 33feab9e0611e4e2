"""The reload check: every delivered mesh file is read again from disk, by readers that are not the writers.

GLB is read by trimesh; OBJ, MTL and PLY by the small parsers below, which know the formats and
nothing of ``models/mesh/obj.py`` and ``models/mesh/ply.py``. A material and its light are read by their own
readers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.mesh.extra_formats import EXTRA_FILES
from meshdrop.models.mesh.glb_reader import GlbMesh, decode_glb
from meshdrop.models.mesh.mesh import MESH_FILES, MeshError, TexturedMesh, decode_picture, welded_mesh
from meshdrop.models.mesh.pbr import MATERIAL_FILES, read_material
from meshdrop.models.mesh.radiance_hdr import HdrError, read_hdr
from meshdrop.models.mesh.usdz_package import check_usdz
from meshdrop.models.mesh.uv_overlap import overlap_share

T = TypeVar("T")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_VERTICES = 1_000
MIN_GLB_BYTES = 1_024
MIN_TEXTURED_SHARE = 0.99
#: Bounding boxes and areas of the three formats may differ by this share (float32 has 6e-8).
AGREEMENT = 1e-5

PLY_TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float": "f4",
    "double": "f8",
    "float32": "f4",
    "float64": "f8",
}


@dataclass(frozen=True)
class MeshFacts:
    """What the files of one model hold, as read back. ``vertices`` counts places, ``glb_vertices`` the GLB's own
    (split where charts meet). Shares are of the surface area, 0..1, and ``overlap_share`` of the used texels: that of
    those which two triangles or more use. ``bounds_m`` is the lower and upper corner.
    """

    file_bytes: dict[str, int]
    vertices: int
    glb_vertices: int
    faces: int
    texture_size: tuple[int, int]
    textured_share: float
    unseen_share: float
    overlap_share: float
    bounds_m: tuple[tuple[float, ...], tuple[float, ...]]
    asset: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under the names above."""
        return asdict(self)


@dataclass(frozen=True)
class _Surface:
    """Corner positions (F, 3, 3) of a file's triangles, their uv (F, 3, 2), v up, or None, and its vertex count."""

    corners: Floats
    uv: Floats | None
    vertices: int

    @cached_property
    def areas(self) -> Floats:
        a, b, c = self.corners.transpose(1, 0, 2)
        areas: Floats = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
        return areas

    @cached_property
    def bounds(self) -> Floats:
        return np.stack([self.corners.min(axis=(0, 1)), self.corners.max(axis=(0, 1))])


def check_files(folder: Path, listed: Collection[str] | None = None) -> tuple[MeshFacts, TexturedMesh]:
    """Read every file of ``MESH_FILES`` in ``folder`` again and prove that they hold one textured surface: this one.

    The mesh is what ``mesh.glb`` and ``texture_seen.png`` hold. Where there is a material, ``MATERIAL_FILES`` are read
    too: the same surface, its textures and a light. ``listed`` are the names that the model's answer vouches for:
    each must be known, and none that lies there may be missing. Raises ``MeshError`` naming the file and what is wrong:
    missing or unreadable files, non-finite numbers, indices or uv out of range, too little of the area textured, a
    constant texture, references that lead nowhere, fewer than 1,000 vertices, a GLB under 1 KB, or formats that
    disagree with each other.
    """
    raw = {name: _read(folder / name) for name in _expected(folder, listed)}
    if len(raw["mesh.glb"]) <= MIN_GLB_BYTES:
        raise MeshError(f"mesh.glb has only {len(raw['mesh.glb'])} bytes")
    content = decode_glb(raw["mesh.glb"], "mesh.glb")
    glb = _surface(content, "mesh.glb")
    obj, library = _parsed("mesh.obj", _read_obj, raw["mesh.obj"])
    ply = _parsed("mesh.ply", _read_ply, raw["mesh.ply"])
    _check_references(library, raw)
    texture = decode_picture(raw["texture.png"], "texture.png")
    seen = decode_picture(raw["texture_seen.png"], "texture_seen.png")[..., 0] > 127
    _check_textures(content.texture, texture, seen)
    for name, surface in (("mesh.glb", glb), ("mesh.obj", obj), ("mesh.ply", ply)):
        _check_surface(name, surface)
        _check_agreement(name, surface, glb)
    if "pbr.glb" in raw:
        _check_material(folder, raw["pbr.glb"], glb)
    if "mesh.usdz" in raw:
        check_usdz(raw["mesh.usdz"], "mesh.usdz")
    places = min(obj.vertices, ply.vertices)
    if places <= MIN_VERTICES:
        raise MeshError(f"the mesh has {places} vertices; a real surface has more than {MIN_VERTICES:,}")
    low, high = glb.bounds
    facts = MeshFacts(
        file_bytes={name: len(content) for name, content in raw.items()},
        vertices=places,
        glb_vertices=glb.vertices,
        faces=len(glb.corners),
        texture_size=(texture.shape[1], texture.shape[0]),
        textured_share=_textured_share(glb),
        unseen_share=_unseen_share(glb, seen),
        overlap_share=0.0 if glb.uv is None else overlap_share(glb.uv, (texture.shape[1], texture.shape[0])),
        bounds_m=(tuple(low.tolist()), tuple(high.tolist())),
        asset=content.extras,
    )
    return facts, welded_mesh(content, seen)


def _expected(folder: Path, listed: Collection[str] | None) -> tuple[str, ...]:
    """The files to read; raises ``MeshError`` when the list is not of those, or not of all of those, that lie there."""

    def is_there(name: str) -> bool:
        return name in (listed or ()) or (folder / name).exists()

    names = MESH_FILES + (MATERIAL_FILES if any(map(is_there, MATERIAL_FILES)) else ())
    names += tuple(filter(is_there, EXTRA_FILES))
    if listed is not None:
        if strange := sorted(set(listed) - set(names)):
            raise MeshError(f"the model lists {strange[0]!r}, which is no file that models deliver")
        if missing := [name for name in names if name not in listed]:
            raise MeshError(f"{missing[0]} belongs to the files here, but the model does not list it")
    return names


def _check_material(folder: Path, lit: bytes, reference: _Surface) -> None:
    """``pbr.glb`` is the same surface with a whole material, ``probe.hdr`` a picture of the whole sphere with light."""
    surface = _surface(decode_glb(lit, "pbr.glb"), "pbr.glb")
    _check_surface("pbr.glb", surface)
    _check_agreement("pbr.glb", surface, reference)
    read_material(folder / "pbr.glb").check()
    try:
        light = read_hdr(folder / "probe.hdr")
    except HdrError as error:
        raise MeshError(f"probe.hdr cannot be read back ({error})") from error
    height, width = light.shape[:2]
    if width != 2 * height or not light.max() > 0:
        raise MeshError(f"probe.hdr is {width}x{height}, at most {light.max():.3g} bright: no light from all around")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MeshError(f"{path.name} cannot be read ({error.strerror})") from error


def _parsed(name: str, read: Callable[[bytes], T], raw: bytes) -> T:
    """Whatever a damaged file makes its reader raise becomes one sentence that names the file."""
    try:
        return read(raw)
    except MeshError:
        raise
    except Exception as error:  # a damaged file can break its parser in nearly any way
        raise MeshError(f"{name} cannot be read back ({type(error).__name__}: {error})") from error


def _surface(content: GlbMesh, name: str) -> _Surface:
    faces, vertices = _in_range(name, content.indices.astype(np.int64), content.positions.astype(np.float64))
    return _Surface(vertices[faces], content.texcoords.astype(np.float64)[faces], len(vertices))


def _read_obj(raw: bytes) -> tuple[_Surface, str]:
    """Positions and texture coordinates of an OBJ whose faces are all ``v/vt/vn`` triangles, and its MTL's name."""
    rows: dict[bytes, list[bytes]] = {b"v": [], b"vt": [], b"f": [], b"mtllib": []}
    for line in raw.splitlines():
        kind, _, rest = line.partition(b" ")
        if kind in rows:
            rows[kind].append(rest)
    positions = _numbers(b" ".join(rows[b"v"]), np.float64).reshape(-1, 3)
    texcoords = _numbers(b" ".join(rows[b"vt"]), np.float64).reshape(-1, 2)
    corners = _numbers(b" ".join(rows[b"f"]).replace(b"/", b" "), np.int64).reshape(-1, 3, 3) - 1
    faces, positions = _in_range("mesh.obj", corners[..., 0], positions)
    named, texcoords = _in_range("mesh.obj", corners[..., 1], texcoords)
    return _Surface(positions[faces], texcoords[named], len(positions)), rows[b"mtllib"][0].decode()


def _numbers(text: bytes, dtype: type) -> NDArray[Any]:
    """Numbers between spaces; four times as fast as splitting first. Raises ``ValueError`` for anything else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy 2 only warns about text that is not a number
        try:
            return np.fromstring(text.decode("ascii"), dtype, sep=" ")
        except DeprecationWarning as warning:
            raise ValueError(str(warning)) from warning


def _read_ply(raw: bytes) -> _Surface:
    """Positions of a binary little-endian PLY with scalar vertex properties and triangles."""
    head, _, body = raw.partition(b"end_header\n")
    lines = head.decode("ascii").splitlines()
    if lines[:2] != ["ply", "format binary_little_endian 1.0"]:
        raise MeshError("mesh.ply is not a binary little-endian PLY")
    counts = {words[1]: int(words[2]) for words in map(str.split, lines) if words[0] == "element"}
    scalars = [words for words in map(str.split, lines) if words[0] == "property" and words[1] != "list"]
    lists = [words for words in map(str.split, lines) if words[0] == "property" and words[1] == "list"]
    vertex = np.dtype([(name, "<" + PLY_TYPES[kind]) for _, kind, name in scalars])
    face = np.dtype([("count", "<" + PLY_TYPES[lists[0][2]]), ("corners", "<" + PLY_TYPES[lists[0][3]], 3)])
    split = counts["vertex"] * vertex.itemsize
    if len(body) != split + counts["face"] * face.itemsize:
        raise MeshError(f"mesh.ply holds {len(body)} bytes of data, its header announces another number")
    points, triangles = np.frombuffer(body[:split], vertex), np.frombuffer(body[split:], face)
    if not (triangles["count"] == 3).all():
        raise MeshError("mesh.ply holds faces that are no triangles")
    if not {"red", "green", "blue"} <= set(vertex.names or ()):
        raise MeshError("mesh.ply has no vertex colours")
    positions = np.stack([points[axis] for axis in "xyz"], axis=1).astype(np.float64)
    faces, positions = _in_range("mesh.ply", triangles["corners"].astype(np.int64), positions)
    return _Surface(positions[faces], None, len(positions))


def _in_range(name: str, indices: Ints, values: Floats) -> tuple[Ints, Floats]:
    if not indices.size:
        raise MeshError(f"{name} has no triangles")
    if indices.min() < 0 or indices.max() >= len(values):
        raise MeshError(f"{name} refers to entries {indices.min()}..{indices.max()} of {len(values)}")
    return indices, values


def _check_references(library: str, raw: dict[str, bytes]) -> None:
    """The OBJ names the MTL beside it, and the MTL names the texture beside it."""
    if library not in raw:
        raise MeshError(f"mesh.obj refers to {library!r}, which is not among the files")
    statements = dict(line.split(None, 1) for line in raw[library].decode("ascii").splitlines() if " " in line)
    if statements.get("map_Kd") not in raw:
        raise MeshError(f"{library} refers to {statements.get('map_Kd')!r}, which is not among the files")


def _check_textures(picture: NDArray[np.uint8], texture: NDArray[np.uint8], seen: NDArray[np.bool_]) -> None:
    if not np.array_equal(picture, texture):
        raise MeshError("the texture inside mesh.glb is not the one in texture.png")
    if seen.shape != texture.shape[:2]:
        raise MeshError("texture_seen.png has another size than texture.png")
    if (texture == texture[0, 0]).all():
        raise MeshError(f"texture.png is one single colour, {texture[0, 0].tolist()}: nothing was baked into it")


def _check_surface(name: str, surface: _Surface) -> None:
    if not np.isfinite(surface.corners).all():
        raise MeshError(f"{name} holds positions that are not finite numbers")
    if surface.uv is None:
        return
    if not (surface.uv.min() >= -1e-6 and surface.uv.max() <= 1 + 1e-6):  # also catches NaN
        raise MeshError(f"{name} holds uv from {surface.uv.min():.4g} to {surface.uv.max():.4g}, outside of [0, 1]")
    share = _textured_share(surface)
    if share < MIN_TEXTURED_SHARE:
        raise MeshError(f"only {share:.1%} of the area in {name} is textured, less than {MIN_TEXTURED_SHARE:.0%}")


def _check_agreement(name: str, surface: _Surface, reference: _Surface) -> None:
    """Same number of triangles, same bounding box and same area as the GLB."""
    if len(surface.corners) != len(reference.corners):
        raise MeshError(f"{name} has {len(surface.corners)} triangles, mesh.glb {len(reference.corners)}")
    bounds = reference.bounds
    tolerance = AGREEMENT * float(np.linalg.norm(bounds[1] - bounds[0]))
    off = float(np.abs(surface.bounds - bounds).max())
    area, expected = surface.areas.sum(), reference.areas.sum()
    if off > tolerance or abs(area - expected) > AGREEMENT * expected:
        raise MeshError(
            f"{name} and mesh.glb disagree: bounds by {off:.3g} m, area {area:.6g} m2 and {expected:.6g} m2"
        )


def _textured_share(surface: _Surface) -> float:
    """Share of the area whose triangles have an area in the texture too."""
    if surface.uv is None:
        return 0.0
    one, other = surface.uv[:, 1] - surface.uv[:, 0], surface.uv[:, 2] - surface.uv[:, 0]
    areas = surface.areas
    textured = np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]) > 0
    return min(1.0, float(areas[textured].sum() / max(areas.sum(), 1e-300)))


def _unseen_share(surface: _Surface, seen: NDArray[np.bool_]) -> float:
    """Share of the area that was filled in, from seven evenly weighted points in each triangle."""
    if surface.uv is None:
        return 1.0
    height, width = seen.shape
    weights = np.array([(1, 1, 1), (4, 1, 1), (1, 4, 1), (1, 1, 4), (1, 4, 4), (4, 1, 4), (4, 4, 1)], np.float64)
    total = np.zeros(len(surface.uv))
    for weight in weights / weights.sum(axis=1, keepdims=True):
        u, v = np.einsum("k,fkc->cf", weight, surface.uv)
        column = np.clip((u * width).astype(np.intp), 0, width - 1)
        row = np.clip(((1 - v) * height).astype(np.intp), 0, height - 1)
        total += ~seen[row, column]
    areas = surface.areas
    return min(1.0, float((total / len(weights)) @ areas / max(areas.sum(), 1e-300)))
