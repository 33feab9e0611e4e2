"""Pass 1: the search earns something over the hull, keeps free space free, and survives misbehaving engines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from meshdrop.models.capture.capture import View  # noqa: E402
from meshdrop.models.formats.cameras import Camera  # noqa: E402
from meshdrop.models.measure.topology import topology  # noqa: E402
from meshdrop.models.nvdiffrec.search import search_losses as losses  # noqa: E402
from meshdrop.models.nvdiffrec.search.encoding import HashSettings  # noqa: E402
from meshdrop.models.nvdiffrec.search.hull import StartField, start_field  # noqa: E402
from meshdrop.models.nvdiffrec.search.plate import ThinPlate  # noqa: E402
from meshdrop.models.nvdiffrec.search.pyramid import resolutions, search_coarse_to_fine  # noqa: E402
from meshdrop.models.nvdiffrec.search.search import EmptySurface, Progress, SearchResult, SearchSettings, TopologySearch  # noqa: E402
from meshdrop.models.nvdiffrec.search.search_losses import SearchViews  # noqa: E402
from meshdrop.models.nvdiffrec.search.shape import ImplicitShape  # noqa: E402
from meshdrop.models.nvdiffrec.search.tets import SAFE_OFFSET, Lattice, MarchingTets, TetGrid  # noqa: E402
from meshdrop.models.raster.differentiable import Raster, best_raster, choose  # noqa: E402
from meshdrop.models.raster.torch_numba import NumbaRaster  # noqa: E402
from meshdrop.models.surface.range_view import prepare  # noqa: E402
from meshdrop.models.surface.silhouette import signed_distance  # noqa: E402
from tests.unit.models.synthetic import ANIMAL, BALL, Scene, canonical_rig, points_of  # noqa: E402

Animal = tuple[list[View], SearchViews, StartField]
Searched = tuple[TopologySearch, SearchResult, list[Progress]]
CPU = torch.device("cpu")
SIZE, SUPERSAMPLED = 64, 4
TINY = HashSettings(levels=4, log2_entries=12, coarsest=8, finest=64)
#: A soft plate: the smallest of the animal's spheres have a radius of two cells.
QUICK = SearchSettings(steps=40, check_every=10, field_rate=0.03, warm_up=5, bending=0.1)


def colours(points: np.ndarray) -> np.ndarray:
    """A smooth pattern in space, 0.1..0.9."""
    waves: np.ndarray = np.sin(9 * points + [0.0, 1.0, 2.0])
    return 0.5 + 0.4 * waves


def photograph(scene: Scene, name: str, camera: Camera) -> View:
    """Coverage and colour from 4 x 4 samples a pixel."""
    fine = camera.scaled(SUPERSAMPLED)
    depth = scene.depth(fine)
    hit = (depth > 0)[..., None]
    blocks = (SIZE, SUPERSAMPLED, SIZE, SUPERSAMPLED, -1)
    mask = hit.reshape(blocks).mean(axis=(1, 3))
    sums = (colours(points_of(fine, depth)) * hit).reshape(blocks).mean(axis=(1, 3))
    rgb = np.round(255 * sums / np.maximum(mask, 1e-9)).astype(np.uint8)
    return View(name, camera, rgb, mask[..., 0].astype(np.float32), None, "file")


def clip_matrix(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """World to clip with y down and planes at 1 and 4 m, and world to camera with z forward."""
    pose = np.diag([1.0, -1.0, -1.0, 1.0]) @ camera.w2c
    return np.array(
        [
            [2 * camera.fx / camera.width, 0, 2 * camera.cx / camera.width - 1, 0],
            [0, 2 * camera.fy / camera.height, 2 * camera.cy / camera.height - 1, 0],
            [0, 0, 5 / 3, -8 / 3],
            [0, 0, 1, 0],
        ]
    ) @ pose, pose


def as_tensors(views: list[View], depths: list[np.ndarray] | None = None) -> SearchViews:
    def stack(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays).astype(np.float32))

    matrices = [clip_matrix(view.camera) for view in views]
    return SearchViews(
        clip=stack([clip for clip, _ in matrices]),
        camera=stack([pose for _, pose in matrices]),
        rgb=stack([view.rgb / 255 for view in views]),
        mask=stack([view.mask[..., None] for view in views]),
        depth=None if depths is None else stack([depth[..., None] for depth in depths]),
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Pictures this small gain nothing from threads, and on a busy machine waiting threads cost much."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def animal() -> Animal:
    views = [photograph(ANIMAL, name, camera) for name, camera in canonical_rig(SIZE)]
    return views, as_tensors(views), start_field([prepare(view) for view in views], 24)


def new_search(animal: Animal, raster: Raster | None = None, **settings: Any) -> TopologySearch:
    _, tensors, start = animal
    return TopologySearch(raster or NumbaRaster(), tensors, start, replace(QUICK, **settings), TINY)


@pytest.fixture(scope="module")
def searched(animal: Animal) -> Searched:
    reports: list[Progress] = []
    search = new_search(animal)
    return search, search.run(reports.append), reports


def test_it_lowers_the_masked_error_and_fits_the_silhouettes_better(searched: Searched) -> None:
    _, result, _ = searched
    assert result.psnr > result.start_psnr + 6
    assert result.iou > result.start_iou
    assert result.iou > 0.93
    assert (result.steps, result.done, result.rolled_back) == (40, 40, ())
    assert result.best_step > 0


def test_its_surface_is_nearer_to_the_true_one_than_the_hulls(animal: Animal, searched: Searched) -> None:
    """The median distance to the union of spheres, on its outside."""
    before = new_search(animal).surface().to_numpy()[0]
    after = searched[1].vertices
    assert np.median(np.abs(to_animal(after))) < 0.9 * np.median(np.abs(to_animal(before)))


def to_animal(points: np.ndarray) -> np.ndarray:
    nearest: np.ndarray = np.min([np.linalg.norm(points - s[:3], axis=1) - s[3] for s in ANIMAL.spheres], axis=0)
    return nearest


def test_the_result_is_closed_and_outward(searched: Searched) -> None:
    _, result, _ = searched
    facts = topology(result.vertices.astype(np.float32), result.faces)
    assert facts.watertight
    assert facts.consistent_winding
    assert facts.volume_m3 is not None
    assert facts.volume_m3 > 0
    assert (result.vertices.dtype, result.faces.dtype) == (np.dtype(np.float64), np.dtype(np.int32))


def test_free_space_stays_free(animal: Animal, searched: Searched) -> None:
    """No vertex leaves a silhouette by more than slack and safe offset together, and the hair that bilinear costs."""
    views, _, start = animal
    for view in views:
        u, v, z = view.camera.project(searched[1].vertices)
        outside = signed_distance(view.mask)[v.astype(int), u.astype(int)] * z / view.camera.fx
        assert outside.max() < (QUICK.slack + SAFE_OFFSET) * start.lattice.cell + 1.0 * z.max() / view.camera.fx


def test_the_field_that_comes_back_belongs_to_the_surface(searched: Searched) -> None:
    _, result, _ = searched
    with torch.no_grad():
        painted = result.field(torch.from_numpy(result.vertices).float()).numpy()
    assert np.abs(painted - colours(result.vertices)).mean() < 0.12


def test_progress_tells_step_quality_and_time(searched: Searched) -> None:
    _, result, reports = searched
    assert [one.step for one in reports] == [0, 10, 20, 30, 40]
    assert reports == list(result.history)
    assert all(np.isfinite([one.psnr, one.iou]).all() and one.faces > 100 for one in reports)
    assert reports[-1].seconds_left == 0
    assert reports[2].seconds_left > 0


class SickRaster(NumbaRaster):
    """Yields not-a-number in the pictures of one of its calls, as a broken kernel would."""

    def __init__(self, sick_call: int) -> None:
        super().__init__()
        self.calls, self.sick_call = 0, sick_call

    def antialias(self, colour: Tensor, fragments: Tensor, clip: Tensor, faces: Tensor) -> Tensor:
        self.calls += 1
        picture = super().antialias(colour, fragments, clip, faces)
        return picture * float("nan") if self.calls == self.sick_call else picture


def test_numbers_that_are_not_finite_roll_the_search_back_and_it_says_so(animal: Animal) -> None:
    # calls 1 and 12 are the checks at steps 0 and 10; call 16 is in the second group of ten
    result = new_search(animal, SickRaster(16), steps=20).run()
    assert result.rolled_back == ("numbers that are not finite by step 20",)
    assert result.done == 20
    # the third check, after step 20, returned to step 10
    assert [one.step for one in result.history] == [0, 10, 10, 20]
    assert result.history[2].trouble is not None
    assert np.isfinite(result.vertices).all()
    assert result.psnr > result.start_psnr + 3


def test_an_engine_that_stays_sick_ends_the_search_with_what_was_good(animal: Animal) -> None:
    class ForeverSick(SickRaster):
        def antialias(self, colour: Tensor, fragments: Tensor, clip: Tensor, faces: Tensor) -> Tensor:
            self.sick_call = max(self.calls + 1, self.sick_call)
            return super().antialias(colour, fragments, clip, faces)

    result = new_search(animal, ForeverSick(2), most_rollbacks=2).run()
    assert len(result.rolled_back) == 3
    assert result.best_step == 0
    assert topology(result.vertices.astype(np.float32), result.faces).watertight


def test_an_engine_that_never_works_gives_the_start_back_and_says_why(animal: Animal) -> None:
    class AlwaysSick(NumbaRaster):
        def antialias(self, colour: Tensor, fragments: Tensor, clip: Tensor, faces: Tensor) -> Tensor:
            return super().antialias(colour, fragments, clip, faces) * float("nan")

    result = new_search(animal, AlwaysSick(), most_rollbacks=1, check_every=1).run()
    assert len(result.rolled_back) == 2
    assert result.best_step == 0
    assert np.isnan(result.psnr)
    assert topology(result.vertices.astype(np.float32), result.faces).watertight


def test_a_surface_that_vanishes_comes_back(animal: Animal) -> None:
    search = new_search(animal)
    faces = search.check().faces
    with torch.no_grad():
        search.shape.fine.fill_(100.0)
    assert search.check().trouble == "the surface was gone by step 0"
    assert search.check().faces == faces


def test_a_surface_beyond_its_room_is_noticed_and_given_more(animal: Animal) -> None:
    search = new_search(animal)
    faces = search.check().faces
    search.march.vertex_capacity, search.march.tet_capacity = 100, 100
    search.step()
    trouble = search.check().trouble
    assert trouble is not None
    assert "outgrew its room" in trouble
    assert search.steps_done == 0
    again = search.check()
    assert (again.trouble, again.faces) == (None, faces)


def test_lattices_double_up_to_the_one_asked_for() -> None:
    assert resolutions(96) == (24, 48, 96)
    assert resolutions(64) == (32, 64)
    assert resolutions(40) == (40,)


def test_a_finer_lattice_goes_on_from_what_a_coarser_one_found(animal: Animal) -> None:
    views, tensors, _ = animal
    prepared = [prepare(view) for view in views]
    seen: list[Progress] = []
    result = search_coarse_to_fine(
        NumbaRaster(),
        tensors,
        lambda cells: start_field(prepared, cells),
        48,
        replace(QUICK, steps=50),
        seen.append,
        TINY,
    )
    # 20 steps on 24 cells, 30 on 48
    assert [one.step for one in seen] == [0, 10, 20, 20, 30, 40, 50]
    assert {one.steps for one in seen} == {50}
    handed_over, taken_over = seen[2], seen[3]
    assert taken_over.psnr > handed_over.psnr - 1.5
    assert taken_over.faces > 2 * handed_over.faces
    assert (result.steps, result.done) == (50, 50)
    assert result.psnr > result.start_psnr + 6
    assert topology(result.vertices.astype(np.float32), result.faces).watertight


def test_values_survive_the_way_to_a_finer_lattice() -> None:
    shape, _ = ball_on_a_lattice(20)
    lattice = shape.grid.lattice
    everywhere = (lattice.points(CPU).norm(dim=1) - 0.25) / lattice.cell
    finer = Lattice(lattice.origin, lattice.cell / 2, (41,) * 3)
    expected = (finer.points(CPU).norm(dim=1) - 0.25) / finer.cell
    near = expected.abs() < 3
    # a chord of a sphere of 6 cells: cell^2 / 8 r in each direction, in finer cells
    np.testing.assert_allclose(shape.values_on(finer, everywhere).detach()[near], expected[near], atol=0.2)


def test_a_start_without_solid_space_is_refused(animal: Animal) -> None:
    _, tensors, start = animal
    with pytest.raises(EmptySurface, match="no solid space"):
        TopologySearch(NumbaRaster(), tensors, replace(start, values=np.abs(start.values) + 1), QUICK, TINY)


def test_start_values_grow_like_distances_beyond_the_narrow_band(animal: Animal) -> None:
    values = animal[2].values
    assert values.max() > 5
    assert values.min() < -3
    steps = max(float(np.abs(np.diff(values, axis=axis)).max()) for axis in range(3))
    assert steps < 2.1


def ball_on_a_lattice(cells: int = 20) -> tuple[ImplicitShape, MarchingTets]:
    lattice = Lattice((-0.4, -0.4, -0.4), 0.8 / cells, (cells + 1,) * 3)
    values = (lattice.points(CPU).norm(dim=1) - 0.25) / lattice.cell
    grid = TetGrid.around(lattice, values < 2)
    values = values[grid.number]
    return ImplicitShape(grid, values), MarchingTets.fitting(grid, values)


def test_coarse_numbers_move_the_whole_surface() -> None:
    """One cell added on any of the coarser lattices makes the ball's radius one cell smaller."""
    shape, march = ball_on_a_lattice()
    cell = shape.grid.lattice.cell
    for numbers in shape.coarse:
        with torch.no_grad():
            numbers.fill_(1.0)
            radius = np.linalg.norm(shape.surface(march).to_numpy()[0], axis=1)
            numbers.fill_(0.0)
        np.testing.assert_allclose(radius, 0.25 - cell, atol=0.05 * cell)


