"""Masks against what the other views measured: a wrong mask deletes nothing that was seen.

A mask cuts a cone out of space, so that one mask without the tail takes the tail from all views. Where others measured
a surface that stands free before a view, and the view's mask says background all the same, the mask is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_dilation, binary_opening, label

from meshdrop.models.capture.capture import View
from meshdrop.models.surface.range_view import RangeView
from meshdrop.models.surface.tsdf import REACH

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Array = NDArray[np.float64]

#: Points nearer than this many pixels, or deviations, to the outline are no contradiction: neither masks nor depth nor
#: cameras are sharper.
RIM_PX = 3.0
#: Two depths within this share of their distance, or REACH deviations, are of one surface.
SAME_SURFACE = 0.005
#: Points of a view that are looked up in others, about, and in how many others.
POINTS = 6_000
OTHERS = 16
#: Of the measured points near an outline, those of a clean mask lie inside but for this share, and SHARP_PX.
RAGGED_QUANTILE, SHARP_PX, FEWEST_RIM_POINTS = 0.9, 1.0, 50
#: A piece that a mask lacks is one in which this share of the points are confirmed by more views than deny them.
SURE_SHARE = 0.25
#: Smaller contradictions than this share of the object are left alone.
LEAST_SHARE = 0.002


@dataclass(frozen=True)
class Contradiction:
    """``missing`` (H, W): pixels that the mask of view ``name`` calls background although the object was measured
    there; ``share`` of the object's pixels."""

    name: str
    missing: Bools
    share: float


@dataclass(frozen=True)
class MaskAgreement:
    """``contradictions`` by view number, empty for masks that agree. ``raggedness`` (N,): by how many pixels the masks
    commonly miss surface beside their outlines that was measured there, 0 for clean ones."""

    contradictions: Mapping[int, Contradiction]
    raggedness: Array


def compare_masks(views: Sequence[View], prepared: Sequence[RangeView]) -> MaskAgreement:
    """Where other views' depth contradicts masks.

    A point that was measured must be confirmed by another view's depth at least, and by more views, its own among
    them, than have masks that deny it. Around such points those count too that are confirmed by as many as deny them,
    or by the depth of a view whose mask denies them: a mask that lacks a part cannot outvote what is beside it.
    """
    hits: dict[int, list[Array]] = {}
    rims: dict[int, list[Array]] = {}
    for index in range(len(prepared)):
        if prepared[index].depth.any():
            denied, beside = _denials(index, views, prepared)
            for found_in, into in ((denied, hits), (beside, rims)):
                for other, values in found_in.items():
                    into.setdefault(other, []).append(values)
    raggedness = np.zeros(len(views))
    for other, parts in rims.items():
        away = np.concatenate(parts)
        if len(away) >= FEWEST_RIM_POINTS:
            raggedness[other] = max(float(np.quantile(away, RAGGED_QUANTILE)) - SHARP_PX, 0.0)
    return MaskAgreement(_contradictions(hits, views, prepared), raggedness)


def _contradictions(
    hits: Mapping[int, list[Array]], views: Sequence[View], prepared: Sequence[RangeView]
) -> dict[int, Contradiction]:
    found: dict[int, Contradiction] = {}
    for other, pixels in sorted(hits.items()):
        missing = _region(np.concatenate(pixels), views[other], prepared[other])
        share = float(missing.sum() / max((views[other].mask >= 0.5).sum(), 1))
        if share > LEAST_SHARE:
            found[other] = Contradiction(views[other].name, missing, share)
    return found


