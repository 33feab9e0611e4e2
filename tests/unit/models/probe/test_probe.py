"""The convention probe: true readings pass, every false one is refused with the line that cures it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from meshdrop.models.capture.capture import Capture, read_capture
from meshdrop.models.formats.cameras import OPENCV_TO_OPENGL, Camera, look_at
from meshdrop.models.formats.sidecar import Sidecar
from meshdrop.models.probe.probe import ProbeResult, probe
from tests.captures import ground_truth
from tests.unit.models import synthetic
from tests.unit.models.synthetic import ANIMAL, BALL, CUBE, PLATE, ROD, Scene, canonical_rig, capture_of, ring_rig

CAPTURES = ("spot", "bob", "fuze", "spot-noisy")


def recast(capture: Capture, change: Callable[[Camera], Camera]) -> Capture:
    views = tuple(dataclasses.replace(view, camera=change(view.camera)) for view in capture.views)
    return dataclasses.replace(capture, views=views)


def rescaled(capture: Capture, factor: float) -> Capture:
    """The same depth counts, read in a unit ``factor`` times as large."""
    views = tuple(
        dataclasses.replace(view, depth=None if view.depth is None else view.depth * np.float32(factor))
        for view in capture.views
    )
    return dataclasses.replace(capture, views=views, depth_unit_m=(capture.depth_unit_m or 0) * factor)


def with_pose(camera: Camera, pose: np.ndarray) -> Camera:
    return dataclasses.replace(camera, c2w=pose)


def opencv_labelled_opengl(camera: Camera) -> Camera:
    return with_pose(camera, camera.c2w @ OPENCV_TO_OPENGL)


def w2c_labelled_c2w(camera: Camera) -> Camera:
    return with_pose(camera, np.linalg.inv(camera.c2w))


def opencv_w2c_labelled_opengl_c2w(camera: Camera) -> Camera:
    return with_pose(camera, np.linalg.inv(camera.c2w @ OPENCV_TO_OPENGL))


def focal_711(camera: Camera) -> Camera:
    """1111 px is NeRF-synthetic's focal length for 800 px wide images; at 512 it is 711."""
    return dataclasses.replace(camera, fx=camera.fx * 0.64, fy=camera.fy * 0.64)


def focal_1736(camera: Camera) -> Camera:
    return dataclasses.replace(camera, fx=camera.fx / 0.64, fy=camera.fy / 0.64)


WRONG: dict[str, tuple[Callable[[Capture], Capture], str]] = {
    "opencv poses": (lambda c: recast(c, opencv_labelled_opengl), '"camera_axes": "opencv"'),
    "w2c poses": (lambda c: recast(c, w2c_labelled_c2w), '"pose": "world_to_camera"'),
    "opencv w2c poses": (
        lambda c: recast(c, opencv_w2c_labelled_opengl_c2w),
        '"camera_axes": "opencv", "pose": "world_to_camera"',
    ),
    "unit / 10": (lambda c: rescaled(c, 0.1), '"depth_unit_m":'),
    "unit / 5": (lambda c: rescaled(c, 0.2), '"depth_unit_m":'),
    "unit x 10": (lambda c: rescaled(c, 10), '"depth_unit_m":'),
    "unit x 1000": (lambda c: rescaled(c, 1000), '"depth_unit_m":'),
    "focal x 0.64": (lambda c: recast(c, focal_711), '"fl_x":'),
    "focal / 0.64": (lambda c: recast(c, focal_1736), '"fl_x":'),
}

RIGS = {
    "canonical": canonical_rig(),
    "ring of 6": ring_rig(6),
    "ring of 8": ring_rig(8),
    "front arc of 4": ring_rig(4, arc=np.pi / 2),
    "three views": ring_rig(3),
}


def assert_refused(result: ProbeResult, line: str) -> None:
    assert result.verdict == "contradicted", result.lines()
    assert result.problem is not None
    assert result.problem.code == "convention"
    assert line in result.problem.fix


@pytest.fixture(scope="module", params=CAPTURES)
def real(request: pytest.FixtureRequest) -> Capture:
    return read_capture(ground_truth(request.param) / "capture")


def test_a_real_capture_is_verified(real: Capture) -> None:
    result = probe(real)
    assert result.verdict == "verified", result.lines()
    assert result.warning is None
    assert result.stated is not None
    assert result.stated.score > 0.95
    assert result.lead > 0.9


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_reading_of_a_real_capture_is_refused_with_its_cure(real: Capture, name: str) -> None:
    spoil, line = WRONG[name]
    assert_refused(probe(spoil(real)), line)


