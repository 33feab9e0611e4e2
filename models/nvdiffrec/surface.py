"""The surface that is optimised: how its vertices hang together, and how they move.

Vertices move by damped Newton steps: the data's curvature is taken as diagonal, the prior's as it is. A smoothed
gradient (Nicolet et al., "Large Steps in Inverse Rendering of Geometry", 2021) suppresses just those fine wrinkles that
the prior is there to remove, and earned half as much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Iterations of the conjugate gradient solver: the next step mends what one leaves over.
SOLVER_ITERATIONS = 20
#: Cotangent weights are kept in this range: slivers have none that could be used.
COTANGENTS = (0.05, 5.0)


@dataclass(frozen=True)
class Connections:
    """Neighbours of every vertex as a table: ``vertex`` (V, K) int64, filled up with the vertex itself; ``cotangent``
    (V, K) float32, 0 for the filling; ``area`` (V,) float32, a third of the area of the adjoining triangles."""

    vertex: Tensor
    cotangent: Tensor
    area: Tensor

    def mean(self, values: Tensor) -> Tensor:
        """``values`` (V, C) averaged over each vertex's row of the table."""
        return values[self.vertex].mean(dim=1)

    def cotangent_laplacian(self, values: Tensor) -> Tensor:
        """The integrated cotangent Laplacian of ``values`` (V, C) (Pinkall and Polthier 1993)."""
        return (self.cotangent[..., None] * (values[:, None] - values[self.vertex])).sum(dim=1)


def connections(vertices: NDArray[np.floating], faces: NDArray[np.integer], device: torch.device) -> Connections:
    """The table of a closed mesh: ``vertices`` (V, 3) metres, ``faces`` (F, 3)."""
    points = np.asarray(vertices, np.float64)
    count = len(points)
    heads, tails, weights = [], [], []
    for k in range(3):
        a, b, c = faces[:, k], faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]
        u, v = points[b] - points[a], points[c] - points[a]
        twice = np.linalg.norm(np.cross(u, v), axis=1)
        half = 0.5 * np.clip((u * v).sum(axis=1) / np.maximum(twice, 1e-12), *COTANGENTS)
        heads += [b, c]
        tails += [c, b]
        weights += [half, half]
    key = np.concatenate(heads).astype(np.int64) * count + np.concatenate(tails)
    pairs, place = np.unique(key, return_inverse=True)
    weight = np.bincount(place, np.concatenate(weights))
    head, tail = pairs // count, pairs % count
    slot = np.arange(len(pairs)) - np.searchsorted(head, head)
    table = np.repeat(np.arange(count)[:, None], int(slot.max(initial=0)) + 1, axis=1)
    cotangent = np.zeros(table.shape, np.float32)
    table[head, slot], cotangent[head, slot] = tail, weight
    area = vertex_areas(points, faces)
    return Connections(
        torch.from_numpy(table).to(device),
        torch.from_numpy(cotangent).to(device),
        torch.from_numpy(area.astype(np.float32)).to(device),
    )


def vertex_areas(vertices: NDArray[np.float64], faces: NDArray[np.integer]) -> NDArray[np.float64]:
    """A third of the area of the triangles around each vertex, (V,)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    third = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    areas = np.bincount(faces.ravel(), np.repeat(third, 3), len(vertices)).astype(np.float64)
    return np.maximum(areas, 1e-6 * max(float(areas.max(initial=0.0)), 1e-12))


@dataclass(frozen=True)
class Plate:
    """A thin plate that may crease, linearised at one surface: energy = sum of area x weight x |mean curvature|^2.

    The discrete plate is that of Wardetzky et al., "A quadratic bending model for inextensible surfaces" (2006),
    section 3, with the cotangents of the starting surface; ``weight`` (V,) falls where the curvature is beyond a
    crease's, so that the energy there grows with the angle only (pseudo-Huber, by iterative reweighting).
    """

    table: Connections
    weight: Tensor

    @classmethod
    def at(cls, vertices: Tensor, table: Connections, crease: float) -> Plate:
        """The plate at ``vertices``, with creases beyond a mean curvature of ``crease`` per metre."""
        curvature = table.cotangent_laplacian(vertices) / table.area[:, None]
        return cls(table, (1 + curvature.square().sum(dim=1) / crease**2).rsqrt())

    def force(self, vertices: Tensor) -> Tensor:
        """Half of the energy's gradient (V, 3); linear in ``vertices``, symmetric and positive semi-definite."""
        inner = self.table.cotangent_laplacian(vertices) * (self.weight / self.table.area)[:, None]
        return self.table.cotangent_laplacian(inner)

    def energy(self, vertices: Tensor) -> Tensor:
        """The energy, a scalar without unit."""
        return (vertices * self.force(vertices)).sum()


def newton_step(gradient: Tensor, stiffness: Tensor, plate: Plate, bending: float) -> Tensor:
    """The step (V, 3) that solves (diag(``stiffness``) + ``bending`` x plate) step = ``gradient``.

    Conjugate gradients with a diagonal preconditioner, each column for itself, a fixed number of iterations: nothing
    is read back to the host, and what is left over is corrected by the next step's gradient.
    """
    table = plate.table
    own = (table.cotangent.sum(dim=1).square() * plate.weight / table.area)[:, None]
    diagonal = stiffness + bending * own
    step, residual = torch.zeros_like(gradient), gradient
    scaled = residual / diagonal
    direction, energy = scaled, (residual * scaled).sum(dim=0)
    for _ in range(SOLVER_ITERATIONS):
        image = stiffness * direction + bending * plate.force(direction)
        length = energy / (direction * image).sum(dim=0).clamp_min(1e-38)
        step, residual = step + length * direction, residual - length * image
        scaled = residual / diagonal
        fresh = (residual * scaled).sum(dim=0)
        direction, energy = scaled + fresh / energy.clamp_min(1e-38) * direction, fresh
    return step


class NewtonSteps:
    """``newton_step`` for one surface and weight of bending. On CUDA its few hundred small kernels are recorded once
    as a graph and then started together, which takes a sixth of the time."""

    def __init__(self, table: Connections, bending: float) -> None:
        self._bending = bending
        self._recorded: tuple[torch.cuda.CUDAGraph, tuple[Tensor, Tensor, Tensor], Tensor] | None = None
        if table.area.is_cuda:
            self._recorded = self._record(table)

    def __call__(self, gradient: Tensor, stiffness: Tensor, plate: Plate) -> Tensor:
        """The step (V, 3); on CUDA it is overwritten by the next call."""
        if self._recorded is None:
            return newton_step(gradient, stiffness, plate, self._bending)
        graph, inputs, step = self._recorded
        for place, values in zip(inputs, (gradient, stiffness, plate.weight), strict=True):
            place.copy_(values)
        graph.replay()
        return step

    def _record(self, table: Connections) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, Tensor, Tensor], Tensor]:
        gradient, stiffness = (torch.ones(len(table.area), 3, device=table.area.device) for _ in range(2))
        weight = torch.ones_like(table.area)
        # a graph is recorded from code that has run before, on a stream of its own (PyTorch, "CUDA semantics")
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(aside):
            newton_step(gradient, stiffness, Plate(table, weight), self._bending)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph):
            step = newton_step(gradient, stiffness, Plate(table, weight), self._bending)
        return graph, (gradient, stiffness, weight), step
