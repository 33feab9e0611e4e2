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
from meshdrop.models.measure.agreement import (
    MAX_PSNR_DB,
    another_surface_m,
    colour_quality,
    coverage,
    depth_quality,
    silhouette_quality,
)
from meshdrop.models.measure.figures import DepthQuality, MeanQuality, Quality, ViewQuality
from meshdrop.models.raster.render import Picture

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

#: The SSIM map is averaged over the mask shrunk by this much: the 7 x 7 windows at its rim see the background.
SSIM_EROSION_PX = 5
#: A pixel belongs to a silhouette when the object covers at least half of it.
COVERED = 0.5
#: So much of a pixel belongs to the object where no background is mixed in.
UNMIXED = 0.99


def summarise(views: Sequence[ViewQuality]) -> Quality:
    """Every view counts the same in a mean, however large its object is."""
    unseen = [view for view in views if view.held_out]
    return Quality(_mean(views), _mean(unseen) if unseen else None, tuple(views))


def compare(
    view: View,
    picture: Picture,
    *,
    held_out: bool,
    size_m: float,
    white_around: int = 0,
    scene: bool = False,
    inside: Bools | None = None,
) -> ViewQuality:
    """Figures of one view: the photograph against ``picture``, the render of the mesh from the same camera over white.

    ``size_m`` is the diagonal of the mesh's bounding box. Both pictures are 7 pixels wide and high or more, and may be
    the frame of larger ones (``models/measure/frame.py``) that are pure white in their other ``white_around`` pixels:
    those agree fully and count in the whole-image figures. A ``scene`` has no outline to compare. ``inside``
    marks where a closed mesh shows its inside, None for one that may be open.
    Raises ``ValueError`` when the sizes differ.
    """
    if picture.rgb.shape != view.rgb.shape:
        raise ValueError(f"view {view.name}: the render is {picture.rgb.shape}, the photograph {view.rgb.shape}")
    photo = over_white(view)
    mask = view.mask >= COVERED
    covered = picture.alpha >= COVERED
    similarity = _ssim_map(photo, picture.rgb)
    pixels = similarity.size + white_around
    depth = _depth(view, picture, mask, covered, size_m)
    asked = mask & (view.depth > 0) if scene and view.depth is not None else mask
    return ViewQuality(
        name=view.name,
        held_out=held_out,
        psnr_masked_db=psnr(photo, picture.rgb, mask),
        ssim_masked=_masked_ssim(similarity, mask),
        psnr_whole_db=_decibels(_squared_error(photo, picture.rgb), 3 * pixels),
        ssim_whole=(float(similarity.sum()) + white_around) / pixels,
        silhouette_iou=iou(mask, covered),
        unseen_share=_unseen_share(picture, covered),
        depth=depth,
        silhouette=None if scene else silhouette_quality(mask, covered, pixels),
        colour=colour_quality(photo, picture.rgb, _solid(view, picture)),
        depth_elsewhere=view.depth is not None and bool((view.depth > 0).any()) and not (mask & (view.depth > 0)).any(),
        coverage=coverage(
            asked,
            covered,
            inside,
            None if view.depth is None else (view.depth, picture.depth),
            another_surface_m(depth, size_m),
        ),
    )


def _depth(view: View, picture: Picture, mask: Bools, covered: Bools, size_m: float) -> DepthQuality | None:
    if view.depth is None:
        return None
    return depth_quality(view.depth, picture.depth, mask, covered, view.camera, size_m)


def _solid(view: View, picture: Picture) -> Bools:
    """The pixels that show the object alone on both sides; those on the rim too, where it is nothing but rim."""
    whole = (view.mask >= UNMIXED) & (picture.alpha >= UNMIXED)
    return whole if whole.any() else (view.mask >= COVERED) & (picture.alpha >= COVERED)


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

    def part(name: str, figure: str) -> float | None:
        return of(lambda view: getattr(getattr(view, name), figure, None))

    def of_depth(name: str) -> float | None:
        return part("depth", name)

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
        depth_compared_share=of_depth("compared_share"),
        depth_within_tolerance=of_depth("within_tolerance"),
        silhouette_rim_iou=part("silhouette", "rim_iou"),
        missing_share=part("silhouette", "missing_share"),
        surplus_share=part("silhouette", "surplus_share"),
        colour_psnr_db=part("colour", "psnr_db"),
        colour_explained=part("colour", "explained"),
        coverage=of(lambda view: view.coverage),
    )