@pytest.mark.parametrize("rig", RIGS)
@pytest.mark.parametrize(("noise", "holes"), [(0.001, 0.0), (0.004, 0.1)])
def test_a_true_synthetic_capture_is_verified(rig: str, noise: float, holes: float) -> None:
    result = probe(capture_of(ANIMAL, RIGS[rig], noise, holes))
    assert result.verdict == "verified", result.lines()


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("rig", RIGS)
def test_a_wrong_reading_of_a_synthetic_capture_is_refused_with_its_cure(rig: str, name: str) -> None:
    spoil, line = WRONG[name]
    assert_refused(probe(spoil(capture_of(ANIMAL, RIGS[rig], 0.004, 0.1))), line)


@pytest.mark.parametrize("rig", ["canonical", "ring of 6", "three views"])
@pytest.mark.parametrize("scene", [CUBE, BALL, PLATE, ROD], ids=["cube", "ball", "plate", "rod"])
def test_plain_and_thin_shapes_are_never_refused(scene: Scene, rig: str) -> None:
    """Views of a cube share nothing but its edges, a plate's side view is two pixels wide: too little is no guilt."""
    result = probe(capture_of(scene, RIGS[rig], 0.001))
    assert result.verdict != "contradicted", result.lines()


def test_a_small_object_far_away_is_verified() -> None:
    """The tolerance follows the object's size: 14 cm long, seen by cameras 2.5 m away, with 0.2 mm noise."""
    small = Scene(spheres=tuple((x / 5, y / 5, z / 5, r / 5) for x, y, z, r in ANIMAL.spheres))
    rig = [
        (name, dataclasses.replace(camera, fx=camera.fx * 5, fy=camera.fy * 5)) for name, camera in canonical_rig(128)
    ]
    capture = capture_of(small, rig, 0.0002, unit=1e-4)
    assert probe(capture).verdict == "verified"
    assert_refused(probe(rescaled(capture, 10)), '"depth_unit_m": 0.0001')


def test_the_fix_names_the_true_unit() -> None:
    """Counts of 0.1 mm read as millimetres: the cure is 0.0001 m a count."""
    capture = rescaled(capture_of(ANIMAL, RIGS["canonical"], 0.001, unit=1e-4), 10)
    assert_refused(probe(capture), '{"depth_unit_m": 0.0001}')


def test_a_stated_opencv_capture_is_held_to_its_own_statement() -> None:
    """Read rightly with the statement, and refused when the statement is the lie."""
    capture = capture_of(ANIMAL, RIGS["ring of 6"], 0.001)
    stated = Sidecar(camera_axes="opencv", pose="world_to_camera")
    assert probe(capture, stated).verdict == "verified"
    lied = recast(capture, lambda c: with_pose(c, c.c2w @ OPENCV_TO_OPENGL))
    assert_refused(probe(lied, Sidecar(camera_axes="opencv")), '"camera_axes": "opengl"')


def test_an_applied_transform_does_not_disturb_the_comparison() -> None:
    """World-to-camera is told from camera-to-world in the file's own world, before the transform was undone."""
    turn = np.array([[0, 1.0, 0, 0.3], [0, 0, 1.0, -0.2], [1.0, 0, 0, 0.1], [0, 0, 0, 1.0]])
    stated = Sidecar(applied_transform=tuple(tuple(row) for row in turn.tolist()))
    file_rig = [(name, with_pose(camera, turn @ camera.c2w)) for name, camera in RIGS["ring of 6"]]
    true = capture_of(ANIMAL, RIGS["ring of 6"], 0.001)
    lied = [np.linalg.inv(turn) @ np.linalg.inv(camera.c2w) for _, camera in file_rig]
    views = tuple(
        dataclasses.replace(view, camera=with_pose(view.camera, pose))
        for view, pose in zip(true.views, lied, strict=True)
    )
    assert probe(true, stated).verdict == "verified"
    assert_refused(probe(dataclasses.replace(true, views=views), stated), '"pose": "world_to_camera"')


