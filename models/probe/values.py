"""What the camera probe weighs and says: readings of a file, their scores, a verdict; and the numbers it judges by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from meshdrop.models.files.problem import Problem
from meshdrop.models.formats.sidecar import Axes, Pose

Verdict = Literal["verified", "contradicted", "inconclusive"]

#: Metres per depth count: Kinect and most sensors, RealSense D405, TUM, KITTI, Replica, centimetres, metres.
DEPTH_UNITS_M = (1e-3, 1e-4, 1 / 5000, 1 / 256, 1 / 6553.5, 1e-2, 1e-1, 1.0)
#: Where none of these fits the unit is searched between these bounds, in steps of a seventh, and said as one of these
#: rarer ones (RealSense L515, Structure, half millimetres) where it is as good as that.
UNIT_RANGE_M, UNIT_STEPS = (1e-6, 10.0), 116
MORE_UNITS_M = (2.5e-4, 5e-4, 1e-5, 1.25e-4)
#: Focal lengths tried, as factors of the stated one; 711 px for 1111 px is a factor of 1.5625.
FOCAL_SCALES = (0.5, 0.64, 0.72, 0.8, 0.9, 1.11, 1.25, 1.39, 1.5625, 2.0)
#: Below this score the views contradict each other; true captures reach 0.8 to 1.0, false readings at most 0.4.
LEAST_SCORE = 0.6
#: So many views must be left, and more than two thirds of all, when contradicting ones are left out.
FEWEST_VIEWS_LEFT = 3
#: A view is refused when its pairs score below ``LEAST_SCORE`` and this much below the pairs of the other views ...
REFUSED_VIEW_GAP = 0.3
#: ... and doubted from this gap on; the views of true captures stay within 0.05 of each other.
DOUBTED_VIEW_GAP = 0.1
#: Where views share no surface, at most this share of points may clash.
FEW_CLASHES = 0.02
#: The stated reading is proven when it leads every other by this much.
CLEAR_LEAD = 0.3
#: The stated reading is refuted when another beats it by this much.
CLEAR_DEFEAT = 0.2
#: A stated reading that says too little is refuted by another of this score with this share of telling points.
DECISIVE_SCORE = 0.8
DECISIVE_EVIDENCE = 0.1
#: Of two readings that both fit, one is true when it brings the views' surfaces so many times closer together ...
CLEARLY_CLOSER = 1.5
#: ... and worth a doubt from here on.
DOUBTFULLY_CLOSER = 1.25
#: Between these factors another focal length is a warning, no refutation: the score resolves no better.
FOCAL_DOUBT = (0.85, 1.18)
#: A focal length that explains the views better by this much is worth a warning.
FOCAL_WARNING = 0.08
#: Less evidence than this share of all projected points (and fewer than 40) proves nothing.
LEAST_EVIDENCE = 0.01
FEWEST_POINTS = 40


@dataclass(frozen=True)
class Reading:
    """One way to read the file; ``focal_scale`` multiplies the stated focal lengths."""

    axes: Axes
    pose: Pose
    depth_unit_m: float
    focal_scale: float = 1.0

    def __str__(self) -> str:
        focal = "" if self.focal_scale == 1 else f", focal x {self.focal_scale:g}"
        return f"{self.axes}, {self.pose}, {self.depth_unit_m:.6g} m{focal}"


@dataclass(frozen=True)
class Score:
    """How well one reading makes the views agree; ``same_as`` are readings that cannot be told from it."""

    reading: Reading
    consistent: int
    violating: int
    hidden: int
    same_as: tuple[Reading, ...] = ()

    @property
    def score(self) -> float:
        """Consistent share of all points that say something, 0..1; 0 when none does."""
        return self.consistent / max(1, self.evidence)

    @property
    def evidence(self) -> int:
        """Points that say something."""
        return self.consistent + self.violating

    @property
    def clash(self) -> float:
        """Violating share of all points, 0..1: also says something where the views share no surface."""
        return self.violating / max(1, self.projected)

    @property
    def projected(self) -> int:
        """All points looked at."""
        return self.evidence + self.hidden

    @property
    def suffices(self) -> bool:
        """Whether there is enough evidence to judge by."""
        return self.evidence >= max(FEWEST_POINTS, LEAST_EVIDENCE * self.projected)


@dataclass(frozen=True)
class ViewScore:
    """One view as stated: the score of the pairs it takes part in, and of the pairs among the others, 0..1."""

    name: str
    score: float
    others: float

    @property
    def gap(self) -> float:
        """How much worse this view fits than the others fit among themselves."""
        return self.others - self.score


@dataclass(frozen=True)
class ProbeResult:
    """What the cross-view check found. ``table`` is sorted, best first; ``view_scores`` are for the stated reading."""

    verdict: Verdict
    reason: str
    stated: Score | None = None
    best_other: Score | None = None
    lead: float = 0.0
    table: tuple[Score, ...] = ()
    view_scores: tuple[ViewScore, ...] = ()
    problem: Problem | None = None
    warning: str | None = None

    def lines(self) -> list[str]:
        """The verdict and a short score table as plain text: the stated reading and the best rival of each sort."""
        head = [f"Conventions: {self.verdict}. {self.reason}"]
        if self.stated is None:
            return head
        best: dict[tuple[object, ...], Score] = {_sort_of(self.stated, self.stated): self.stated}
        for score in self.table:
            best.setdefault(_sort_of(score, self.stated), score)
        rows = [f"  {'score':>5}  {'agree':>6}  {'clash':>6}  {'hidden':>6}  reading"]
        for score in sorted(best.values(), key=lambda score: -score.score):
            mark = "  <- stated" if score is self.stated else ""
            counts = f"{score.consistent:6d}  {score.violating:6d}  {score.hidden:6d}"
            rows.append(f"  {score.score:5.3f}  {counts}  {score.reading}{mark}")
        return head + rows

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the whole table included."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "lead": round(self.lead, 4),
            "stated": None if self.stated is None else _score_json(self.stated),
            "best_other": None if self.best_other is None else _score_json(self.best_other),
            "table": [_score_json(score) for score in self.table],
            "view_scores": {view.name: round(view.score, 4) for view in self.view_scores},
            "warning": self.warning,
        }


def _sort_of(score: Score, stated: Score) -> tuple[object, ...]:
    """In what a reading differs from the stated one."""
    ours, theirs = score.reading, stated.reading
    return ours.axes, ours.pose, ours.depth_unit_m == theirs.depth_unit_m, ours.focal_scale == theirs.focal_scale


def _score_json(score: Score) -> dict[str, Any]:
    reading = score.reading
    return {
        "camera_axes": reading.axes,
        "pose": reading.pose,
        "depth_unit_m": reading.depth_unit_m,
        "focal_scale": reading.focal_scale,
        "score": round(score.score, 4),
        "consistent": score.consistent,
        "violating": score.violating,
        "hidden": score.hidden,
    }
