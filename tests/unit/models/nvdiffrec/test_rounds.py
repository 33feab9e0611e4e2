"""Rounds of pass 2: which one's mesh is kept, and that the surface stays closed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from trimesh import Trimesh

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.capture.capture import Capture  # noqa: E402
from meshdrop.models.contract.base import ModelResult  # noqa: E402
from meshdrop.models.contract.stages import StageLog  # noqa: E402
from meshdrop.models.mesh.cleaning import degenerate  # noqa: E402
from meshdrop.models.mesh.mesh import TexturedMesh  # noqa: E402
from meshdrop.models.nvdiffrec import rounds  # noqa: E402
from meshdrop.models.nvdiffrec.passes import draft_of  # noqa: E402
from meshdrop.models.nvdiffrec.refine import Refined  # noqa: E402
from meshdrop.models.nvdiffrec.rounds import RoundOutcome, refine, unfolded  # noqa: E402
from meshdrop.models.nvdiffrec.settings import NvdiffrecSettings  # noqa: E402
from meshdrop.models.raster.torch_numba import NumbaRaster  # noqa: E402
from meshdrop.models.surface.range_view import prepare  # noqa: E402
from tests.meshes import torus  # noqa: E402
from tests.photographs import photographed  # noqa: E402

THING = torus(0.3, 0.12, 40, 28)


@pytest.fixture(scope="module")
def capture() -> Capture:
    return photographed(THING)


@pytest.fixture
def run(capture: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RoundOutcome]:
    """Runs ``iterations`` in rounds that say they reached these (step, PSNR), each 1 mm farther along x."""

    def run(iterations: int, *reached: tuple[int, float]) -> RoundOutcome:
        results = iter(reached)

        def pretended(
            raster: object,
            views: object,
            ready: object,
            gains: object,
            mesh: TexturedMesh,
            samples: int,
            steps: int,
            report: object,
        ) -> Refined:
            step, psnr = next(results)
            start = draft_of(mesh, torch.device("cpu"))
            moved = replace(start, vertices=start.vertices + torch.tensor([0.001, 0, 0]))
            return Refined(moved, step, psnr, steps, (), 0, "pretended")

        monkeypatch.setattr(rounds, "refine_mesh", pretended)
        draft = ModelResult(THING, {"view_gains": np.ones((len(capture.views), 3)).tolist()}, (), 0.0)
        options = NvdiffrecSettings(iterations=iterations, texture_size=64, device="cpu")
        views = [prepare(view) for view in capture.views]
        outcome = refine(NumbaRaster(), capture, views, draft, 2, options, StageLog(tmp_path), lambda share, what: None)
        assert next(results, None) is None
        return outcome

    return run


def along_x(outcome: RoundOutcome) -> float:
    """How far the kept mesh is from the draft, in millimetres."""
    return float(1000 * (outcome.result.mesh.vertices - THING.vertices)[:, 0].mean())


def test_the_second_round_starts_where_the_first_ended(run: Callable[..., RoundOutcome]) -> None:
    outcome = run(9, (5, 30.0), (4, 31.0))
    assert [refined.done for refined in outcome.rounds] == [5, 4]
    assert along_x(outcome) == pytest.approx(2, abs=0.01)
    assert outcome.result.mesh.texture.shape == (64, 64, 3)  # dressed anew


def test_a_second_round_that_betters_nothing_is_not_kept(run: Callable[..., RoundOutcome]) -> None:
    assert along_x(run(10, (5, 31.0), (5, 30.9))) == pytest.approx(1, abs=0.01)


def test_no_second_round_follows_one_that_came_to_nothing(run: Callable[..., RoundOutcome]) -> None:
    assert len(run(10, (0, 30.0)).rounds) == 1


def test_one_iteration_is_one_round(run: Callable[..., RoundOutcome]) -> None:
    assert [refined.done for refined in run(1, (1, 30.0)).rounds] == [1]


def test_a_tunnel_that_was_drawn_into_a_line_is_put_back() -> None:
    """The torus' tube, an eighth of the ring long, without any width."""
    around = np.arctan2(THING.vertices[:, 2], THING.vertices[:, 0])
    drawn = (around > 0) & (around < np.pi / 4)
    moved = (THING.vertices + np.array([0.001, 0, 0], np.float32)).astype(np.float32)
    ring = 0.3 * np.stack([np.cos(around), 0 * around, np.sin(around)], axis=1)
    moved[drawn] = ring[drawn]
    assert degenerate(moved, THING.faces).any()
    found = unfolded(moved, THING.vertices, THING.faces)
    assert not degenerate(found, THING.faces).any()
    assert (found[~drawn] == moved[~drawn]).all(axis=1).mean() > 0.85  # nothing else but its rim goes back
    cleaned = replace(THING, vertices=found).cleaned()
    assert Trimesh(cleaned.vertices, cleaned.faces, process=False).is_watertight


def test_triangles_that_never_had_an_area_are_left_alone() -> None:
    before = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]], np.float32)
    faces = np.array([[0, 1, 2], [0, 1, 3]], np.int32)
    after = before + np.array([0, 0, 1], np.float32)
    np.testing.assert_array_equal(unfolded(after, before, faces), after)
