"""Quality figures against numbers worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from meshdrop.models.capture.capture import View
from meshdrop.models.formats.cameras import canonical_camera
from meshdrop.models.measure.agreement import MAX_PSNR_DB, depth_quality
from meshdrop.models.measure.frame import MARGIN_PX, Frame
from meshdrop.models.measure.quality import compare, iou, over_white, psnr, summarise
from meshdrop.models.raster.render import Picture

SIZE = 64
CAMERA = canonical_camera("front", SIZE, SIZE)
RNG = np.random.default_rng(7)
NOISE = RNG.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def box(side: int = 32, left: int = 16) -> NDArray[np.bool_]:
    """A square mask of ``side`` pixels."""
    mask = np.zeros((SIZE, SIZE), np.bool_)
    mask[16 : 16 + side, left : left + side] = True
    return mask


def view(mask: NDArray[np.bool_], rgb: NDArray[np.uint8] = NOISE, depth: float | None = 2.0) -> View:
    measured = None if depth is None else np.where(mask, depth, 0).astype(np.float32)
    camera = canonical_camera("front", SIZE, SIZE)
    return View("front", camera, rgb, mask.astype(np.float32), measured, "file")


def picture(of: View, offset: float = 0.0, depth: float = 2.0) -> Picture:
    """What a perfect mesh would render, with every colour of the object off by ``offset``."""
    covered = of.mask > 0.5
    rgb = np.where(covered[..., None], over_white(of) + offset, 1.0).astype(np.float32)
    far = np.where(covered, depth, 0).astype(np.float32)
    return Picture(rgb, of.mask.copy(), far, covered.astype(np.float32))


def test_psnr_of_a_constant_offset() -> None:
    # error 0.1 everywhere: MSE 0.01, 10 log10(1 / 0.01) = 20 dB
    one = np.full((4, 4, 3), 0.5, np.float32)
    assert psnr(one, one + np.float32(0.1), np.ones((4, 4), np.bool_)) == pytest.approx(20.0, abs=1e-4)


@pytest.mark.parametrize("side", [10, 20, 40])
def test_masked_psnr_counts_the_object_only_at_any_coverage(side: int) -> None:
    # On the object: error 0.1, 20 dB. On the whole image the same error is diluted by the coverage:
    # MSE = 0.01 * side^2 / 64^2, so 20 + 10 log10(64^2 / side^2) dB.
    of = view(box(side), rgb=np.full((SIZE, SIZE, 3), 100, np.uint8))
    figures = compare(of, picture(of, offset=0.1), held_out=False, size_m=1.0)
    assert figures.psnr_masked_db == pytest.approx(20.0, abs=1e-3)
    assert figures.psnr_whole_db == pytest.approx(20.0 + 20 * math.log10(SIZE / side), abs=1e-3)


def test_an_identical_picture_is_capped_and_has_ssim_one() -> None:
    of = view(box())
    figures = compare(of, picture(of), held_out=True, size_m=1.0)
    assert figures.psnr_masked_db == MAX_PSNR_DB
    assert figures.ssim_masked == pytest.approx(1.0)
    assert figures.ssim_whole == pytest.approx(1.0)
    assert figures.silhouette_iou == 1.0
    assert figures.unseen_share == 0.0
    assert figures.held_out
    assert figures.depth is not None
    assert figures.depth.median_mm == 0.0
    json.dumps(summarise([figures]).to_json(), allow_nan=False)


def test_masked_figures_do_not_move_with_the_background() -> None:
    mask = box()
    backgrounds = [np.zeros((SIZE, SIZE, 3), np.uint8), RNG.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)]
    results = []
    for background in backgrounds:
        of = view(mask, rgb=np.where(mask[..., None], NOISE, background))
        results.append(compare(of, picture(of, offset=0.05), held_out=False, size_m=1.0))
    assert results[0] == results[1]


def test_masked_ssim_ignores_what_happens_outside_the_object() -> None:
    of = view(box())
    good = picture(of)
    speckled = good.rgb.copy()
    speckled[:8] = 0.0  # far from the object
    worse = compare(of, replace(good, rgb=speckled), held_out=False, size_m=1.0)
    assert worse.ssim_masked == pytest.approx(1.0)
    assert worse.ssim_whole < 0.95


def test_shifting_fine_texture_by_one_pixel_is_punished() -> None:
    of = view(box())
    good = picture(of)
    figures = compare(of, replace(good, rgb=np.roll(good.rgb, 1, axis=1)), held_out=False, size_m=1.0)
    assert figures.psnr_masked_db is not None
    assert figures.ssim_masked is not None
    assert figures.psnr_masked_db < 12
    assert figures.ssim_masked < 0.3


def test_iou_of_two_shifted_squares() -> None:
    # 32 x 32 squares, one shifted by 8: intersection 24 * 32 = 768, union 2 * 1024 - 768 = 1280
    assert iou(box(32, 16), box(32, 24)) == pytest.approx(768 / 1280)
    empty = np.zeros((4, 4), np.bool_)
    assert iou(empty, empty) == 1.0
    assert iou(box(), np.zeros_like(box())) == 0.0


def test_depth_shares_and_median() -> None:
    # Ten pixels, errors of 0.5, 0.5, 0.5, 1.5, 1.5, 1.5, 1.5, 4, 4, 40 mm behind the measurement:
    # within 1 mm 3/10, 2 mm 7/10, 5 mm 9/10; median of the sorted ten = 1.5; all positive, so the bias is 1.5 too.
    errors = np.array([[0.5, 0.5, 0.5, 1.5, 1.5, 1.5, 1.5, 4, 4, 40]]) / 1000
    measured = np.full((1, 10), 1.0, np.float32)
    all_of_it = np.ones((1, 10), np.bool_)
    figures = depth_quality(measured, (1 + errors).astype(np.float32), all_of_it, all_of_it, CAMERA, size_m=0.5)
    assert figures is not None
    assert (figures.within_1mm, figures.within_2mm, figures.within_5mm) == (0.3, 0.7, 0.9)
    assert figures.median_mm == pytest.approx(1.5, abs=1e-3)
    assert figures.bias_mm == pytest.approx(1.5, abs=1e-3)
    assert figures.median_share_of_size == pytest.approx(0.003, abs=1e-6)
    assert figures.compared_share == 1.0


def test_depth_is_compared_where_both_have_it() -> None:
    measured = np.array([[1, 1, 1, 0]], np.float32)
    rendered = np.array([[1.001, 0, 1.001, 1.001]], np.float32)
    mask = np.array([[True, True, False, True]])
    figures = depth_quality(measured, rendered, mask, rendered > 0, CAMERA, size_m=1.0)
    assert figures is not None
    assert figures.pixels == 1  # the first one; of two measured object pixels the mesh covers one
    assert figures.compared_share == 0.5


def test_what_cannot_be_measured_is_none() -> None:
    nothing = view(np.zeros((SIZE, SIZE), np.bool_))
    figures = compare(nothing, picture(nothing), held_out=False, size_m=1.0)
    assert figures.psnr_masked_db is None
    assert figures.ssim_masked is None
    assert figures.unseen_share is None
    assert figures.depth is None
    assert figures.silhouette_iou == 1.0
    no_depth = view(box(), depth=None)
    assert compare(no_depth, picture(no_depth), held_out=False, size_m=1.0).depth is None


def test_an_object_too_thin_to_shrink_still_has_an_ssim() -> None:
    thin = np.zeros((SIZE, SIZE), np.bool_)
    thin[:, 30:34] = True
    of = view(thin)
    figures = compare(of, picture(of), held_out=False, size_m=1.0)
    assert figures.ssim_masked == pytest.approx(1.0)


def test_means_are_over_views_and_skip_what_is_missing() -> None:
    of = view(box())
    ten, thirty = (compare(of, picture(of, offset=10 ** (-db / 20)), held_out=db == 30, size_m=1.0) for db in (10, 30))
    empty = view(np.zeros((SIZE, SIZE), np.bool_), depth=None)
    quality = summarise([ten, thirty, compare(empty, picture(empty), held_out=False, size_m=1.0)])
    assert quality.mean.views == 3
    assert quality.mean.psnr_masked_db == pytest.approx(20.0, abs=0.01)  # (10 + 30) / 2; the empty view has none
    assert quality.held_out is not None
    assert quality.held_out.psnr_masked_db == pytest.approx(30.0, abs=0.01)
    assert summarise([ten]).held_out is None


def test_partial_coverage_mixes_with_white() -> None:
    black = view(box(), rgb=np.zeros((SIZE, SIZE, 3), np.uint8))
    of = replace(black, mask=np.full((SIZE, SIZE), 0.75, np.float32))
    assert over_white(of) == pytest.approx(np.full((SIZE, SIZE, 3), 0.25))


@pytest.mark.parametrize(("left", "side"), [(16, 20), (0, 12), (40, 24), (16, 2)])
def test_a_frame_has_all_the_figures_of_the_whole_picture(left: int, side: int) -> None:
    """In the middle, at the left edge, at the right edge, and as a thin thing; the mesh goes 3 pixels too far."""
    of = view(box(side, left))
    wide = np.zeros((SIZE, SIZE), np.bool_)
    wide[14 : 19 + side, max(left - 3, 0) : left + side + 3] = True
    rendered = picture(view(wide), offset=-0.07, depth=2.001)
    frame = Frame(max(left - 3 - MARGIN_PX, 0), 14 - MARGIN_PX, 0, 0)
    right, bottom = min(left + side + 3 + MARGIN_PX, SIZE), 19 + side + MARGIN_PX
    frame = replace(frame, width=right - frame.left, height=bottom - frame.top)
    part = Picture(*(frame.cut(layer) for layer in (rendered.rgb, rendered.alpha, rendered.depth, rendered.seen)))
    whole = compare(of, rendered, held_out=False, size_m=1.0)
    framed = compare(frame.view(of), part, held_out=False, size_m=1.0, white_around=SIZE * SIZE - frame.pixels)
    assert framed.psnr_whole_db == pytest.approx(whole.psnr_whole_db, abs=1e-9)
    assert framed.ssim_whole == pytest.approx(whole.ssim_whole, abs=1e-12)
    assert framed.ssim_masked == pytest.approx(whole.ssim_masked, abs=1e-12)
    same = replace(
        framed, psnr_whole_db=whole.psnr_whole_db, ssim_whole=whole.ssim_whole, ssim_masked=whole.ssim_masked
    )
    assert same == whole


def test_pictures_of_another_size_are_refused() -> None:
    of = view(box())
    full = picture(of)
    small = Picture(full.rgb[:8, :8], full.alpha[:8, :8], full.depth[:8, :8], full.seen[:8, :8])
    with pytest.raises(ValueError, match="front"):
        compare(of, small, held_out=False, size_m=1.0)
