"""Pass 2: what it is compared with, what moves, and that it mends a surface and a texture that are off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from trimesh.creation import icosphere

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.capture.capture import Capture  # noqa: E402
from meshdrop.models.mesh.mesh import TexturedMesh  # noqa: E402
from meshdrop.models.nvdiffrec import judge  # noqa: E402
from meshdrop.models.nvdiffrec import refine as refine_module  # noqa: E402
from meshdrop.models.nvdiffrec.drawing import draw  # noqa: E402
from meshdrop.models.nvdiffrec.losses import Weights, curvature_probe, deviations, robust, roughness  # noqa: E402
from meshdrop.models.nvdiffrec.passes import draft_of, footprint, plan, refine_mesh  # noqa: E402
from meshdrop.models.nvdiffrec.refine import Look, Refinement, Schedule  # noqa: E402
from meshdrop.models.nvdiffrec.scene import Scene, build_scene, object_sizes, trusted_depth  # noqa: E402
from meshdrop.models.nvdiffrec.surface import NewtonSteps, Plate, connections, newton_step  # noqa: E402
from meshdrop.models.raster.torch_numba import NumbaRaster  # noqa: E402
from meshdrop.models.surface.range_view import prepare  # noqa: E402
from tests.meshes import sphere, torus  # noqa: E402
from tests.photographs import photographed  # noqa: E402

CPU = torch.device("cpu")
TRUE = torus(0.3, 0.12, 40, 28)


@pytest.fixture(scope="module")
def capture() -> Capture:
    return photographed(TRUE)


def scene_of(capture: Capture, mesh: TexturedMesh, shrink: int = 1) -> Scene:
    prepared = [replace(prepare(view), noise=0.0005) for view in capture.views]
    bounds = np.stack([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)]).astype(np.float64)
    return build_scene(capture.views, prepared, np.ones((len(capture.views), 3), np.float32), bounds, shrink, CPU)


def off(mesh: TexturedMesh, by: float = 0.004) -> TexturedMesh:
    """The mesh with bumps and a washed-out texture."""
    bumps = by * np.sin(40 * mesh.vertices[:, :1]) * mesh.vertex_normals()
    grey = (0.5 * mesh.texture + 64).astype(np.uint8)
    return replace(mesh, vertices=(mesh.vertices + bumps).astype(np.float32), texture=grey)


def rms(one: TexturedMesh) -> float:
    """Distance of the vertices from the true torus, root of the mean square, metres."""
    ring = np.hypot(one.vertices[:, 0], one.vertices[:, 2]) - 0.3
    return float(np.sqrt(np.mean((np.hypot(ring, one.vertices[:, 1]) - 0.12) ** 2)))


# -- the scene ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shrink", [1, 2])
def test_the_true_mesh_draws_what_the_cameras_saw(capture: Capture, shrink: int) -> None:
    scene = scene_of(capture, TRUE, shrink)
    drawing = draw(NumbaRaster(), scene, draft_of(TRUE, CPU), 4)
    assert (drawing.coverage - scene.mask).abs().mean() < 0.004
    assert (drawing.colour - scene.target).abs().mean() < 0.006
    known = (scene.depth > 0) & (drawing.whole > 0)
    assert known.sum() > 500 / shrink**2
    assert (drawing.depth - scene.depth)[known].abs().max() < 0.002


def test_views_of_different_sizes_are_padded_and_the_padding_counts_nothing(capture: Capture) -> None:
    first = capture.views[0]
    camera = replace(first.camera, height=first.camera.height - 30)  # cut at the bottom
    cut = replace(first, camera=camera, rgb=first.rgb[:-30], mask=first.mask[:-30], depth=first.depth[:-30])  # type: ignore[index]
    mixed = replace(capture, views=(cut, *capture.views[1:]))
    scene = scene_of(mixed, TRUE)
    assert scene.size == object_sizes(mixed.views)
    assert scene.inside[0].min() == 0
    assert scene.inside[1:].mean() > scene.inside[0].mean()
    away = draw(NumbaRaster(), scene, draft_of(sphere(0.49), CPU), 1)
    parts = deviations(away, scene, Weights())
    assert (parts["colour"][0] * (1 - scene.inside[0])).abs().max() == 0
    assert (parts["coverage"][0] * (1 - scene.inside[0])).abs().max() == 0


def test_depth_is_trusted_inside_and_away_from_steps(capture: Capture) -> None:
    view = capture.views[0]
    trusted = trusted_depth(view)
    assert view.depth is not None
    assert 0.2 < (trusted > 0).sum() / (view.depth > 0).sum() < 0.95
    assert (trusted[view.mask < 1] == 0).all()
    assert (trusted[trusted > 0] == view.depth[trusted > 0]).all()
    assert (trusted_depth(replace(view, depth=None)) == 0).all()


def test_the_plan_keeps_to_its_samples(capture: Capture) -> None:
    height, width = object_sizes(capture.views)
    pixels = len(capture.views) * height * width
    assert plan(capture.views, 100 * pixels) == (4, 1)
    assert plan(capture.views, 5 * pixels) == (2, 1)
    assert plan(capture.views, 3 * pixels) == (2, 2)
    assert plan(capture.views, pixels // 2) == (2, 3)


# -- the surface -------------------------------------------------------------------------------------------------------


def test_the_plate_is_flat_on_a_plane_and_knows_the_curvature_of_a_sphere() -> None:
    ball = icosphere(subdivisions=4, radius=0.5)
    table = connections(ball.vertices, ball.faces, CPU)
    points = torch.from_numpy(np.array(ball.vertices))
    plate = Plate.at(points, replace(table, cotangent=table.cotangent.double(), area=table.area.double()), 1e9)
    # the mean curvature normal of a sphere has length 2 / r; squared and integrated: 4 / r^2 * 4 pi r^2
    assert float(plate.energy(points)) == pytest.approx(16 * np.pi, rel=0.05)
    flat = points * torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    assert float(plate.energy(flat[:, 1:2])) == 0


def test_creases_cost_less_than_the_plate_asks() -> None:
    table = connections(TRUE.vertices, TRUE.faces, CPU)
    points = torch.from_numpy(TRUE.vertices)
    smooth, creased = Plate.at(points, table, 1e6), Plate.at(points, table, 5.0)
    assert creased.weight.max() < smooth.weight.min()
    assert float(creased.energy(points)) < 0.6 * float(smooth.energy(points))


def test_the_force_is_half_of_the_energys_gradient() -> None:
    table = connections(TRUE.vertices, TRUE.faces, CPU)
    plate = Plate.at(torch.from_numpy(TRUE.vertices), table, 20.0)
    exact = replace(
        plate,
        weight=plate.weight.double(),
        table=replace(table, cotangent=table.cotangent.double(), area=table.area.double()),
    )
    points = torch.from_numpy(TRUE.vertices.astype(np.float64)).requires_grad_(True)
    (gradient,) = torch.autograd.grad(exact.energy(points), [points])
    assert torch.allclose(0.5 * gradient, exact.force(points), rtol=1e-6, atol=1e-9)


def test_a_newton_step_solves_its_equations() -> None:
    table = connections(TRUE.vertices, TRUE.faces, CPU)
    plate = Plate.at(torch.from_numpy(TRUE.vertices), table, 20.0)
    random = torch.Generator().manual_seed(3)
    gradient = torch.randn(len(TRUE.vertices), 3, generator=random)
    stiffness = 3e4 * torch.rand(len(TRUE.vertices), 3, generator=random) + 1e4
    step = newton_step(gradient, stiffness, plate, 0.01)
    left = stiffness * step + 0.01 * plate.force(step) - gradient
    assert left.norm() < 0.02 * gradient.norm()


@pytest.mark.gpu
def test_recorded_steps_are_the_same_as_plain_ones() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    table = connections(TRUE.vertices, TRUE.faces, torch.device("cuda"))
    points, recorded = torch.from_numpy(TRUE.vertices).cuda(), NewtonSteps(table, 0.01)
    random = torch.Generator("cuda").manual_seed(4)
    for crease in (5.0, 50.0):
        plate = Plate.at(points, table, crease)
        gradient = torch.randn(len(points), 3, generator=random, device="cuda")
        stiffness = 3e4 * torch.rand(len(points), 3, generator=random, device="cuda") + 1e4
        wanted = newton_step(gradient, stiffness, plate, 0.01)
        assert torch.allclose(recorded(gradient, stiffness, plate), wanted, rtol=1e-4, atol=1e-12)


def test_the_probe_estimates_the_diagonal() -> None:
    random = torch.Generator().manual_seed(1)
    matrix = torch.randn(400, 12, generator=random)
    vertices = torch.zeros(4, 3, requires_grad=True)
    torch.manual_seed(0)
    probes = [
        curvature_probe({"a": (matrix @ vertices.reshape(-1)).reshape(20, 20)}, vertices, 3.0) for _ in range(400)
    ]
    true = matrix.square().sum(dim=0).reshape(4, 3)
    assert torch.allclose(torch.stack(probes).mean(dim=0), true, rtol=0.3)


def test_robust_is_a_square_near_zero_and_a_line_far_away() -> None:
    assert float(robust(torch.tensor([0.01]), 3.0)) == pytest.approx(1e-4, rel=0.03)
    assert float(robust(torch.tensor([300.0]), 3.0)) == pytest.approx(6 * 300, rel=0.02)


def test_an_even_change_of_the_texture_is_not_rough() -> None:
    assert float(roughness(torch.full((5, 6, 3), 0.2))) == 0
    assert float(roughness(torch.eye(3)[..., None])) == 8


# -- the run -----------------------------------------------------------------------------------------------------------


def test_pass_two_mends_bumps_and_colours(capture: Capture) -> None:
    start = off(TRUE)
    prepared = [replace(prepare(view), noise=0.0005) for view in capture.views]
    looks: list[Look] = []
    found = refine_mesh(
        NumbaRaster(), capture.views, prepared, np.ones((6, 3), np.float32), start, 150_000, 120, looks.append
    )
    mended = replace(
        start,
        vertices=found.draft.vertices.numpy(),
        texture=np.round(found.draft.texture.numpy() * 255).astype(np.uint8),
    )
    assert [look.step for look in looks] == sorted({look.step for look in looks})
    assert looks[0].step == 0
    assert looks[-1].psnr > looks[0].psnr + 4
    assert rms(mended) < 0.5 * rms(start)
    before, after = judge.standing(start, capture.views), judge.standing(mended, capture.views)
    assert judge.objection(after, before) is None
    assert judge.objection(before, after) is not None
    assert mended.texture.shape == start.texture.shape


def test_a_run_that_breaks_down_goes_back_and_on(capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    start = off(TRUE)
    run = a_run(capture, start, 110)
    poisoned: list[int] = []
    step = Refinement._step

    def poison(self: Refinement, number: int, *rest: Any) -> None:
        step(self, number, *rest)
        if number == 70 and not poisoned:
            poisoned.append(number)
            with torch.no_grad():
                self._vertices[3, 1] = float("nan")

    monkeypatch.setattr(Refinement, "_step", poison)
    found = run.run(lambda look: None)
    assert found.rolled_back == 1
    assert found.done == 110
    assert torch.isfinite(found.draft.vertices).all()
    assert all(np.isfinite(look.loss) for look in found.looks)


def test_a_run_that_never_works_ends_with_its_start(capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    start = off(TRUE)
    run = a_run(capture, start, 110)

    def poison(self: Refinement, *rest: object) -> None:
        with torch.no_grad():
            self._texture[:] = float("nan")

    monkeypatch.setattr(Refinement, "_step", poison)
    found = run.run(lambda look: None)
    assert found.rolled_back == refine_module.MOST_ROLLBACKS + 1
    assert found.step == 0
    assert torch.equal(found.draft.vertices, torch.from_numpy(start.vertices))
    assert "broke down" in found.why


def test_a_run_that_gains_nothing_ends_early(capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(capture, TRUE, 400)
    monkeypatch.setattr(Refinement, "_step", lambda self, *rest: None)
    found = run.run(lambda look: None)
    assert found.done == refine_module.FEWEST_STEPS + refine_module.CHECK_EVERY
    assert found.why == "nothing more was gained"


def a_run(capture: Capture, mesh: TexturedMesh, iterations: int) -> Refinement:
    scene = scene_of(capture, mesh, 2)
    centre = mesh.vertices.mean(axis=0).astype(np.float64)
    return Refinement(
        NumbaRaster(),
        scene,
        draft_of(mesh, CPU),
        connections(mesh.vertices, mesh.faces, CPU),
        2 * footprint(capture.views, centre),
        Weights(),
        Schedule(iterations=iterations, samples=1),
    )
