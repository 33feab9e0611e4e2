"""The camera probe's verdict on its table of scores: verified, contradicted with the line that cures it, or neither."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from meshdrop.models.files.problem import Problem
from meshdrop.models.formats.sidecar import DepthType
from meshdrop.models.probe.values import (
    CLEAR_DEFEAT,
    CLEAR_LEAD,
    CLEARLY_CLOSER,
    DECISIVE_EVIDENCE,
    DECISIVE_SCORE,
    DOUBTED_VIEW_GAP,
    DOUBTFULLY_CLOSER,
    FEW_CLASHES,
    FEWEST_POINTS,
    FEWEST_VIEWS_LEFT,
    FOCAL_DOUBT,
    FOCAL_WARNING,
    LEAST_SCORE,
    REFUSED_VIEW_GAP,
    ProbeResult,
    Reading,
    Score,
    ViewScore,
)

_ALONG: Mapping[DepthType, str] = {"planar": "along the optical axis", "ray": "along each pixel's ray"}


def judge(
    table: Sequence[Score], view_scores: tuple[ViewScore, ...], focal_px: float, *, wholly_inside: bool
) -> ProbeResult:
    """The verdict on ``table``, the stated reading first; ``wholly_inside``: no picture's edge cuts the object."""
    stated, others = table[0], [score for score in table[1:] if score.suffices]
    best = max(others, key=lambda score: score.score, default=None)
    rivals = [score.score for score in others if score.reading.focal_scale == 1]
    rest = max(rivals, default=0.0)
    lead = stated.score - rest
    facts = ProbeResult(
        "inconclusive", "", stated, best, lead, tuple(sorted(table, key=lambda score: -score.score)), view_scores
    )
    if not stated.suffices and best is not None and _is_decisive(best):
        return _contradicted(facts, _cure(stated, best, focal_px))
    if not stated.suffices:
        return _judge_by_clashes(facts, others, wholly_inside)
    beaten = best is not None and best.score - stated.score >= CLEAR_DEFEAT and best.score >= LEAST_SCORE
    near = best is not None and FOCAL_DOUBT[0] < best.reading.focal_scale < FOCAL_DOUBT[1]
    same_convention = best is not None and replace(best.reading, focal_scale=1.0) == stated.reading
    if best is not None and beaten and not (same_convention and near and stated.score >= LEAST_SCORE):
        return _contradicted(facts, _cure(stated, best, focal_px))
    worst = _worst(view_scores)
    odd = [view for view in view_scores if view.score < LEAST_SCORE and view.gap >= REFUSED_VIEW_GAP]
    if stated.score < LEAST_SCORE or (odd and not _can_be_spared(len(odd), len(view_scores))):
        return _contradicted(facts, _no_cure(worst))
    if lead < CLEAR_LEAD:
        reason = f"Another reading fits about as well (lead {lead:.2f}); the stated one is taken."
        return replace(facts, reason=reason, warning=reason)
    warning = _focal_warning(stated, others, focal_px) or _view_warning(worst)
    reason = f"As stated ({stated.reading}) they score {stated.score:.2f} of 1, in any other way {rest:.2f} at most."
    return replace(facts, verdict="verified", reason=reason, warning=warning)


def second_look(first: ProbeResult, apart: Callable[[Reading], float | None]) -> ProbeResult:
    """The verdict where several readings fitted; ``apart`` tells how far the views' surfaces lie apart in a reading.

    It compares conventions, never focal lengths: a calibration that is a little off moves surfaces as well.
    """
    stated = first.stated
    ours = apart(stated.reading) if stated is not None and stated.suffices else None
    if stated is None or ours is None:
        return first
    fitting = [
        score
        for score in first.table
        if score.reading.focal_scale == 1 and score.suffices and score.score > stated.score - CLEAR_LEAD
    ]
    rivals = [(apart(score.reading), score) for score in fitting if score.reading != stated.reading]
    told = [(theirs, score) for theirs, score in rivals if theirs is not None]
    if not told or len(told) < len(rivals):
        return first
    closest, best = min(told, key=lambda rival: rival[0])
    if ours >= CLEARLY_CLOSER * closest:
        _, fix = _cure(stated, best, 0.0)
        reason = (
            f"As {best.reading} the views' surfaces lie {ours / max(closest, 1e-9):.1f} times closer together than as "
            f"stated ({stated.reading})."
        )
        return _contradicted(replace(first, best_other=best, warning=None), (reason, fix))
    if closest < CLEARLY_CLOSER * ours:
        return first
    reason = (
        f"As stated ({stated.reading}) the views' surfaces lie {closest / max(ours, 1e-9):.1f} times closer together "
        "than in any other reading that fits."
    )
    return replace(first, verdict="verified", reason=reason, warning=_view_warning(_worst(first.view_scores)))