def test_values_are_raised_to_what_is_known_to_be_free_and_no_further() -> None:
    shape, _ = ball_on_a_lattice()
    least = shape.start - 0.5
    with torch.no_grad():
        shape.coarse[1].fill_(-0.3)
        shape.fine[::2] -= 1.0
    shape.keep_above(least)
    values = shape.values()
    assert (values >= least - 1e-5).all()
    np.testing.assert_allclose(values.detach()[1::2], shape.start[1::2] - 0.3, atol=1e-5)


def test_depth_is_compared_in_cells_with_a_huber_loss() -> None:
    # the ball at exact depth errs by less than the lattice's chords; 0.5 cells off cost 0.5^2 / 2, 3 cells 3 - 0.5
    shape, march = ball_on_a_lattice(40)
    cell = shape.grid.lattice.cell
    rig = canonical_rig(SIZE)[:2]
    views = [photograph(BALL, name, camera) for name, camera in rig]
    for shift, expected in ((0.0, 0.0), (0.5, 0.125), (3.0, 2.5)):
        depths = [np.where(BALL.depth(camera) > 0, BALL.depth(camera) + shift * cell, 0) for _, camera in rig]
        tensors = as_tensors(views, depths)
        pixels = tensors.object_pixels()
        shot = losses.shoot(NumbaRaster(), tensors, pixels, shape.surface(march), grey)
        assert float(losses.depth_loss(shot, tensors, pixels, cell).detach()) == pytest.approx(expected, abs=0.02)


