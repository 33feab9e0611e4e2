"""The bench that runs the original nvdiffrec: its inputs, its runs and what is read out of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.original_inputs import write_inputs
from bench.original_nvdiffrec import score_curve, score_pictures
from bench.original_result import read_log, read_obj
from bench.original_run import Incomplete, Run, run
from meshdrop.models.capture.capture import Capture
from tests.unit.models.synthetic import BALL, canonical_rig, capture_of, ring_rig, write_png

#: The scores of pictures 51 and 17 levels too dark: 20 log10(255 / 51) and 20 log10(255 / 17).
DARK, LESS_DARK = 13.979, 23.522


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Two held-out views: grey ramps of their own, 16 x 16."""
    rig = ring_rig(2, size=16)
    frames = []
    for number, (name, camera) in enumerate(rig):
        ramp = np.arange(768).reshape(16, 16, 3) % 150 + 60 + 10 * number
        write_png(tmp_path / f"truth/rgb/{name}.png", ramp.astype(np.uint8))
        frames.append({"file_path": f"rgb/{name}.png", "transform_matrix": camera.c2w.tolist()})
    lens = {"w": 16, "h": 16, "fl_x": camera.fx, "fl_y": camera.fy, "cx": 8.0, "cy": 8.0}
    (tmp_path / "truth/transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    return tmp_path / "truth"


@pytest.fixture
def capture() -> Capture:
    return capture_of(BALL, ring_rig(3, size=16))


def started(tmp_path: Path, capture: Capture, truth: Path, mood: str, **how: Any) -> Run:
    """A run of the imposter in this mood."""
    write_inputs(capture, truth, tmp_path / "data")
    checkout = tmp_path / "checkout"
    (checkout / "data").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("imposter.py"), checkout / "train.py")
    (checkout / "mood").write_text(mood)
    return run(checkout, tmp_path / "data", tmp_path / "out", 40, **how)


def as_the_original_projects(folder: Path, split: str, number: int, points: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) by its reader's rules: the world turned by (x, y, z) -> (x, -z, y), one angle, a centred lens."""
    stated = json.loads((folder / f"transforms_{split}.json").read_text())
    frame = stated["frames"][number]
    turned = np.stack([points[:, 0], -points[:, 2], points[:, 1], np.ones(len(points))])
    x, y, z, _ = np.linalg.inv(np.array(frame["transform_matrix"])) @ turned
    size = np.array(Image.open(folder / f"{frame['file_path']}.png").size)
    focal = size[0] / 2 / np.tan(stated["camera_angle_x"] / 2)
    pixels: np.ndarray = size / 2 + focal * np.stack([x / -z, -y / -z], axis=1)
    return pixels


def test_its_reader_sees_every_point_where_the_capture_does(tmp_path: Path, capture: Capture, truth: Path) -> None:
    write_inputs(capture, truth, tmp_path / "data")
    points = np.random.default_rng(3).uniform(-0.4, 0.4, (20, 3))
    held_out = [camera for _, camera in ring_rig(2, size=16)]
    for split, cameras in (("train", [view.camera for view in capture.views]), ("test", held_out)):
        for number, camera in enumerate(cameras):
            u, v, _ = camera.project(points)
            seen = as_the_original_projects(tmp_path / "data", split, number, points)
            np.testing.assert_allclose(seen, np.stack([u, v], axis=1), atol=1e-9)


def test_pictures_keep_straight_colour_and_coverage(tmp_path: Path, capture: Capture, truth: Path) -> None:
    """Coverage 0.6 becomes alpha 153 (0.6 * 255) and leaves the colour alone; held-out ones are opaque."""
    soft = replace(capture.views[0], mask=np.full((16, 16), 0.6, np.float32))
    write_inputs(replace(capture, views=(soft, *capture.views[1:])), truth, tmp_path / "data")
    written = np.asarray(Image.open(tmp_path / "data/train/000.png"))
    assert (written[..., 3] == 153).all()
    np.testing.assert_array_equal(written[..., :3], soft.rgb)
    held_out = np.asarray(Image.open(tmp_path / "data/test/001.png"))
    assert (held_out[..., 3] == 255).all()
    np.testing.assert_array_equal(held_out[..., :3], np.asarray(Image.open(truth / "rgb/r1.png")))


