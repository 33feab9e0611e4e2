"""Pass 1: searching the topology of the surface, from what the silhouettes leave, by gradients through pictures.

The surface is the zero set of values on a lattice of tetrahedra whose points may move a little; its colour is a
function of space. Every step draws it in all views (Munkberg et al., "Extracting Triangular 3D Models, Materials, and
Lighting From Images", 2022). Other than there, the start is the visual hull instead of noise, and the surface is never
let out of it: free space seen by one camera stays free.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meshdrop.models.nvdiffrec.search import search_losses as losses
from meshdrop.models.nvdiffrec.search.encoding import HashSettings
from meshdrop.models.nvdiffrec.search.field import EPSILON, MaterialField
from meshdrop.models.nvdiffrec.search.hull import StartField
from meshdrop.models.nvdiffrec.search.plate import ThinPlate
from meshdrop.models.nvdiffrec.search.search_losses import SearchViews
from meshdrop.models.nvdiffrec.search.shape import ImplicitShape
from meshdrop.models.nvdiffrec.search.tets import MarchingTets, TetGrid, TetMesh
from meshdrop.models.raster.differentiable import Raster
from meshdrop.models.surface.pieces import ClosedMesh, opposite_corners, without_crumbs

#: Lattice points farther than this many cells outside the hull cannot matter.
BEYOND_HULL = 1.5


@dataclass(frozen=True)
class SearchSettings:
    """How to search. ``steps`` in all, looked at every ``check_every`` steps.

    Rates of the first step after ``warm_up`` steps, falling to ``last`` of it: ``value_rate`` in cells (coarser
    lattices: times the root of their spacing), ``offset_rate`` in shares of the farthest offset, ``field_rate`` plain.
    Weights of the losses: ``coverage``, ``colour``, ``depth``, ``bending``; ``sign`` falls from the first to the
    second number in the first quarter. ``slack``: how many cells the surface may leave the hull by.
    ``most_rollbacks``: after these many the search ends.

    Coverage weighs most because silhouettes are facts and cost little once they fit; bending then decides what they
    leave open.
    """

    steps: int = 500
    check_every: int = 25
    value_rate: float = 0.2
    offset_rate: float = 0.01
    field_rate: float = 0.01
    warm_up: int = 20
    last: float = 0.1
    coverage: float = 10.0
    colour: float = 1.0
    depth: float = 0.1
    bending: float = 0.5
    sign: tuple[float, float] = (0.2, 0.01)
    slack: float = 0.25
    most_rollbacks: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Progress:
    """Where the search stands: ``step`` of ``steps``, the last ``loss``, ``psnr`` in dB where object or surface are,
    ``iou`` of the silhouettes, ``faces`` now, ``seconds_left`` at the present speed, and what went wrong just now."""

    step: int
    steps: int
    loss: float
    psnr: float
    iou: float
    faces: int
    seconds_left: float
    trouble: str | None = None


@dataclass(frozen=True)
class SearchResult:
    """``vertices`` (V, 3) float64 metres, ``faces`` (F, 3) int32 outward and closed, in one or more pieces; the
    ``field`` that colours them.

    ``steps`` asked for, ``done`` that counted, ``best_step`` the result comes from, ``psnr`` and ``iou`` it had there
    and at the start, ``rolled_back`` the reason of every return to an earlier state, ``history`` every check.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]
    field: MaterialField
    steps: int
    done: int
    best_step: int
    psnr: float
    iou: float
    start_psnr: float
    start_iou: float
    rolled_back: tuple[str, ...]
    history: tuple[Progress, ...]


class EmptySurface(ValueError):
    """The start has no surface inside its lattice, or the search lost it for good."""


@dataclass
class _State:
    """Everything that makes the search go on from a step."""

    step: int
    shape: dict[str, Tensor]
    field: dict[str, Tensor]
    optimizer: dict[str, Any]