def held_to_rays(
    result: ProbeResult, as_stated: float | None, otherwise: float | None, other: DepthType
) -> ProbeResult:
    """The verdict when the views' surfaces lie so far apart with depth as stated, and so far if it were ``other``."""
    gain = 0.0 if as_stated is None or otherwise is None else as_stated / max(otherwise, 1e-9)
    if gain < DOUBTFULLY_CLOSER or result.problem is not None:
        return result
    if gain < CLEARLY_CLOSER:
        doubt = (
            f"The views' surfaces would lie {gain:.1f} times closer together if depth were the distance "
            f"{_ALONG[other]}. {_state_depth_type(other)}"
        )
        return replace(result, warning=result.warning or doubt)
    return _depth_is(result, other, f"the views' surfaces lie {gain:.1f} times closer together")


def held_to_other_depth(result: ProbeResult, otherwise: Score, other: DepthType) -> ProbeResult:
    """The verdict on views that contradict each other, where they score ``otherwise`` if depth were ``other``: that is
    named if nothing else explains them nearly as well.
    """
    best = max((score.score for score in result.table if score.suffices), default=0.0)
    if not otherwise.suffices or otherwise.score < max(LEAST_SCORE, best + CLEAR_DEFEAT):
        return result
    return _depth_is(result, other, f"the views agree ({otherwise.score:.2f}; in any other way {best:.2f} at most)")


def _depth_is(result: ProbeResult, other: DepthType, why: str) -> ProbeResult:
    this = _ALONG["planar" if other == "ray" else "ray"]
    reason = f"Depth seems to be the distance {_ALONG[other]}, not {this}: read so, {why}."
    problem = Problem("convention", None, reason, _state_depth_type(other))
    return replace(result, verdict="contradicted", reason=reason, problem=problem)


def _state_depth_type(other: DepthType) -> str:
    return f'If that is what the depth maps hold, put {{"depth_type": "{other}"}} into capture.json.'


def _can_be_spared(odd: int, views: int) -> bool:
    """Whether so few views contradict the others that a mesh can be made without them: the models leave out what stays
    beside the rest."""
    return views - odd >= FEWEST_VIEWS_LEFT and 3 * odd <= views


def _is_decisive(best: Score) -> bool:
    """Whether a reading fits so well that one of which next to nothing can be said is refuted by it."""
    telling = best.evidence >= DECISIVE_EVIDENCE * best.projected
    return telling and best.score >= DECISIVE_SCORE and best.reading.focal_scale == 1


def _worst(view_scores: Iterable[ViewScore]) -> ViewScore:
    return max(view_scores, key=lambda view: (view.gap, -view.score))


def _judge_by_clashes(facts: ProbeResult, others: Iterable[Score], wholly_inside: bool) -> ProbeResult:
    """For views that share no surface, such as the six sides of a box: clashes can acquit, but not convict.

    They acquit only where enough was looked at: of a room, or of an object that leaves the pictures, next to nothing
    can clash in a reading that makes every camera look elsewhere.
    """
    rivals = [score.clash for score in others if score.reading.focal_scale == 1]
    most = max((score.projected for score in facts.table), default=0)
    stated = facts.stated if facts.stated and facts.stated.projected >= max(FEWEST_POINTS, most / 2) else None
    if wholly_inside and stated is not None and stated.clash <= FEW_CLASHES and min(rivals, default=0.0) >= CLEAR_LEAD:
        reason = (
            f"The views share no surface, but as stated {stated.clash:.1%} of the points clash; in every other "
            f"reading {min(rivals):.0%} or more do."
        )
        return replace(facts, verdict="verified", reason=reason)
    reason = "The views share too little surface to check the conventions; they are taken as stated."
    return replace(facts, reason=reason, warning=reason)


