"""A lattice of tetrahedra in the part of space that matters, and the surface between its values.

The lattice is body-centred cubic: the corners and the centres of a grid of cubes. All its tetrahedra are congruent
and nearly regular, so no direction is preferred. Each has two opposite edges of one cube side (one between corners,
one between centres) and four edges from corner to centre, sqrt(3) / 2 as long. Doi and Koide, "An efficient method
of triangulating equi-valued surfaces by using tetrahedral cells", 1991; with gradients as in Shen et al., "Deep
marching tetrahedra", 2021, section 3.1.

**Values are positive outside and negative inside**, as everywhere in this project.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: A vertex moved by less than this share of a cube's side cannot turn a tetrahedron inside out: opposite edges are
#: half a side apart, and that is the least width of a tetrahedron.
SAFE_OFFSET = 0.25
#: Surface vertices keep this share of a lattice edge away from its ends, so that no triangle shrinks to a point.
CLEAR_OF_ENDS = 0.01
#: The six edges of a tetrahedron as pairs of its corners.
EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


@dataclass(frozen=True)
class Lattice:
    """Cubes of side ``cell`` metres: corner (i, j, k) lies at ``origin + cell * (i, j, k)``, ``shape`` corners.

    Points are numbered corners first, then centres, each with k fastest.
    """

    origin: tuple[float, float, float]
    cell: float
    shape: tuple[int, int, int]

    @property
    def centres(self) -> tuple[int, int, int]:
        """How many cube centres there are along each axis."""
        return self.shape[0] - 1, self.shape[1] - 1, self.shape[2] - 1

    def points(self, device: torch.device) -> Tensor:
        """All corners, then all centres, (P, 3) float32 metres."""
        parts = []
        for counts, shift in ((self.shape, 0.0), (self.centres, 0.5)):
            axes = [
                start + self.cell * (torch.arange(count, dtype=torch.float64, device=device) + shift)
                for start, count in zip(self.origin, counts, strict=True)
            ]
            parts.append(torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3))
        return torch.cat(parts).float()

    def inner(self, device: torch.device) -> Tensor:
        """(P,) bool: the points all of whose tetrahedra exist."""
        parts = []
        for counts in (self.shape, self.centres):
            whole = torch.zeros(counts, dtype=torch.bool, device=device)
            whole[1:-1, 1:-1, 1:-1] = True
            parts.append(whole.reshape(-1))
        return torch.cat(parts)


@dataclass(frozen=True)
class TetGrid:
    """The tetrahedra around the wanted points of a lattice.

    ``points`` (V, 3) float32 metres; ``number`` (V,) int64, their numbers in the whole lattice; ``tets`` (T, 4) int32,
    all turned the same way (positive volume); ``edges`` (E, 2) int32, each once; ``tet_edges`` (T, 6) int32 in the
    order of ``EDGES``; ``rim`` (V,) bool, points that were not wanted: they always count as outside, which is what
    closes every surface.
    """

    lattice: Lattice
    points: Tensor
    number: Tensor
    tets: Tensor
    edges: Tensor
    tet_edges: Tensor
    rim: Tensor

    @classmethod
    def around(cls, lattice: Lattice, wanted: Tensor) -> TetGrid:
        """The tetrahedra that have a corner in ``wanted`` (P,) bool. Points at the lattice's border cannot be wanted.

        Waits for the device (its size depends on the values); made once per search.
        """
        device = wanted.device
        wanted = wanted & lattice.inner(device)
        tets = torch.cat([group[wanted[group].any(dim=1)] for group in _tetrahedra(lattice, device)])
        number, tets = _renumber(tets.reshape(-1), len(wanted))
        points = lattice.points(device)[number]
        tets = tets.reshape(-1, 4)
        ends = tets[:, EDGES].reshape(-1, 2).sort(dim=1).values
        keys, tet_edges = torch.unique(ends[:, 0] * len(number) + ends[:, 1], return_inverse=True)
        edges = torch.stack([keys // max(len(number), 1), keys % max(len(number), 1)], dim=1)
        return cls(lattice, points, number, tets.int(), edges.int(), tet_edges.reshape(-1, 6).int(), ~wanted[number])


def _renumber(flat: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """The distinct numbers in ``flat``, ascending, and ``flat`` in terms of their places."""
    used = torch.zeros(total, dtype=torch.bool, device=flat.device)
    used[flat] = True
    place = torch.cumsum(used, dim=0) - 1
    return torch.nonzero(used).reshape(-1), place[flat]


def _tetrahedra(lattice: Lattice, device: torch.device) -> list[Tensor]:
    """All tetrahedra of positive volume in twelve groups (n, 4) int64: each edge from a centre to the next one along
    an axis, joined with each of the four sides of the square face that it pierces."""
    corner = torch.arange(int(np.prod(lattice.shape)), device=device).reshape(lattice.shape)
    centre = corner.numel() + torch.arange(int(np.prod(lattice.centres)), device=device).reshape(lattice.centres)
    groups = []
    for axis in range(3):
        across = [a for a in range(3) if a != axis]
        count = [lattice.centres[a] - (a == axis) for a in range(3)]

        def block(numbers: Tensor, start: dict[int, int], count: list[int] = count) -> Tensor:
            return numbers[tuple(slice(start.get(a, 0), start.get(a, 0) + count[a]) for a in range(3))].reshape(-1)

        here, there = block(centre, {}), block(centre, {axis: 1})
        # the face between the two cubes, its corners in a ring
        ring = [block(corner, {axis: 1, across[0]: b, across[1]: c}) for b, c in ((0, 0), (1, 0), (1, 1), (0, 1))]
        for side in range(4):
            one, other = ring[side], ring[(side + 1) % 4]
            # going round in the order (axis + 1, axis + 2) is positive; ``across`` is in that order unless axis = 1
            if axis == 1:
                one, other = other, one
            groups.append(torch.stack([here, there, one, other], dim=1))
    return groups


@cache
def triangle_table() -> NDArray[np.int64]:
    """(16, 2, 3): for each pattern of inside corners (bit k = corner k) the edges that its up to two triangles join,
    outward in a tetrahedron of positive volume; -1 where there is none."""
    table = np.full((16, 2, 3), -1)
    for pattern in range(1, 15):
        crossed = [e for e, (a, b) in enumerate(EDGES) if (pattern >> a ^ pattern >> b) & 1]
        if len(crossed) == 3:
            table[pattern, 0] = _outward(pattern, crossed)
        else:
            # neighbours in the ring share a corner; a diagonal joins opposite edges, which share no face of the
            # tetrahedron, so no neighbour can put a triangle along it
            ring = next(order for rest in permutations(crossed[1:]) if _ring(order := [crossed[0], *rest]))
            table[pattern, 0] = _outward(pattern, ring[:3])
            table[pattern, 1] = _outward(pattern, [ring[0], *ring[2:]])
    return table


def _ring(order: list[int]) -> bool:
    """Whether each edge shares a corner with the next, and the last with the first."""
    return all(set(EDGES[a]) & set(EDGES[b]) for a, b in zip(order, [*order[1:], order[0]], strict=True))


def _outward(pattern: int, triangle: list[int]) -> list[int]:
    """The triangle's edges turned so that it faces away from the inside corners."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    inside = np.array([pattern >> k & 1 for k in range(4)], dtype=bool)
    a, b, c = (corners[list(EDGES[e])].mean(axis=0) for e in triangle)
    outwards = corners[~inside].mean(axis=0) - corners[inside].mean(axis=0)
    return triangle if np.cross(b - a, c - a) @ outwards > 0 else triangle[::-1]


