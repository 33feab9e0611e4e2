"""The mesh that is drawn, and simpler stand-ins for it: what a search draws hundreds of times need not be all of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Mesh:
    """``vertices`` (V, 3) in the generator's frame, ``faces`` (F, 3), ``colours`` (V, 3) 0..1 or None."""

    vertices: Array
    faces: NDArray[np.int32]
    colours: Array | None


def simpler(mesh: Mesh, cells: int) -> Mesh:
    """The mesh with all vertices in one cell of a lattice drawn together into their mean, colours too.

    The lattice has ``cells`` cells on the mesh's longest side (Rossignac and Borrel, "Multi-resolution 3D
    approximations", 1993); faces that collapse, and repeated ones, are left out. Takes any triangles, closed or not, in
    linear time. A mesh that is simple already, or that would vanish, comes back as it is.
    """
    number, count = _cells(mesh.vertices, cells)
    faces = _whole_faces(number[mesh.faces], count)
    if not 0 < len(faces) < 0.7 * len(mesh.faces):
        return mesh
    colours = None if mesh.colours is None else _means(mesh.colours, number, count)
    return Mesh(_means(mesh.vertices, number, count), faces, colours)


def _cells(points: Array, cells: int) -> tuple[NDArray[np.intp], int]:
    """The number (V,) of the occupied cell that each point lies in, and how many cells are occupied."""
    low = points.min(axis=0)
    cell = max(float(np.ptp(points, axis=0).max()), 1e-300) / cells
    place = np.minimum((points - low) // cell, cells).astype(np.int64)
    name = (place[:, 0] * (cells + 1) + place[:, 1]) * (cells + 1) + place[:, 2]
    occupied, number = np.unique(name, return_inverse=True)
    return number, len(occupied)


def _whole_faces(faces: NDArray[np.intp], count: int) -> NDArray[np.int32]:
    """The faces (G, 3) with three different corners, each once, in their order."""
    whole = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    ordered = np.sort(whole, axis=1)
    names = (ordered[:, 0] * count + ordered[:, 1]) * count + ordered[:, 2]
    first = np.sort(np.unique(names, return_index=True)[1])
    return np.asarray(whole[first], np.int32)


def _means(values: Array, number: NDArray[np.intp], count: int) -> Array:
    sums = np.stack([np.bincount(number, values[:, k], count) for k in range(3)], axis=1)
    return np.asarray(sums / np.bincount(number, minlength=count)[:, None])