def test_trusted_depth_pulls_the_surface_to_it(animal: Animal) -> None:
    views, _, start = animal
    tensors = as_tensors(views, [ANIMAL.depth(view.camera) for view in views])
    search = TopologySearch(NumbaRaster(), tensors, start, replace(QUICK, steps=20), TINY)

    def error() -> float:
        pixels = tensors.object_pixels()
        shot = losses.shoot(search.raster, tensors, pixels, search.surface(), grey)
        return float(losses.depth_loss(shot, tensors, pixels, search.cell).detach())

    before = error()
    for _ in range(20):
        search.step()
    assert error() < 0.6 * before


def grey(points: Tensor) -> Tensor:
    return torch.full_like(points, 0.5)


def test_bending_is_zero_for_planes_and_the_curvature_of_a_ball() -> None:
    """The squared second derivatives of |x| along the seven lines, by hand.

    Along a unit direction d the second derivative of the distance to the origin is (1 - (d.n)^2) / r. Over the
    sphere its square has the mean (1 - 2/3 + 1/5) / r^2 = 8 / 15 / r^2, and there are seven lines.
    """
    for cells in (20, 40):
        shape, _ = ball_on_a_lattice(cells)
        plate = ThinPlate(shape.grid)
        expected = 7 * 8 / 15 * (shape.grid.lattice.cell / 0.25) ** 2
        assert float(plate.bending(shape.start)) == pytest.approx(expected, rel=0.1)
        slope = shape.grid.points @ torch.tensor([3.0, -1.0, 2.0])
        assert float(plate.bending(slope)) < 1e-3


def test_the_sign_loss_is_that_of_both_ends_labels() -> None:
    # one crossed edge with values 1 and -2, labels outside and inside for the other: log(1 + e) + log(1 + e^2)
    mesh = SimpleNamespace(ends=torch.tensor([[0, 1], [0, 0]]), live=torch.tensor([True, False]))
    values = torch.tensor([1.0, -2.0])
    expected = np.log1p(np.e) + np.log1p(np.e**2)
    assert float(losses.sign_loss(mesh, values)) == pytest.approx(expected, rel=1e-6)  # type: ignore[arg-type]


@pytest.mark.gpu
def test_steps_on_cuda_do_not_wait_for_the_device(animal: Animal) -> None:
    if choose().name != "nvdiffrast":
        pytest.skip(choose().reason)
    views, _, start = animal
    raster = best_raster()
    here = as_tensors(views)
    there = SearchViews(*(part.to(raster.device) for part in (here.clip, here.camera, here.rgb, here.mask)))
    search = TopologySearch(raster, there, start, QUICK)
    before = search.check()
    # nvdiffrast makes room at its first calls
    search.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(9):
            search.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    after = search.check()
    assert after.trouble is None
    assert after.psnr > before.psnr + 3
