"""A generated mesh in the capture's metric frame: the similarity that places it, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.capture import Capture
from meshdrop.models.contract.side_by_side import each
from meshdrop.models.registration import rotations
from meshdrop.models.registration.agreement import Agreement, agreement
from meshdrop.models.registration.cloud import Cloud, seen_from_outside
from meshdrop.models.registration.drawable import Mesh, simpler
from meshdrop.models.registration.icp import Matcher
from meshdrop.models.registration.search import hills
from meshdrop.models.registration.similarity import Similarity, angle_between
from meshdrop.models.registration.small_view import SmallView, chosen, sights_of
from meshdrop.models.registration.target import Target
from meshdrop.models.registration.vote import FittedPose, distinct, fitted, promising, ranked

Array = NDArray[np.float64]

#: The gate: silhouettes agree at least this well, and half of the depth lies this near, as a share of the size.
LEAST_IOU = 0.90
MOST_DEPTH_SHARE = 0.015
#: Points of either cloud in the coarse search and in ICP.
SEARCH_POINTS, ICP_POINTS = 1000, 500
#: Less than this many pixels of a mesh, in all pictures from outside, are no surface.
FEWEST_POINTS = 50
#: Starts taken from the coarse search, and rounds of ICP for each; the best of those go on for as many more.
STARTS, CLOSEST, ROUNDS = 40, 16, 6
#: Ends of ICP go to the vote when their distance is at most this many times the smallest, and so many in any case.
FARTHER, FEWEST = 1.6, 6
#: The vote has three rounds, for everyone, for those at most BEHIND in agreement, and for the best two. Of each: pixels
#: of a view's cut, cells along the mesh's longest side (finer details are not drawn), steps of refinement.
FIRST, SECOND, LAST = (40, 28, 3), (72, 36, 4), (144, 100, 4)
BEHIND = 0.06
#: Pixels of the final figures, which the mesh itself is drawn for.
FIGURES_PX = 288
#: The search looks at this many views at most; the final figures at all of them.
VIEWS = 8
#: Answers that agree about as well as each other, to this much, make the pose a guess.
AMBIGUOUS = 0.01


@dataclass(frozen=True)
class Registration:
    """Where the mesh stands and how sure that is.

    ``matrix`` (4, 4) float64 takes the generated mesh's coordinates to the capture's metres: a similarity without
    mirroring, the best one found also when ``status`` is "unregistered". ``reason`` says why in a sentence.

    ``iou``: mean silhouette IoU over all cameras, 0..1. ``depth_median_m`` and ``depth_median_share``: the median
    distance of drawn to measured depth, in metres and as a share of the object's size (the diagonal of its measured
    points' box); None without depth. ``runner_up_iou``: that of the best other answer, ``runner_up_degrees`` the turn
    between the two. ``margin``: how much less the other one agrees, silhouettes and depth together
    (``Agreement.share``); near 0 the shape alone cannot tell, below 0 the photographs decided against it. All three
    are None when every start ended in one answer. ``likeness`` and ``runner_up_likeness``: correlation with the
    photographs, -1..1, where it was asked. ``target``: what the mesh was matched to.
    """

    matrix: Array
    status: Literal["registered", "unregistered"]
    reason: str
    iou: float
    depth_median_m: float | None
    depth_median_share: float | None
    runner_up_iou: float | None
    runner_up_degrees: float | None
    margin: float | None
    likeness: float | None
    runner_up_likeness: float | None
    target: Literal["depth", "hull"]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under the names above; the matrix as four rows."""
        facts = {name: value for name, value in vars(self).items() if name != "matrix"}
        return {"matrix": [[float(value) for value in row] for row in self.matrix], **facts}


def register(
    vertices: NDArray[np.floating],
    faces: NDArray[np.integer],
    capture: Capture,
    target: Target,
    up_known: bool,
    colours: NDArray[np.floating] | None = None,
) -> Registration:
    """Place a mesh of unknown scale, rotation and position in the frame of ``capture``.

    ``vertices`` (V, 3) in any unit, ``faces`` (F, 3), closed or not; ``target`` is that capture's
    (``target.target_of``). With ``up_known`` the mesh's +Y is the world's to a few degrees and its yaw is searched,
    else any rotation. ``colours`` (V, 3) 0..1, where the mesh has some, choose between poses that its shape fits about
    as well. Same input, same answer. Raises ``ValueError`` for a mesh without triangles, without any surface or with
    vertices that are not finite.
    """
    whole = _checked(vertices, faces, colours)
    starts = rotations.yaws() if up_known else rotations.super_fibonacci()
    poses = _matched(_surface(simpler(whole, LAST[1])), target, starts)

    few = chosen(capture.views, VIEWS)
    answers = _voted(poses, FIRST, whole, capture, target, few)
    answers = _voted([one.pose for one in promising(answers, BEHIND)], SECOND, whole, capture, target, few)
    answers = _voted([one.pose for one in answers[:2]], LAST, whole, capture, target, few)

    everywhere = _sights(capture, target, range(len(capture.views)), FIGURES_PX)
    figures = [agreement(everywhere, whole.vertices, whole.faces, one.pose, target.size_m) for one in answers]
    return _registration(answers, figures, target.size_m, target.source)


