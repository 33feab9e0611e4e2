"""Pictures as the networks want them: the object alone, in the middle, 518 pixels a side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from meshdrop.models.capture.capture import View
from meshdrop.models.files.problem import CaptureError
from meshdrop.models.formats.cameras import canonical_camera
from meshdrop.models.reconviagen.images import SIDE, prepare, prepare_views
from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402, F401 - by this name the file is known to need it

if TYPE_CHECKING:
    from meshdrop.models.reconviagen.upstream import Upstream

Picture = tuple[NDArray[np.uint8], NDArray[np.float32]]


def blob(height: int, width: int, centre: tuple[float, float], radius: float, soft: float = 3.0) -> Picture:
    """A round object with soft edges on noise: (H, W, 3) colours and (H, W) coverage in steps of 1/255."""
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows - centre[0], columns - centre[1])
    mask = np.round(np.clip((radius - distance) / soft, 0, 1) * 255).astype(np.float32) / 255
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8), mask


def view(name: str, mask: NDArray[np.float32]) -> View:
    """A view with this mask."""
    height, width = mask.shape
    rgb = np.full((height, width, 3), 90, np.uint8)
    return View(name, canonical_camera("front", width, height), rgb, mask, None, "file")


PICTURES = {
    "middle": blob(512, 512, (256, 256), 100),
    "large": blob(300, 400, (150, 200), 140),
    "small": blob(700, 500, (90, 410), 12),
    "cut off by the corner": blob(256, 320, (10, 300), 60),
    "cut off below": blob(200, 200, (190, 100), 50),
    "wide": blob(120, 900, (60, 450), 55),
    "soft all over": blob(256, 256, (128, 128), 90, soft=90),
}


@pytest.mark.parametrize("name", PICTURES)
def test_as_upstream_prepares_it(name: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte."""
    rgb, mask = PICTURES[name]
    rgba = np.dstack([rgb, np.round(mask * 255).astype(np.uint8)])
    pipeline = upstream.module("trellis.pipelines").TrellisVGGTTo3DPipeline
    real = Image.fromarray
    monkeypatch.setattr(Image, "fromarray", lambda array, mode=None: real(array))  # Pillow 13 has no mode any more
    theirs = np.asarray(pipeline.preprocess_image(object(), real(rgba)))
    np.testing.assert_array_equal(prepare(rgb, mask), theirs)


def test_the_object_is_centred_and_fills_most_of_the_picture() -> None:
    """A disc of radius 100 with its box widened by 1.1: 518 / 1.1 = 471 pixels from edge to edge."""
    rgb, mask = blob(512, 512, (200, 300), 100, soft=1)
    rows, columns = np.nonzero(prepare(rgb, mask)[..., 3] > 127)
    assert rows.mean() == pytest.approx(258.5, abs=3)
    assert columns.mean() == pytest.approx(258.5, abs=3)
    assert np.ptp(rows) == pytest.approx(471, abs=6)


def test_only_certain_pixels_keep_their_colour() -> None:
    rgb, mask = PICTURES["soft all over"]
    ready = prepare(np.maximum(rgb, 10), mask)
    assert not ready[..., :3][ready[..., 3] < 204].any()
    assert ready[..., :3][ready[..., 3] > 205].all()


def test_every_view_without_object_is_refused_by_name() -> None:
    _, good = blob(64, 64, (32, 32), 20)
    faint = np.where(good > 0.5, 0.7, 0).astype(np.float32)
    crumb = np.zeros((64, 64), np.float32)
    crumb[10:14, 10:14] = 1
    with pytest.raises(CaptureError) as refused:
        prepare_views([view("a", good), view("b", good * 0), view("c", faint), view("d", crumb)])
    assert [problem.file for problem in refused.value.problems] == ["b", "c", "d"]
    assert "no object" in refused.value.problems[0].message
    assert "3 pixels" in refused.value.problems[2].message


def test_views_of_different_sizes_come_out_alike_and_in_order() -> None:
    ready = prepare_views([view("a", blob(64, 64, (32, 32), 20)[1]), view("b", blob(90, 50, (40, 25), 12)[1])])
    assert ready.shape == (2, SIDE, SIDE, 4)
    assert ready.dtype == np.uint8