class TopologySearch:
    """One search. ``run`` does it all; ``step`` and ``check`` are its parts.

    ``start`` is the hull; with ``before``, a search on a coarser lattice, the surface and colours it has come to are
    where this one begins. No step waits for the device; ``check`` does, once. Raises ``EmptySurface`` when ``start``
    has no zero set.
    """

    def __init__(
        self,
        raster: Raster,
        views: SearchViews,
        start: StartField,
        settings: SearchSettings | None = None,
        encoding: HashSettings | None = None,
        before: TopologySearch | None = None,
    ) -> None:
        self.raster, self.views, self.settings = raster, views, settings or SearchSettings()
        device = raster.device
        values = start.at_points(device)
        grid = TetGrid.around(start.lattice, values < BEYOND_HULL)
        hull = values[grid.number]
        if not bool(((hull < 0) & ~grid.rim).any()):
            raise EmptySurface("the start has no solid space inside its lattice")
        self.cell, self.lattice_values = start.lattice.cell, values
        self._free = hull - self.settings.slack
        first = hull
        if before is not None:
            first = torch.maximum(before.shape.values_on(start.lattice, before.lattice_values)[grid.number], self._free)
        self.shape: ImplicitShape = ImplicitShape(grid, first)
        self.march = MarchingTets.fitting(grid, first)
        self.plate = ThinPlate(grid)
        self.field: MaterialField = (
            before.field
            if before is not None
            else MaterialField(
                grid.points.amin(dim=0), grid.points.amax(dim=0), settings=encoding, seed=self.settings.seed
            )
        )
        rated = [
            ([self.shape.fine], self.settings.value_rate),
            # what lies farther apart has farther to go
            *(
                ([numbers], self.settings.value_rate * stride**0.5)
                for numbers, stride in zip(self.shape.coarse, self.shape.strides, strict=True)
            ),
            ([self.shape.offsets], self.settings.offset_rate),
            (list(self.field.parameters()), self.settings.field_rate),
        ]
        self._rates = [rate for _, rate in rated]
        self.optimizer = torch.optim.Adam(
            [{"params": part, "lr": rate} for part, rate in rated], betas=(0.9, 0.99), eps=EPSILON
        )
        self._pixels = views.object_pixels()
        self._noise = torch.Generator(device).manual_seed(self.settings.seed)
        self._backdrop = torch.rand(views.rgb.shape, generator=self._noise, device=device)
        self._loss = torch.zeros((), device=device)
        self._needs = torch.zeros(2, dtype=torch.int64, device=device)
        self.steps_done, self._calm = 0, 1.0
        self.rolled_back: list[str] = []
        self.history: list[Progress] = []
        self._good, self._best, self._best_error = self._state(), self._state(), float("inf")
        self._began: tuple[float, int] | None = None

    def run(self, report: Callable[[Progress], None] | None = None) -> SearchResult:
        """Search, calling ``report`` at every check, and return the best surface found."""
        while True:
            progress = self.check()
            if report is not None:
                report(progress)
            if self.steps_done >= self.settings.steps or len(self.rolled_back) > self.settings.most_rollbacks:
                return self.result()
            for _ in range(min(self.settings.check_every, self.settings.steps - self.steps_done)):
                self.step()

    def surface(self) -> TetMesh:
        """The surface as it is now."""
        return self.shape.surface(self.march)

    def step(self) -> None:
        """One step of the optimiser on all views."""
        share = self.steps_done / max(self.settings.steps - 1, 1)
        warm = min(1.0, (self.steps_done + 1) / max(self.settings.warm_up, 1))
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * warm * self._calm * self.settings.last**share
        values = self.shape.values()
        mesh = self.march(self.shape.positions(), values)
        shot = losses.shoot(self.raster, self.views, self._pixels, mesh, self.field)
        loss = self._objective(mesh, values, shot, share)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.shape.keep_above(self._free)
        with torch.no_grad():
            # a number that was lost in any step since the last check stays lost
            self._loss = loss.detach() + 0 * self._loss
            self._needs = torch.maximum(self._needs, torch.stack([mesh.vertex_count, mesh.tet_count]))
        self.steps_done += 1

    def _objective(self, mesh: TetMesh, values: Tensor, shot: losses.Shot, share: float) -> Tensor:
        ours = self.settings
        background = torch.rand(self.views.rgb.shape, generator=self._noise, device=self._loss.device)
        high, low = ours.sign
        sign = high - (high - low) * min(1.0, 4 * share)
        return (
            ours.coverage * losses.coverage_loss(shot, self.views)
            + ours.colour * losses.colour_loss(shot, self.views, background)
            + ours.depth * losses.depth_loss(shot, self.views, self._pixels, self.cell)
            + ours.bending * self.plate.bending(values)
            + sign * losses.sign_loss(mesh, values)
        )

    @torch.no_grad()
    def check(self) -> Progress:
        """Measure the present state: keep it, or return to the last good one. Waits for the device, once."""
        mesh = self.surface()
        shot = losses.shoot(self.raster, self.views, self._pixels, mesh, self.field)
        error, iou = losses.masked_error(shot, self.views, self._backdrop)
        needs = torch.maximum(self._needs, torch.stack([mesh.vertex_count, mesh.tet_count])).double()
        parameters = torch.stack([part.detach().abs().sum() for part in self.shape.parameters()]).sum()
        measured = torch.stack(
            [self._loss.double(), error.double(), iou.double(), mesh.real_faces.sum().double(), parameters.double()]
        )
        loss, error_now, iou_now, faces, size, *room = torch.cat([measured, needs]).tolist()
        trouble = self._trouble(loss + error_now + size, int(faces), int(room[0]), int(room[1]))
        if trouble is not None:
            self._roll_back(trouble, int(room[0]), int(room[1]))
        else:
            self._good = self._state()
            if error_now < self._best_error:
                self._best, self._best_error = self._good, error_now
        psnr = -10 * float(np.log10(max(error_now, 1e-12))) if np.isfinite(error_now) else float("nan")
        progress = Progress(
            self.steps_done, self.settings.steps, loss, psnr, iou_now, int(faces), self._seconds_left(), trouble
        )
        self.history.append(progress)
        return progress

    def _trouble(self, total: float, faces: int, vertex_count: int, tet_count: int) -> str | None:
        if not np.isfinite(total):
            return f"numbers that are not finite by step {self.steps_done}"
        if faces == 0:
            return f"the surface was gone by step {self.steps_done}"
        if self.march.overflow(vertex_count, tet_count):
            return f"the surface outgrew its room by step {self.steps_done} ({vertex_count} vertices)"
        return None

    def _roll_back(self, trouble: str, vertex_count: int, tet_count: int) -> None:
        self.rolled_back.append(trouble)
        if self.march.overflow(vertex_count, tet_count):
            self.march.grow(vertex_count, tet_count)
        else:
            self._calm /= 2
        self._restore(self._good)

    def _seconds_left(self) -> float:
        """At the speed since the second check: the first steps compile and warm up."""
        now = time.monotonic()
        if self._began is None or self.steps_done <= self._began[1]:
            self._began = (now, self.steps_done) if self.steps_done else None
            return float("nan")
        then, before = self._began
        return (now - then) / (self.steps_done - before) * (self.settings.steps - self.steps_done)

    def _state(self) -> _State:
        return _State(
            self.steps_done, _copied(self.shape), _copied(self.field), copy.deepcopy(self.optimizer.state_dict())
        )

    def _restore(self, state: _State) -> None:
        self.shape.load_state_dict(state.shape)
        self.field.load_state_dict(state.field)
        self.optimizer.load_state_dict(copy.deepcopy(state.optimizer))
        self.steps_done = state.step
        self._loss.zero_()
        self._needs.zero_()

    @torch.no_grad()
    def result(self) -> SearchResult:
        """The best state as a mesh. Waits for the device."""
        done = self.steps_done
        self._restore(self._best)
        vertices, faces = self.surface().to_numpy()
        if not len(faces):
            raise EmptySurface("the search lost the surface")
        whole = without_crumbs(ClosedMesh(vertices, faces, opposite_corners(faces, len(vertices))))
        first = self.history[0]
        best = next((one for one in self.history if one.trouble is None and one.step == self._best.step), first)
        return SearchResult(
            whole.vertices,
            whole.faces,
            self.field,
            self.settings.steps,
            done,
            self._best.step,
            best.psnr,
            best.iou,
            first.psnr,
            first.iou,
            tuple(self.rolled_back),
            tuple(self.history),
        )


def _copied(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
