"""What a file says of a surface, as read back: the part that all formats have in common, and when two of them agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.mesh.errors import MeshError
from meshdrop.models.mesh.glb_reader import GlbMesh
from meshdrop.models.mesh.mesh import decode_picture

T = TypeVar("T")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_TEXTURED_SHARE = 0.99
#: Bounding boxes and areas of two formats may differ by this share (float32 has 6e-8).
AGREEMENT = 1e-5


@dataclass(frozen=True)
class DeliveredSurface:
    """Corner positions (F, 3, 3) of a file's triangles, their uv (F, 3, 2), v up, or None, and its vertex count."""

    corners: Floats
    uv: Floats | None
    vertices: int

    @cached_property
    def areas(self) -> Floats:
        """Of each triangle (F,), in squared metres."""
        a, b, c = self.corners.transpose(1, 0, 2)
        areas: Floats = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
        return areas

    @cached_property
    def bounds(self) -> Floats:
        """Lowest and highest corner (2, 3), metres."""
        return np.stack([self.corners.min(axis=(0, 1)), self.corners.max(axis=(0, 1))])


@dataclass(frozen=True)
class DeliveredMesh:
    """The files of one model as they lie in ``folder``, and what the GLB among them holds, with which all others are
    compared. Reading the mask of seen texels raises ``MeshError`` when it is damaged.
    """

    folder: Path
    raw: Mapping[str, bytes]
    glb: GlbMesh
    surface: DeliveredSurface

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """(H, W), True where a camera saw the texel."""
        name = "texture_seen.png"
        return decode_picture(self.raw[name], name)[..., 0] > 127


def parsed(name: str, read: Callable[[bytes], T], raw: bytes) -> T:
    """Whatever a damaged file makes its reader raise becomes one sentence that names the file."""
    try:
        return read(raw)
    except MeshError:
        raise
    except Exception as error:  # a damaged file can break its parser in nearly any way
        raise MeshError(f"{name} cannot be read back ({type(error).__name__}: {error})") from error


def surface_of(content: GlbMesh, name: str) -> DeliveredSurface:
    """The triangles of a GLB. Raises ``MeshError`` when they refer to what is not there."""
    faces, vertices = in_range(name, content.indices.astype(np.int64), content.positions.astype(np.float64))
    return DeliveredSurface(vertices[faces], content.texcoords.astype(np.float64)[faces], len(vertices))


def in_range(name: str, indices: Ints, values: Floats) -> tuple[Ints, Floats]:
    """Both as they are. Raises ``MeshError`` when there are no indices, or one refers to no value."""
    if not indices.size:
        raise MeshError(f"{name} has no triangles")
    if indices.min() < 0 or indices.max() >= len(values):
        raise MeshError(f"{name} refers to entries {indices.min()}..{indices.max()} of {len(values)}")
    return indices, values


def check_surface(name: str, surface: DeliveredSurface) -> None:
    """Raises ``MeshError`` when positions are not finite, or texture coordinates leave 0..1 or show hardly anything."""
    if not np.isfinite(surface.corners).all():
        raise MeshError(f"{name} holds positions that are not finite numbers")
    if surface.uv is None:
        return
    if not (surface.uv.min() >= -1e-6 and surface.uv.max() <= 1 + 1e-6):  # also catches NaN
        raise MeshError(f"{name} holds uv from {surface.uv.min():.4g} to {surface.uv.max():.4g}, outside of [0, 1]")
    share = textured_share(surface)
    if share < MIN_TEXTURED_SHARE:
        raise MeshError(f"only {share:.1%} of the area in {name} is textured, less than {MIN_TEXTURED_SHARE:.0%}")


def check_agreement(name: str, surface: DeliveredSurface, reference: DeliveredSurface) -> None:
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


def textured_share(surface: DeliveredSurface) -> float:
    """Share of the area whose triangles have an area in the texture too."""
    if surface.uv is None:
        return 0.0
    one, other = surface.uv[:, 1] - surface.uv[:, 0], surface.uv[:, 2] - surface.uv[:, 0]
    areas = surface.areas
    textured = np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]) > 0
    return min(1.0, float(areas[textured].sum() / max(areas.sum(), 1e-300)))


def unseen_share(surface: DeliveredSurface, seen: NDArray[np.bool_]) -> float:
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