@pytest.mark.parametrize("wrong", [{"cx": 7.5}, {"fy": 30.0}, {"fx": 30.0, "fy": 30.0}])
def test_cameras_that_it_cannot_express_are_refused(
    tmp_path: Path, capture: Capture, truth: Path, wrong: dict[str, Any]
) -> None:
    camera = replace(capture.views[2].camera, **wrong)
    views = (*capture.views[:2], replace(capture.views[2], camera=camera))
    with pytest.raises(ValueError, match="the original wants"):
        write_inputs(replace(capture, views=views), truth, tmp_path / "data")


def test_another_size_than_the_held_out_views_is_refused(tmp_path: Path, truth: Path) -> None:
    with pytest.raises(ValueError, match="one size"):
        write_inputs(capture_of(BALL, canonical_rig(size=32)), truth, tmp_path / "data")


def test_a_whole_run_is_read(tmp_path: Path, capture: Capture, truth: Path) -> None:
    found = started(tmp_path, capture, truth, "good", curve_every=10)
    assert [[step.iteration for step in steps] for steps in found.log.passes] == [[0, 10, 20, 30, 40]] * 2
    assert [step.ms for step in found.log.passes[1]] == [200, 190, 180, 170, 160]
    assert found.log.allocated_mib == 3
    assert found.log.seconds is not None
    assert found.log.seconds >= found.log.passes[1][-1].seconds >= found.log.passes[0][-1].seconds
    assert score_pictures(found, truth) == pytest.approx((DARK, LESS_DARK), abs=1e-3)
    mesh = read_obj(found.results / "mesh")
    assert mesh.faces.tolist() == [[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]
    np.testing.assert_allclose(mesh.vertices[3], (0.1, 0.2, 0.7))
    np.testing.assert_allclose(mesh.uv[2, 1], (0.25, 0.75))


def test_the_curve_is_a_mean_over_each_round_of_views(tmp_path: Path, capture: Capture, truth: Path) -> None:
    """Pictures at steps 0 to 40 by 10, two views: rounds at steps 0 and 10, 20 and 30; the fifth is left over."""
    moments = score_curve(started(tmp_path, capture, truth, "good", curve_every=10), truth)
    assert [(moment.pass_number, moment.iteration) for moment in moments] == [(1, 5), (1, 25), (2, 5), (2, 25)]
    assert [moment.psnr for moment in moments] == pytest.approx([DARK, LESS_DARK] * 2, abs=1e-3)
    assert [moment.seconds for moment in moments] == sorted(moment.seconds for moment in moments)


def test_without_pictures_there_is_no_curve(tmp_path: Path, capture: Capture, truth: Path) -> None:
    assert score_curve(started(tmp_path, capture, truth, "good"), truth) == []


@pytest.mark.parametrize(
    ("mood", "complaint"),
    [
        ("half", "shows 1 passes"),
        ("unsaved", "FAILED to save image"),
        ("nan", "pass 1 has losses that are not finite"),
        ("crash", "CUDA error: out of memory"),
    ],
)
def test_half_a_result_is_not_taken_for_one(
    tmp_path: Path, capture: Capture, truth: Path, mood: str, complaint: str
) -> None:
    with pytest.raises(Incomplete, match=complaint):
        started(tmp_path, capture, truth, mood)


def test_a_run_past_its_time_is_killed(tmp_path: Path, capture: Capture, truth: Path) -> None:
    with pytest.raises(Incomplete, match="exit status -9"):
        started(tmp_path, capture, truth, "hang", timeout_s=0.3)


def test_other_held_out_pictures_are_noticed(tmp_path: Path, capture: Capture, truth: Path) -> None:
    found = started(tmp_path, capture, truth, "good")
    shutil.copy(truth / "rgb/r1.png", truth / "rgb/r0.png")
    with pytest.raises(Incomplete, match="is not the held-out picture 0"):
        score_pictures(found, truth)


def test_a_pass_cut_short_is_named() -> None:
    lines = [f"{step / 10:.3f} iter={step:5d}, img_loss=0.1, reg_loss=0.1, lr=0.03, time=9.0 ms" for step in (0, 10)]
    log = read_log([*lines, "2.000 exit status 0"], 20)
    assert "pass 1 stops at iteration 10 of 20" in log.complaints
    assert "its log says 'Base mesh has' 0 times, not 1" in log.complaints
    assert (log.seconds, log.card_mib) == (2.0, None)
