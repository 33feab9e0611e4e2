"""Quality figures: how well renders of a delivered mesh agree with the photographs and with the measured depth.

Both sides are composited over white with their own coverage, in sRGB values 0..1, before anything is compared, so
what stands behind the object never counts. "Masked" figures look at the object only and are the ones to judge by: on
the whole image a small object in front of white scores well whatever it looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from skimage.metrics import structural_similarity

from meshdrop.models.capture.capture import View
from meshdrop.models.measure.figures import DepthQuality, MeanQuality, Quality, ViewQuality
from meshdrop.models.raster.render import Picture

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

#: Identical pictures have an infinite PSNR, which JSON cannot hold; 8-bit rounding alone costs 59 dB, so nothing
#: real comes near this cap.
MAX_PSNR_DB = 100.0
#: The SSIM map is averaged over the mask shrunk by this much: the 7 x 7 windows at its rim see the background.
SSIM_EROSION_PX = 5
#: A pixel belongs to a silhouette when the object covers at least half of it.
COVERED = 0.5


def summarise(views: Sequence[ViewQuality]) -> Quality:
    """Every view counts the same in a mean, however large its object is."""
    unseen = [view for view in views if view.held_out]
    return Quality(_mean(views), _mean(unseen) if unseen else None, tuple(views))


def compare(view: View, picture: Picture, *, held_out: bool, size_m: float, white_around: int = 0) -> ViewQuality:
    """Figures of one view: the photograph against ``picture``, the render of the mesh from the same camera over white.

    ``size_m`` is the diagonal of the mesh's bounding box. Both pictures are 7 pixels wide and high or more, and may be
    the frame of larger ones (``models/measure/frame.py``) that are pure white in their other ``white_around`` pixels:
    those agree fully and count in the whole-image figures. Raises ``ValueError`` when the sizes differ.
    """
    if picture.rgb.shape != view.rgb.shape:
        raise ValueError(f"view {view.name}: the render is {picture.rgb.shape}, the photograph {view.rgb.shape}")
    photo = over_white(view)
    mask = view.mask >= COVERED
    covered = picture.alpha >= COVERED
    similarity = _ssim_map(photo, picture.rgb)
    pixels = similarity.size + white_around
    return ViewQuality(
        name=view.name,
        held_out=held_out,
        psnr_masked_db=psnr(photo, picture.rgb, mask),
        ssim_masked=_masked_ssim(similarity, mask),
        psnr_whole_db=_decibels(_squared_error(photo, picture.rgb), 3 * pixels),
        ssim_whole=(float(similarity.sum()) + white_around) / pixels,
        silhouette_iou=iou(mask, covered),
        unseen_share=_unseen_share(picture, covered),
        depth=None if view.depth is None else depth_quality(view.depth, picture.depth, mask, covered, size_m),
    )


def over_white(view: View) -> Floats:
    """The photograph over white, (H, W, 3) float32 sRGB 0..1: colour where the object is, white elsewhere.

    Colours are taken as the object's own (``View.rgb`` is not multiplied by alpha). Should a photograph's edge pixels
    be blended with a background after all, blending once more is wrong by a quarter of the contrast at most;
    trusting them as they are would be wrong by half of it on captures that keep the promise.
    """
    coverage = view.mask[..., None]
    return (view.rgb.astype(np.float32) / np.float32(255) * coverage + (1 - coverage)).astype(np.float32)


def psnr(one: Floats, other: Floats, mask: Bools) -> float | None:
    """Peak signal to noise in dB for values 0..1, from the squared error over ``mask`` pixels and all channels.

    At most ``MAX_PSNR_DB``; None when the mask is empty.
    """
    return _decibels(_squared_error(one[mask], other[mask]), one[mask].size) if mask.any() else None


def iou(one: Bools, other: Bools) -> float:
    """Intersection over union of two silhouettes; two empty ones agree fully (1.0)."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def depth_quality(
    measured: Floats, rendered: Floats, mask: Bools, covered: Bools, size_m: float
) -> DepthQuality | None:
    """Errors of planar depth (metres, 0 = nothing) inside ``mask``, where the mesh covers the pixel too.

    None when nothing was measured on the object or the mesh covers none of it.
    """
    known = mask & (measured > 0)
    both = known & covered & (rendered > 0)
    if not both.any():
        return None
    signed = (rendered[both].astype(np.float64) - measured[both]) * 1000.0
    error = np.abs(signed)
    median = float(np.median(error))
    return DepthQuality(
        pixels=int(both.sum()),
        compared_share=int(both.sum()) / int(known.sum()),
        median_mm=median,
        p95_mm=float(np.quantile(error, 0.95)),
        bias_mm=float(np.median(signed)),
        within_1mm=float((error <= 1.0).mean()),
        within_2mm=float((error <= 2.0).mean()),
        within_5mm=float((error <= 5.0).mean()),
        median_share_of_size=median / 1000.0 / size_m,
    )


def _squared_error(one: Floats, other: Floats) -> float:
    return float(np.sum((one.astype(np.float64) - other) ** 2))


def _decibels(squared_error: float, values: int) -> float:
    return MAX_PSNR_DB if squared_error == 0 else min(MAX_PSNR_DB, float(-10 * np.log10(squared_error / values)))


def _unseen_share(picture: Picture, covered: Bools) -> float | None:
    if not covered.any():
        return None
    return float(np.clip(1.0 - picture.seen[covered].mean(dtype=np.float64), 0.0, 1.0))


def _ssim_map(one: Floats, other: Floats) -> NDArray[np.float64]:
    """SSIM per pixel (H, W), mean of the channels: 7 x 7 uniform windows, K1 0.01, K2 0.03 (Wang et al. 2004)."""
    similarity: Any = structural_similarity  # untyped in the library
    # in single precision the variance of a nearly flat window drowns in rounding: 1e-4 of SSIM
    doubles = (one.astype(np.float64), other.astype(np.float64))
    _, full = similarity(*doubles, data_range=1.0, channel_axis=-1, full=True)
    return np.asarray(full.mean(axis=-1))


def _masked_ssim(similarity: NDArray[np.float64], mask: Bools) -> float | None:
    """Mean of the map over the shrunken mask; over the mask itself when an object is too thin to be shrunk."""
    if not mask.any():
        return None
    inner = binary_erosion(mask, iterations=SSIM_EROSION_PX)
    return float(similarity[inner if inner.any() else mask].mean())


def _mean(views: Sequence[ViewQuality]) -> MeanQuality:
    def of(figure: Callable[[ViewQuality], float | None]) -> float | None:
        values = [value for value in map(figure, views) if value is not None]
        return float(np.mean(values)) if values else None

    def of_depth(name: str) -> float | None:
        return of(lambda view: None if view.depth is None else getattr(view.depth, name))

    return MeanQuality(
        views=len(views),
        psnr_masked_db=of(lambda view: view.psnr_masked_db),
        ssim_masked=of(lambda view: view.ssim_masked),
        psnr_whole_db=of(lambda view: view.psnr_whole_db),
        ssim_whole=of(lambda view: view.ssim_whole),
        silhouette_iou=of(lambda view: view.silhouette_iou),
        unseen_share=of(lambda view: view.unseen_share),
        depth_median_mm=of_depth("median_mm"),
        depth_p95_mm=of_depth("p95_mm"),
        depth_bias_mm=of_depth("bias_mm"),
        depth_within_1mm=of_depth("within_1mm"),
        depth_within_2mm=of_depth("within_2mm"),
        depth_within_5mm=of_depth("within_5mm"),
        depth_median_share_of_size=of_depth("median_share_of_size"),
    )
