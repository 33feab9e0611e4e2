"""What of a photograph is the object: masks out of files, alpha, depth or the background's colour.

A mask is (H, W) float32, coverage in 0..1. Images are (H, W, 3) uint8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.float32]
Rgb = NDArray[np.uint8]

#: A background counts as one colour when this share of the image's frame lies this close to the frame's median.
UNIFORM_SHARE = 0.8
UNIFORM_LEVELS = 12
#: A pixel differs from the background when a channel does by this much: six sigma of ordinary camera noise.
KEY_LEVELS = 24
#: Without a background to compare with, gaps in depth up to this share of the object are taken for missing depth.
GAP_SHARE = 0.02
#: Gaps up to this many pixels are always taken for missing depth: no real opening is measured that finely.
GAP_PIXELS = 64
#: Pieces below this share of the largest one are specks.
SPECK_SHARE = 0.005
#: Edge pixels below this coverage say too little about the object's colour.
THIN_COVERAGE = 0.1
#: Pixels this close to a hard outline may be covered in part; those this deep inside show the object alone.
RIM_PIXELS = 1.0
DEEP_PIXELS = 2.5
#: Object and background must differ by this many levels for the share of each in a pixel to be told.
CONTRAST_LEVELS = 40
#: Empty pixels this close to the object take its colour, so that filtering at the edge finds no foreign one.
BLEED_PIXELS = 3


def background_colour(rgb: Rgb) -> NDArray[np.float64] | None:
    """The one colour of the image's outermost 4 pixels, (3,) in 0..255; None when they are not of one colour."""
    inner = np.zeros(rgb.shape[:2], dtype=bool)
    inner[4:-4, 4:-4] = True
    frame = rgb[~inner].astype(np.float64)
    median = np.median(frame, axis=0)
    near = np.abs(frame - median).max(axis=1) <= UNIFORM_LEVELS
    colour: NDArray[np.float64] = median
    return colour if near.mean() >= UNIFORM_SHARE else None