def _contradicted(facts: ProbeResult, cure: tuple[str, str]) -> ProbeResult:
    reason, fix = cure
    others = [score for score in facts.table if score is not facts.stated][:2]
    table = "; ".join(f"{score.score:.2f} {score.reading}" for score in others)
    stated = f"{facts.stated.score:.2f} {facts.stated.reading} (stated)" if facts.stated else ""
    message = f"{reason} Scores: {stated}; {table}."
    return replace(facts, verdict="contradicted", reason=reason, problem=Problem("convention", None, message, fix))


def _cure(stated: Score, best: Score, focal_px: float) -> tuple[str, str]:
    """What is wrong and the exact line for ``capture.json``, when one other reading makes the views agree."""
    was, would_be = stated.reading, best.reading
    if would_be.focal_scale != 1:
        focal = focal_px * would_be.focal_scale
        return (
            f"The depth maps contradict the stated focal length of {focal_px:.0f} px; about {focal:.0f} px fits.",
            f'If that is the lens, put "fl_x": {focal:.0f}, "fl_y": {focal:.0f} into capture.json; '
            "else check which image size the intrinsics were made for.",
        )
    lines = []
    if would_be.axes != was.axes:
        lines.append(f'"camera_axes": {json.dumps(would_be.axes)}')
    if would_be.pose != was.pose:
        lines.append(f'"pose": {json.dumps(would_be.pose)}')
    if would_be.depth_unit_m != was.depth_unit_m:
        lines.append(f'"depth_unit_m": {would_be.depth_unit_m:.6g}')
    if replace(would_be, depth_unit_m=was.depth_unit_m) == was:
        return (
            f"Depth contradicts the cameras if one count is {was.depth_unit_m * 1000:.4g} mm, as is stated or taken "
            f"for granted, and agrees with them if one count is {would_be.depth_unit_m * 1000:.4g} mm.",
            f"If that is what the sensor writes, put {{{', '.join(lines)}}} into capture.json.",
        )
    return (
        f"The views contradict each other as stated ({was}), but agree as {would_be}.",
        f"If that is how the rig writes them, put {{{', '.join(lines)}}} into capture.json.",
    )


def _no_cure(worst: ViewScore) -> tuple[str, str]:
    if worst.others >= LEAST_SCORE and worst.gap >= REFUSED_VIEW_GAP:
        reason = (
            f"The {worst.name} view contradicts the others ({worst.score:.2f}), which agree among themselves "
            f"({worst.others:.2f})."
        )
    else:
        reason = (
            "The views contradict each other, and no other axes, pose direction, depth unit or focal length makes "
            f"them agree; the {worst.name} view fits worst ({worst.score:.2f})."
        )
    name = worst.name
    fix = f"Check the camera of {name}, the order of the files, and whether its depth and image are of one camera."
    return reason, fix


def _view_warning(worst: ViewScore) -> str | None:
    if worst.score < LEAST_SCORE and worst.gap >= REFUSED_VIEW_GAP:
        return (
            f"The {worst.name} view contradicts the others ({worst.score:.2f}), which agree among themselves "
            f"({worst.others:.2f}); a model that cannot bring it to agree is made without it. Check its camera, and "
            "whether its depth and image are of one camera."
        )
    if worst.gap < DOUBTED_VIEW_GAP:
        return None
    return (
        f"The {worst.name} view agrees less with the others ({worst.score:.2f}) than they do among themselves "
        f"({worst.others:.2f}); check its camera's pose and its depth."
    )


def _focal_warning(stated: Score, others: Iterable[Score], focal_px: float) -> str | None:
    scaled = [score for score in others if score.reading.focal_scale != 1]
    best = max(scaled, key=lambda score: score.score, default=None)
    if best is None or best.score - stated.score < FOCAL_WARNING:
        return None
    return (
        f"The focal length of {focal_px:.0f} px fits the depth maps worse ({stated.score:.2f}) than "
        f"{focal_px * best.reading.focal_scale:.0f} px ({best.score:.2f}); check the calibration."
    )