def _denials(
    index: int, views: Sequence[View], prepared: Sequence[RangeView]
) -> tuple[dict[int, Array], dict[int, Array]]:
    """By view, the pixels where points of view ``index`` fall on what it calls background, as rows (x, y, whether they
    are well confirmed, 1 or 0); and how far beside its outline those lie that fall near it, in pixels (N,), positive
    outside."""
    here = prepared[index]
    rows, columns = np.nonzero(here.depth > 0)
    thin = slice(None, None, max(1, len(rows) // POINTS))
    rows, columns = rows[thin], columns[thin]
    depth = here.depth[rows, columns].astype(np.float64)
    u, v = columns.astype(np.float64) + 0.5, rows.astype(np.float64) + 0.5
    points = here.camera.unproject(u, v, depth)
    slack = REACH * here.spread[rows, columns] + SAME_SURFACE * depth
    others = [n for n in range(len(views)) if n != index]
    others = others[:: max(1, len(others) // OTHERS)]
    confirmed, denied, measured = np.ones(len(points), int), np.zeros(len(points), int), np.ones(len(points), int)
    where: dict[int, tuple[Bools, Array, Bools, Array]] = {}
    for other in others:
        camera, there = views[other].camera, prepared[other]
        u, v, z = camera.project(points)
        height, width = there.outline.shape
        met = (z > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        x, y = np.where(met, u, 0).astype(int), np.where(met, v, 0).astype(int)
        own = _measured(views[other])[y, x]
        away = there.outline[y, x]
        agrees = met & (there.depth[y, x] > 0) & (np.abs(there.depth[y, x] - z) < slack + REACH * there.spread[y, x])
        # what stands nearer hides the point, and its mask may well say background there
        rim = RIM_PX + REACH * _deviation_px(there)
        visible = met & ~((own > 0) & (own < z - slack))
        denies = visible & (away > rim)
        near = visible & (np.abs(away) <= rim) & ~((own > 0) & (own > z + slack))
        seen_through = denies & (own > z + slack)
        confirmed += agrees
        denied += denies
        measured += agrees | (denies & (own > 0) & (np.abs(own - z) < slack))
        # a view that sees through the point tells more than its mask does
        denied += len(others) * seen_through
        where[other] = (denies, np.stack([x, y], axis=-1), near, away)
    sure = (confirmed >= 2) & (confirmed > denied)
    likely = (measured >= 2) & (confirmed >= denied)
    hits = {
        other: np.column_stack([pixels, sure])[denies & likely]
        for other, (denies, pixels, _, _) in where.items()
        if (denies & likely).any()
    }
    return hits, {other: away[near & sure] for other, (_, _, near, away) in where.items()}


def _measured(view: View) -> Floats:
    return np.zeros(view.mask.shape, np.float32) if view.depth is None else view.depth


def _region(pixels: Array, view: View, prepared: RangeView) -> Bools:
    """The background that the points cover, up to the mask itself; what does not touch the mask is no part of it.
    ``pixels`` as ``_denials`` gives them."""
    density = max((view.mask >= 0.5).sum() / POINTS, 1.0)
    apart = 2 * int(np.ceil(np.sqrt(density)))
    hit = np.zeros(view.mask.shape, np.bool_)
    hit[pixels[:, 1].astype(int), pixels[:, 0].astype(int)] = True
    dense = binary_opening(binary_closing(np.pad(hit, apart), iterations=apart), iterations=max(1, apart // 2))
    region = _well_confirmed(dense[apart:-apart, apart:-apart], pixels)
    rim = int(RIM_PX + REACH * _deviation_px(prepared)) + 2
    object_, inner = view.mask >= 0.5, slice(rim, -rim)
    # up to the mask, so that no slit is left between what it shows and what it lacks
    joined = binary_closing(np.pad(region | object_, rim), iterations=rim)[inner, inner]
    region |= binary_dilation(region, iterations=rim) & joined
    pieces, count = label(region | object_)
    with_object = np.zeros(count + 1, np.bool_)
    with_object[np.unique(pieces[object_])] = True
    with_object[0] = False
    return np.asarray(with_object[pieces] & ~object_, np.bool_)


def _well_confirmed(region: Bools, pixels: Array) -> Bools:
    """The pieces in which SURE_SHARE of the points are well confirmed."""
    pieces, count = label(region)
    piece = pieces[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
    every = np.bincount(piece, minlength=count + 1)
    sure = np.bincount(piece, weights=pixels[:, 2], minlength=count + 1)
    kept = (sure > 0) & (sure >= SURE_SHARE * every)
    kept[0] = False
    return np.asarray(kept[pieces], np.bool_)


def _deviation_px(view: RangeView) -> float:
    """The deviation of the view's depth in pixels at that depth; 0 without depth."""
    measured = view.depth > 0
    if not measured.any():
        return 0.0
    return float(np.median(view.spread[measured] / view.depth[measured])) * min(view.camera.fx, view.camera.fy)