def differs_from(rgb: Rgb, colour: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixels (H, W) that cannot be the background of this colour."""
    different: NDArray[np.bool_] = np.abs(rgb - colour).max(axis=2) > KEY_LEVELS
    return different


def mask_from_depth(measured: NDArray[np.bool_], rgb: Rgb) -> Mask:
    """Where depth was measured, with the sensor's drop-outs filled in.

    Where the background has one colour, a gap inside the object is filled when its pixels are not of that colour,
    and a bite at the edge likewise; so the hole of a ring stays open. Elsewhere only small gaps are filled.
    """
    background = background_colour(rgb)
    object_ = _without_specks(measured)
    if background is not None:
        # The opening drops the rim of half-covered pixels, which the sensor rightly left out.
        bites = ndimage.binary_opening(differs_from(rgb, background) & ~object_, np.ones((3, 3)))
        object_ = _touching(object_ | bites, object_)
    gaps, count = ndimage.label(~object_)
    sizes = np.bincount(gaps.ravel(), minlength=count + 1)
    outside = np.unique(np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]]))
    most = GAP_PIXELS if background is not None else max(GAP_PIXELS, GAP_SHARE * object_.sum())
    fill = sizes <= most
    fill[outside] = False
    fill[0] = False
    return _coverage(object_ | fill[gaps])


def mask_from_border(rgb: Rgb) -> Mask | None:
    """Everything that is not of the frame's colour; None when the frame has no one colour."""
    background = background_colour(rgb)
    if background is None:
        return None
    keyed = _without_specks(ndimage.binary_opening(differs_from(rgb, background)))
    gaps, count = ndimage.label(~keyed)
    fill = np.bincount(gaps.ravel(), minlength=count + 1) <= GAP_PIXELS
    fill[0] = False
    return _coverage(keyed | fill[gaps])


def soft_edges(mask: Mask, rgb: Rgb, background: NDArray[np.float64], centres_known: bool) -> Mask:
    """A hard mask with the coverage of its outline's pixels, read from how much of ``background`` (3,) shows in them.

    Each pixel at the outline is taken as a mixture of the background and the nearest colour from deeper inside (the
    compositing equation of Porter and Duff 1984, solved for alpha along the line between the two). Where they are
    too much alike, or nothing lies deeper inside, the mask stays as it is. ``centres_known`` says that the mask comes
    from a measurement at the pixels' centres, as depth does: then no pixel changes sides.
    """
    soft = mask.copy()
    near = _window(mask > 0, BLEED_PIXELS)
    object_ = mask[near] >= 0.5
    depth = ndimage.distance_transform_edt(object_)
    deep = depth > DEEP_PIXELS
    if not deep.any() or object_.all():
        return soft
    rim = np.where(object_, depth, ndimage.distance_transform_edt(~object_)) <= RIM_PIXELS
    away, nearest = ndimage.distance_transform_edt(~deep, return_indices=True)
    rim &= away <= DEEP_PIXELS + 2 * RIM_PIXELS
    colours = rgb[near].astype(np.float64)
    towards = colours[nearest[0][rim], nearest[1][rim]] - background
    contrast = (towards**2).sum(axis=1)
    share = ((colours[rim] - background) * towards).sum(axis=1) / np.maximum(contrast, 1.0)
    told = contrast >= CONTRAST_LEVELS**2
    least = np.where(object_[rim], 0.5, 0.0) if centres_known else np.zeros(len(share))
    most = np.where(object_[rim], 1.0, 0.499) if centres_known else np.ones(len(share))
    soft[near][rim] = np.where(told, np.clip(share, least, most), soft[near][rim])
    return soft


def _without_specks(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    pieces, count = ndimage.label(region)
    if count <= 1:
        return region
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    keep = sizes >= SPECK_SHARE * sizes.max()
    keep[0] = False
    kept: NDArray[np.bool_] = keep[pieces]
    return kept


def _touching(region: NDArray[np.bool_], seed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pieces of ``region`` that hold a pixel of ``seed``."""
    pieces, count = ndimage.label(region)
    keep = np.zeros(count + 1, dtype=bool)
    keep[np.unique(pieces[seed])] = True
    keep[0] = False
    kept: NDArray[np.bool_] = keep[pieces]
    return kept


def _coverage(region: NDArray[np.bool_]) -> Mask:
    coverage: Mask = region.astype(np.float32)
    return coverage


def straight_colour(rgb: Rgb, coverage: Mask, backgrounds: dict[str, NDArray[np.float64]]) -> tuple[Rgb, str | None]:
    """Colours of the object alone at soft edge pixels, and the name of the background they were freed from.

    The PNG specification wants colours not multiplied by alpha (third edition, 6.2), yet many renderers store them
    blended with black ("premultiplied") or with the backdrop. Each soft pixel is compared with the nearest full one
    under each hypothesis; the file is believed to be straight unless another explains it more than twice as well.
    Pixels thinner than ``THIN_COVERAGE``, and empty ones near the edge, take the nearest full pixel's colour.
    """
    near = _window(coverage > 0, BLEED_PIXELS)
    colours, blended = _freed(rgb[near], coverage[near], backgrounds)
    straight = rgb.copy()
    straight[near] = colours
    return straight, blended


def _window(region: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """The rows and columns around a region, grown by ``margin``; everything when the region is empty."""
    if not region.any():
        return slice(None), slice(None)
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return (
        slice(max(0, rows[0] - margin), rows[-1] + 1 + margin),
        slice(max(0, columns[0] - margin), columns[-1] + 1 + margin),
    )


def _freed(rgb: Rgb, coverage: Mask, backgrounds: dict[str, NDArray[np.float64]]) -> tuple[Rgb, str | None]:
    full = coverage >= 0.999
    soft = (coverage > 0) & ~full
    if not full.any():
        return rgb, None
    distance, nearest = ndimage.distance_transform_edt(~full, return_indices=True)
    judged = soft & (distance <= 2) & (coverage >= THIN_COVERAGE)
    colours = rgb.astype(np.float64)
    blended = _blended_with(colours, coverage, judged, nearest, backgrounds) if judged.sum() >= 32 else None
    if blended is not None:
        share = np.maximum(coverage, THIN_COVERAGE)[soft, None]
        colours[soft] = (colours[soft] - (1 - share) * backgrounds[blended]) / share
    weak = ((coverage < THIN_COVERAGE) & (distance <= BLEED_PIXELS)) | (soft & (coverage < THIN_COVERAGE))
    colours[weak] = rgb[nearest[0][weak], nearest[1][weak]]
    levels: Rgb = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
    return levels, blended


def _blended_with(
    colours: NDArray[np.float64],
    coverage: Mask,
    judged: NDArray[np.bool_],
    nearest: NDArray[np.intp],
    backgrounds: dict[str, NDArray[np.float64]],
) -> str | None:
    full = colours[nearest[0][judged], nearest[1][judged]]
    share = coverage[judged, None]
    straight_error = np.abs(colours[judged] - full).mean()
    errors = {
        name: float(np.abs(colours[judged] - share * full - (1 - share) * colour).mean())
        for name, colour in backgrounds.items()
    }
    best = min(errors, key=lambda name: errors[name], default=None)
    return best if best is not None and errors[best] < 0.5 * straight_error and straight_error > 4 else None