def knocked(capture: Capture, index: int, degrees: float) -> Capture:
    """One camera's pose turned about the world's +Y, as after somebody leant on the tripod."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1.0]])
    views = list(capture.views)
    views[index] = dataclasses.replace(
        views[index], camera=with_pose(views[index].camera, turn @ views[index].camera.c2w)
    )
    return dataclasses.replace(capture, views=tuple(views))


def test_one_knocked_camera_among_many_is_named_and_refuses_nothing() -> None:
    """No reading of the file cures one wrong camera: a mesh is made without it, and the sentence says which it is."""
    result = probe(knocked(capture_of(ANIMAL, RIGS["ring of 6"], 0.001), 2, 30))
    assert result.verdict == "verified"
    assert result.warning is not None
    assert "The r2 view contradicts the others" in result.warning


def test_one_knocked_camera_of_three_is_refused_by_name() -> None:
    """Too little would be left."""
    scene = knocked(capture_of(ANIMAL, RIGS["ring of 6"], 0.001), 1, 30)
    assert_refused(probe(dataclasses.replace(scene, views=scene.views[:3])), "Check the camera of")


def test_a_slightly_knocked_camera_is_a_warning() -> None:
    result = probe(knocked(capture_of(ANIMAL, RIGS["ring of 6"], 0.001), 2, 6))
    assert result.verdict == "verified"
    assert result.warning is not None
    assert "r2" in result.warning


def test_the_six_sides_of_a_box_are_verified_by_the_absence_of_clashes() -> None:
    """No two canonical views of a cube see the same surface; wrong readings still clash."""
    cube = capture_of(CUBE, RIGS["canonical"], 0.001)
    assert probe(cube).verdict == "verified"
    assert probe(recast(cube, opencv_labelled_opengl)).verdict == "contradicted"
    assert probe(rescaled(cube, 0.1)).verdict == "contradicted"


def test_readings_that_mean_the_same_cameras_are_one_reading() -> None:
    """Two cameras whose poses are their own inverses up to the world's motion cannot tell the pose's direction.

    Half a turn about +Y about the object: both poses are involutions, so camera-to-world and world-to-camera differ
    by the gauge only.
    """
    back = np.diag([-1.0, 1.0, -1.0, 1.0])
    back[2, 3] = -1.8
    front = np.eye(4)
    front[2, 3] = 1.8
    rig = [("a", Camera(128, 128, 230, 230, 64, 64, front)), ("b", Camera(128, 128, 230, 230, 64, 64, back))]
    relative = np.linalg.inv(front) @ back
    inverse_relative = front @ np.linalg.inv(back)
    same = np.abs(relative - inverse_relative).max() < 1e-9
    result = probe(capture_of(ANIMAL, rig, 0.001))
    directions = {score.reading.pose for score in result.table}
    assert (directions == {"camera_to_world"}) == same


def test_too_few_depth_maps_are_inconclusive_not_wrong() -> None:
    capture = capture_of(ANIMAL, RIGS["canonical"])
    blind = tuple(dataclasses.replace(view, depth=None) for view in capture.views[1:])
    result = probe(dataclasses.replace(capture, views=(capture.views[0], *blind)))
    assert result.verdict == "inconclusive"
    assert result.problem is None


def test_the_answer_does_not_depend_on_chance() -> None:
    capture = capture_of(ANIMAL, RIGS["canonical"], 0.004, 0.1)
    assert probe(capture) == probe(capture)


def test_a_slightly_wrong_focal_length_is_a_warning_only() -> None:
    """5 % too long: the score cannot tell that from a biased sensor, so the operator is told and the job runs."""
    capture = capture_of(ANIMAL, RIGS["canonical"], 0.001)
    result = probe(recast(capture, lambda c: dataclasses.replace(c, fx=c.fx * 1.05, fy=c.fy * 1.05)))
    assert result.verdict == "verified"
    assert result.warning is not None
    assert "focal length" in result.warning


def test_unknown_depth_unit_of_the_capture_is_scored_as_stated() -> None:
    """A unit outside the usual list (0.25 mm, some stereo rigs) is a reading like any other."""
    result = probe(capture_of(ANIMAL, synthetic.canonical_rig(), 0.001, unit=0.00025))
    assert result.verdict == "verified"
    assert result.stated is not None
    assert result.stated.reading.depth_unit_m == pytest.approx(0.00025)


# -- where the plain count says too little ---------------------------------------------------------------------------


def test_a_reading_that_shows_nothing_is_refused_when_another_fits() -> None:
    """The object leaves the pictures, so that what falls beside one is no clash: misread, next to nothing can clash."""
    scene = Scene(boxes=(((-0.2, -0.9, -0.2), (0.2, 0.9, 0.2)), ((0.1, -0.1, -0.05), (0.45, 0.1, 0.05))))
    true = capture_of(scene, ring_rig(5), 0.001, 0.2)
    assert probe(true).verdict == "verified"
    assert_refused(probe(rescaled(true, 0.1)), '"depth_unit_m": 0.001')
    assert_refused(probe(recast(true, opencv_labelled_opengl)), '"camera_axes": "opencv"')


def test_a_reading_in_which_no_camera_sees_another_is_not_proven_by_that() -> None:
    """A room from its middle: read in a smaller unit, every surface hides behind every other, and nothing clashes."""
    walls = [((-1.5, -1.0, 1.2), (1.5, 1.0, 1.4)), ((-1.5, -1.0, -1.4), (1.5, 1.0, -1.2))]
    walls += [((1.5, -1.0, -1.2), (1.7, 1.0, 1.2)), ((-1.7, -1.0, -1.2), (-1.5, 1.0, 1.2))]
    rig = []
    for index in range(6):
        angle = 0.2 + index * np.pi / 3
        # `look_at` looks inwards from where it stands; 0.3 m behind the middle it looks out of the other side.
        c2w = look_at((np.sin(angle), 0.0, np.cos(angle)), (0.0, 1.0, 0.0), -0.3)
        rig.append((f"o{index}", Camera(160, 120, 110.0, 110.0, 80.0, 60.0, c2w)))
    true = capture_of(Scene(boxes=tuple(walls)), rig, 0.0, 0.2, 0.01)
    for change in (opencv_labelled_opengl, w2c_labelled_c2w, opencv_w2c_labelled_opengl_c2w):
        for factor in (0.1, 0.01):
            assert probe(recast(rescaled(true, factor), change)).verdict != "verified"


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_units_that_little_parallax_hardly_tells_apart_are_told_by_the_surfaces(noise: float) -> None:
    """Six cameras within 12 cm, 1.7 m away: three percent of the object's size forgive the other unit."""
    rig = []
    for index in range(6):
        x, y = 0.06 * (index % 3 - 1), 0.06 * (index // 3 - 0.5)
        c2w = look_at((x / 1.7, y / 1.7, 1.0), (0.0, 1.0, 0.0), 1.7)
        rig.append((f"f{index}", Camera(160, 120, 250.0, 250.0, 80.0, 60.0, c2w)))
    true = capture_of(BALL, rig, noise, 0.2, 1 / 5000)
    assert probe(true).verdict == "verified"
    assert_refused(probe(rescaled(true, 5000 / 6553.5)), '"depth_unit_m": 0.0002')


@pytest.mark.parametrize("noise", [0.0, 0.002])
@pytest.mark.parametrize("rig", ["ring", "forward"])
def test_depth_along_the_ray_is_refused_and_planar_depth_is_not(rig: str, noise: float) -> None:
    """A wide lens at 0.9 m: towards the corners the two differ by centimetres, in the middle not at all."""
    directions = {
        "ring": [(np.sin(a), 0.3, np.cos(a)) for a in np.arange(6) * np.pi / 3],
        "forward": [(0.3 * x, 0.3 * y, 1.0) for x in (-1, 0, 1) for y in (-1, 1)],
    }[rig]
    cameras = [
        (f"v{index}", Camera(160, 120, 110.0, 110.0, 80.0, 60.0, look_at(d, (0.0, 1.0, 0.0), 0.9)))
        for index, d in enumerate(directions)
    ]
    true = capture_of(ANIMAL, cameras, noise, 0.2)
    assert probe(true).verdict == "verified"
    v, u = np.mgrid[0:120, 0:160] + 0.5
    length = np.sqrt(((u - 80) / 110) ** 2 + ((v - 60) / 110) ** 2 + 1).astype(np.float32)
    views = tuple(dataclasses.replace(view, depth=view.depth * length) for view in true.views if view.depth is not None)
    result = probe(dataclasses.replace(true, views=views))
    assert result.verdict == "contradicted"
    assert result.problem is not None
    assert "along each pixel's ray" in result.problem.message
    assert '{"depth_type": "ray"}' in result.problem.fix


@pytest.mark.parametrize(("scene", "focal", "metres"), [(ANIMAL, 60.0, 0.55), (PLATE, 60.0, 0.45)])
def test_depth_along_the_ray_is_named_where_it_makes_views_contradict_each_other(
    scene: Scene, focal: float, metres: float
) -> None:
    """Neither a view is blamed nor another depth unit, which fits a plate to some degree."""
    cameras = [
        (f"v{n}", Camera(160, 120, focal, focal, 80, 60, look_at((np.sin(a), 0.3, np.cos(a)), (0, 1, 0), metres)))
        for n, a in enumerate(np.arange(6) * 1.05)
    ]
    true = capture_of(scene, cameras)
    assert probe(true).verdict == "verified"
    along = [view.depth * view.camera.ray_lengths() for view in true.views if view.depth is not None]
    views = tuple(dataclasses.replace(view, depth=depth) for view, depth in zip(true.views, along, strict=True))
    result = probe(dataclasses.replace(true, views=views))
    assert result.problem is not None
    assert "along each pixel's ray" in result.problem.message
    assert '{"depth_type": "ray"}' in result.problem.fix
