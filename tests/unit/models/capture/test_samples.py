"""The shipped sample is sound, is what its program renders, and every broken variant is refused for its own reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meshdrop.models.capture.capture import Capture, read_capture
from meshdrop.models.formats.cameras import CANONICAL_VIEWS, Camera, canonical_camera
from meshdrop.models.probe.inspection import inspect
from samples.broken import BY_NAME, CASES, make_broken
from samples.make_sample import render_view
from samples.snail_shape import distances
from tests.unit.models.synthetic import points_of

SAMPLES = Path(__file__).parents[4] / "samples"
SAMPLE = SAMPLES / "snail"


@pytest.fixture(scope="module")
def snail() -> Capture:
    return read_capture(SAMPLE)


def test_the_sample_is_ready_without_a_warning() -> None:
    found = inspect(SAMPLE)
    assert found.ok, found.lines()
    assert found.warnings == ()
    assert found.probe is not None
    assert found.probe.verdict == "verified"
    assert sum(file.stat().st_size for file in SAMPLE.rglob("*") if file.is_file()) < 1_500_000


def test_the_samples_depth_lies_on_the_samples_shape(snail: Capture) -> None:
    """Noise of sigma 1 mm along the view keeps 97 % within 4 mm; the rest is the shell's mouth, where two turns of the
    spiral meet in a seam and the distance jumps."""
    for view in snail.views:
        assert view.depth is not None
        points = points_of(view.camera, view.depth)[(view.depth > 0) & (view.mask >= 1)]
        found = np.abs(distances(np.ascontiguousarray(points[::97])))
        assert np.median(found) < 0.001
        assert np.quantile(found, 0.97) < 0.004


def test_the_program_renders_the_committed_sample(snail: Capture) -> None:
    """One view again at an eighth of the size: coverage and depth agree with the committed picture."""
    view = snail.views[list(CANONICAL_VIEWS).index("right")]
    small: Camera = canonical_camera("right", 64, 64)
    _, coverage, depth = render_view(small, 2)
    blocks = view.mask.reshape(64, 8, 64, 8).mean(axis=(1, 3))
    assert np.abs(coverage - blocks).mean() < 0.005
    assert view.depth is not None
    # The centre of a coarse pixel is the corner of four fine ones.
    fine = view.depth[3::8, 3::8]
    both = (depth > 0) & (fine > 0) & (blocks > 0.99)
    assert np.median(np.abs(depth - fine)[both]) < 0.003


def test_the_truth_bounds_the_sample(snail: Capture) -> None:
    truth = json.loads((SAMPLES / "snail.truth.json").read_text())
    low, high = np.array(truth["bounding_box_m"])
    points = [
        points_of(view.camera, view.depth)[(view.depth > 0) & (view.mask >= 1)]
        for view in snail.views
        if view.depth is not None
    ]
    cloud = np.concatenate(points)
    # Depth noise of 1 mm reaches at most 5 sigma; the grid is fine to one cell.
    slack = 0.005 + truth["tolerance_m"]
    assert (cloud >= low - slack).all()
    assert (cloud <= high + slack).all()
    assert np.abs(np.quantile(cloud, 0.9999, axis=0) - high).max() < 0.01
    assert 0 < truth["volume_m3"] < np.prod(high - low)
    # No body has less surface than the ball of its volume.
    assert truth["area_m2"] > (36 * np.pi * truth["volume_m3"] ** 2) ** (1 / 3)


def test_there_are_broken_variants_of_every_kind() -> None:
    assert len(CASES) >= 12
    assert len(BY_NAME) == len(CASES)


@pytest.fixture(scope="module")
def small_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every fourth pixel of the sample: broken in the same ways, checked in a sixteenth of the time."""
    folder = tmp_path_factory.mktemp("small") / "snail"
    for file in SAMPLE.rglob("*.png"):
        target = folder / file.relative_to(SAMPLE)
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(file) as image:
            Image.fromarray(np.ascontiguousarray(np.asarray(image)[2::4, 2::4])).save(target)
    (folder / "capture.json").write_bytes((SAMPLE / "capture.json").read_bytes())
    return folder


def test_the_small_sample_is_sound(small_sample: Path) -> None:
    found = inspect(small_sample)
    assert found.ok, found.lines()


@pytest.mark.parametrize("name", BY_NAME)
def test_a_broken_variant_is_refused_for_its_own_reason(name: str, small_sample: Path, tmp_path: Path) -> None:
    case = BY_NAME[name]
    found = inspect(make_broken(small_sample, tmp_path, case))
    assert not found.ok
    assert case.code in {problem.code for problem in found.problems}, found.lines()
    assert all(problem.message and problem.fix for problem in found.problems)