@dataclass(frozen=True)
class TetMesh:
    """A closed surface in arrays of fixed size.

    ``vertices`` (capacity, 3) metres; ``faces`` (2 x tetrahedron capacity, 3) int32, outward, where a row without a
    triangle is (0, 0, 0), which covers no pixel; ``live`` (capacity,) bool says which vertices exist; the others lie
    at the lattice's origin. ``ends`` (capacity, 2) int64 are the lattice points on either side of a vertex.
    ``vertex_count`` and ``tet_count`` are 0-dimensional int64 tensors, the room that the surface *needs*: where one
    is above its capacity, the surface is cut off and worthless.
    """

    vertices: Tensor
    faces: Tensor
    live: Tensor
    ends: Tensor
    vertex_count: Tensor
    tet_count: Tensor

    @property
    def real_faces(self) -> Tensor:
        """(F,) bool: rows of ``faces`` that are triangles."""
        return self.faces[:, 0] != self.faces[:, 1]

    def to_numpy(self) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Vertices (V, 3) float64 and faces (F, 3) int32 without padding. Waits for the device."""
        vertices = self.vertices[: int(self.vertex_count)].detach().cpu().numpy().astype(np.float64)
        return vertices, self.faces[self.real_faces].cpu().numpy()


class MarchingTets:
    """The zero set of values on a grid, with gradients to values and positions and without waiting for the device.

    Arrays have fixed capacities. A surface that needs more is reported by its counts (``overflow``), and ``grow``
    answers it.
    """

    def __init__(self, grid: TetGrid, vertex_capacity: int, tet_capacity: int) -> None:
        self.grid = grid
        self.vertex_capacity = vertex_capacity
        self.tet_capacity = tet_capacity
        self._table = torch.from_numpy(triangle_table()).to(grid.points.device)
        # made here once: bringing a number to the device waits for it
        self._nowhere = torch.tensor(grid.lattice.origin, device=grid.points.device)

    @classmethod
    def fitting(cls, grid: TetGrid, values: Tensor, room: float = 1.5) -> MarchingTets:
        """With ``room`` times the capacity that ``values`` (V,) need now. Waits for the device once."""
        march = cls(grid, 1, 1)
        march.grow(*march.needs(values), room)
        return march

    def needs(self, values: Tensor) -> tuple[int, int]:
        """How many vertices and crossed tetrahedra the zero set of ``values`` has. Waits for the device."""
        inside = self._inside(values)
        return int(self._crossed(inside).sum()), int((self._patterns(inside) % 15 != 0).sum())

    def grow(self, vertex_count: int, tet_count: int, room: float = 1.5) -> None:
        """Make room for ``room`` times these counts; never less than there is."""
        self.vertex_capacity = max(self.vertex_capacity, int(room * vertex_count) + 64)
        self.tet_capacity = max(self.tet_capacity, int(room * tet_count) + 64)

    def __call__(self, positions: Tensor, values: Tensor) -> TetMesh:
        """The surface for grid points at ``positions`` (V, 3) with ``values`` (V,), negative inside."""
        inside = self._inside(values)
        crossed = self._crossed(inside)
        slot = torch.cumsum(crossed, dim=0) - 1
        edge, live = compact(crossed, self.vertex_capacity)
        ends = self.grid.edges.index_select(0, edge).long()
        crossings = _zero_crossing(positions, values, ends, live)
        vertices = torch.where(live[:, None], crossings, self._nowhere.to(crossings.dtype))
        patterns = self._patterns(inside)
        cut = patterns % 15 != 0
        tet, there = compact(cut, self.tet_capacity)
        corners = self._table[torch.where(there, patterns.index_select(0, tet), 0)].reshape(-1, 6)
        numbers = slot[self.grid.tet_edges.index_select(0, tet).long()].gather(1, corners.clamp_min(0))
        # a surface beyond its capacity is thrown away, but drawing it until that is noticed must stay in bounds
        numbers = torch.where(corners >= 0, numbers, 0).clamp(0, self.vertex_capacity - 1)
        return TetMesh(vertices, numbers.reshape(-1, 3).int(), live, ends, slot[-1] + 1, cut.sum())

    def overflow(self, vertex_count: int, tet_count: int) -> bool:
        """Whether a surface of these counts was cut off."""
        return vertex_count > self.vertex_capacity or tet_count > self.tet_capacity

    def _inside(self, values: Tensor) -> Tensor:
        return (values.detach() < 0) & ~self.grid.rim

    def _crossed(self, inside: Tensor) -> Tensor:
        return inside.index_select(0, self.grid.edges[:, 0]) ^ inside.index_select(0, self.grid.edges[:, 1])

    def _patterns(self, inside: Tensor) -> Tensor:
        bits = [inside.index_select(0, self.grid.tets[:, k]).long() << k for k in range(4)]
        return bits[0] | bits[1] | bits[2] | bits[3]


def compact(chosen: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
    """The places where ``chosen`` (N,) is true, ascending, in ``capacity`` slots (int64), and which slots are used.

    Unused slots hold 0. What finds no room is dropped. Does not wait for the device, unlike ``nonzero``.
    """
    slot = torch.cumsum(chosen, dim=0)
    # slot 0 takes all that is not wanted
    target = torch.where(chosen & (slot <= capacity), slot, 0)
    places = torch.zeros(capacity + 1, dtype=torch.int64, device=chosen.device)
    places.scatter_(0, target, torch.arange(len(chosen), device=chosen.device))
    used = torch.arange(capacity, device=chosen.device) < slot[-1]
    return torch.where(used, places[1:], 0), used


def _zero_crossing(positions: Tensor, values: Tensor, ends: Tensor, live: Tensor) -> Tensor:
    """Where the value, linear along each edge, is zero, (n, 3); kept clear of the edge's ends.

    The gradient is that of the exact crossing, also where the result was moved: else a vertex that came too near to
    an end could never leave it.
    """
    start, end = values.index_select(0, ends[:, 0]), values.index_select(0, ends[:, 1])
    share = start / torch.where(live, start - end, 1.0)
    share = share + (share.clamp(CLEAR_OF_ENDS, 1 - CLEAR_OF_ENDS) - share).detach()
    here, there = positions.index_select(0, ends[:, 0]), positions.index_select(0, ends[:, 1])
    return here + share[:, None] * (there - here)