def _checked(vertices: NDArray[np.floating], faces: NDArray[np.integer], colours: NDArray[np.floating] | None) -> Mesh:
    points, triangles = np.asarray(vertices, np.float64), np.asarray(faces, np.int32)
    if not len(triangles):
        raise ValueError("the mesh to register has no triangles")
    if not np.isfinite(points).all():
        raise ValueError("the mesh to register has vertices that are not finite numbers")
    if not np.ptp(points[triangles.ravel()], axis=0).max() > 0:
        raise ValueError("the mesh to register has no extent: all its corners lie in one place")
    return Mesh(points, triangles, None if colours is None else np.asarray(colours, np.float64))


def _surface(mesh: Mesh) -> Cloud:
    cloud = seen_from_outside(mesh.vertices, mesh.faces)
    if len(cloud.points) < FEWEST_POINTS:
        raise ValueError("the mesh to register has no surface: all its triangles are seen edge-on from everywhere")
    return cloud


def _matched(mesh: Cloud, target: Target, starts: Array) -> list[Similarity]:
    """The different poses at which mesh and target lie close, the closest first."""
    found = hills(mesh.spread(SEARCH_POINTS), target.outside.spread(SEARCH_POINTS), starts, STARTS)
    matcher = Matcher(mesh.spread(ICP_POINTS), target.cloud.spread(ICP_POINTS))
    first = matcher.fits(found, ROUNDS)
    second = matcher.fits([fit.pose for fit in first[:CLOSEST]], ROUNDS)
    most = FARTHER * min(fit.distance for fit in second)
    near = distinct([fit.pose for fit in second + first if fit.distance <= most])
    return near if len(near) >= FEWEST else distinct([fit.pose for fit in second + first])[:FEWEST]


def _voted(
    poses: Sequence[Similarity],
    effort: tuple[int, int, int],
    whole: Mesh,
    capture: Capture,
    target: Target,
    which: Sequence[int],
) -> list[FittedPose]:
    """The poses refined with one round's pixels, cells and steps, the best first."""
    side, cells, steps = effort
    sights, mesh = _sights(capture, target, which, side), simpler(whole, cells)
    answers = each(lambda pose: fitted(sights, mesh, pose, target.size_m, steps), poses)
    return ranked(answers, mesh, sights)


def _sights(capture: Capture, target: Target, which: Sequence[int], side: int) -> list[SmallView]:
    return sights_of([capture.views[k] for k in which], [target.views[k] for k in which], side)


def _registration(
    answers: Sequence[FittedPose], figures: Sequence[Agreement], size_m: float, source: Literal["depth", "hull"]
) -> Registration:
    best, found = answers[0], figures[0]
    depth_share = None if found.depth_m is None else found.depth_m / size_m
    complaint = _complaint(found.iou, depth_share)
    other = answers[1] if len(answers) > 1 else None
    degrees = None if other is None else angle_between(best.pose.rotation, other.pose.rotation)
    margin = None if other is None else best.agreement.share - other.agreement.share
    return Registration(
        matrix=best.pose.matrix(),
        status="unregistered" if complaint else "registered",
        reason=complaint or _praise(found.iou, depth_share) + _doubt(best, margin, degrees),
        iou=found.iou,
        depth_median_m=found.depth_m,
        depth_median_share=depth_share,
        runner_up_iou=None if other is None else figures[1].iou,
        runner_up_degrees=degrees,
        margin=margin,
        likeness=best.likeness,
        runner_up_likeness=None if other is None else other.likeness,
        target=source,
    )


def _complaint(iou: float, depth_share: float | None) -> str:
    """What the gate has against a pose; nothing when it passes."""
    faults = []
    if iou < LEAST_IOU:
        faults.append(f"its silhouettes agree with the masks only to {iou:.3f} (at least {LEAST_IOU:.2f} is needed)")
    if depth_share is not None and depth_share > MOST_DEPTH_SHARE:
        faults.append(
            f"half of the measured depth is off by {100 * depth_share:.1f} % of the object's size or more "
            f"(at most {100 * MOST_DEPTH_SHARE:.1f} % is allowed)"
        )
    return f"In the best pose found for the mesh {' and '.join(faults)}." if faults else ""


def _praise(iou: float, depth_share: float | None) -> str:
    depth = "" if depth_share is None else f", half of the depth to {100 * depth_share:.2f} % of the object's size"
    return f"Silhouettes agree to {iou:.3f}{depth}."


def _doubt(best: FittedPose, margin: float | None, degrees: float | None) -> str:
    if margin is None or degrees is None or margin >= AMBIGUOUS:
        return ""
    other = f" Another pose, turned by {degrees:.0f} degrees, fits the shape about as well"
    return f"{other}; the photographs chose this one." if best.likeness is not None else f"{other}."
