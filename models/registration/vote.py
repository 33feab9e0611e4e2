"""Which of several answers is the right one: each is fitted to the views, and the views vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.registration.agreement import Agreement
from meshdrop.models.registration.drawable import Mesh
from meshdrop.models.registration.likeness import likeness
from meshdrop.models.registration.refine import RefinedPose, refined
from meshdrop.models.registration.similarity import Similarity, angle_between
from meshdrop.models.registration.small_view import SmallView

Array = NDArray[np.float64]

#: Poses turned by less than this many degrees against each other are one answer.
SAME_DEGREES = 10.0
#: Starts for the vote are as far apart: from less than half of that, a fit finds the hill's top.
APART_DEGREES = 25.0
#: Answers whose agreement differs by less than this may be told apart by the photographs, ...
UNDECIDED = 0.03
#: ... if those differ by more than this.
TELLING = 0.05
#: Never fewer answers than these go on.
FEWEST = 3
#: Neither silhouettes nor depth (as a share of the size) may get worse by more than this in a refinement: less is
#: beyond what drawing at this size can tell.
NO_WORSE = 0.001


@dataclass(frozen=True)
class FittedPose:
    """A fitted pose, its agreement, and how alike photographs and colours are, -1..1, where that was asked."""

    pose: Similarity
    agreement: Agreement
    likeness: float | None = None


def distinct(poses: Sequence[Similarity]) -> list[Similarity]:
    """The poses that are well apart from all those before."""
    kept: list[Similarity] = []
    for pose in poses:
        if all(_apart(pose, one) > APART_DEGREES for one in kept):
            kept.append(pose)
    return kept


def _apart(one: Similarity, other: Similarity) -> float:
    return angle_between(one.rotation, other.rotation)


def fitted(sights: Sequence[SmallView], mesh: Mesh, start: Similarity, size_m: float, steps: int) -> FittedPose:
    """``start`` refined on the views: the step that agrees best among those that lost neither silhouette nor depth."""
    found = refined(sights, mesh.vertices, mesh.faces, start, size_m, steps)
    best = max((step for step in found if _no_worse(step, found[0], size_m)), key=lambda step: step.agreement.share)
    return FittedPose(best.pose, best.agreement)


def promising(answers: Sequence[FittedPose], behind: float) -> list[FittedPose]:
    """The answers that agree best: at least FEWEST, and all that agree by at most ``behind`` less than the best."""
    order = sorted(answers, key=lambda answer: -answer.agreement.share)
    least = order[0].agreement.share - behind
    return [one for rank, one in enumerate(order) if rank < FEWEST or one.agreement.share >= least]


def ranked(answers: Sequence[FittedPose], mesh: Mesh, sights: Sequence[SmallView]) -> list[FittedPose]:
    """Best first, without repetitions: by agreement, and by the photographs among those that agree about as well.

    Where the photographs were asked the answers say how alike they are. They only decide when they clearly differ.
    """
    order: list[FittedPose] = []
    for answer in sorted(answers, key=lambda answer: -answer.agreement.share):
        if all(_apart(answer.pose, one.pose) > SAME_DEGREES for one in order):
            order.append(answer)
    close = [one for one in order if one.agreement.share > order[0].agreement.share - UNDECIDED]
    if mesh.colours is None or len(close) < 2:
        return order
    alike = [
        FittedPose(one.pose, one.agreement, likeness(sights, mesh.vertices, mesh.faces, mesh.colours, one.pose))
        for one in close
    ]
    scores = [one.likeness or 0.0 for one in alike]
    if max(scores) > scores[0] + TELLING:
        alike.insert(0, alike.pop(int(np.argmax(scores))))
    return alike + order[len(close) :]


def _no_worse(step: RefinedPose, start: RefinedPose, size_m: float) -> bool:
    now, then = step.agreement, start.agreement
    if now.iou < then.iou - NO_WORSE:
        return False
    return now.depth_m is None or then.depth_m is None or now.depth_m <= then.depth_m + NO_WORSE * size_m
