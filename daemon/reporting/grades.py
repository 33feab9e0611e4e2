"""What a mesh's figures are worth: one verdict from four questions, by limits that stand here and nowhere else.

Do the outlines agree with the masks, does the mesh agree with the measured depth, do the colours agree where it covers
the object, and how much of the object is there? A question that nothing was measured for stays open. The worst answer
is the verdict; while neither outlines nor depth can be told, nothing is called good. Held-out views answer where there
are any, and the worst view of all counts: one alone can keep a mesh from being good, and never makes it a failure.

Likeness, PSNR and SSIM over the whole mask as renderings are compared, stands beside it and decides nothing: a pixel of
pose error or another exposure costs real photographs more of it than a lost limb.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from meshdrop.models.measure.figures import MeanQuality, Quality, ViewQuality

Verdict = Literal["normal", "warning", "failure"]
Question = Literal["silhouettes", "depth", "colours", "coverage"]

#: From the best to the worst.
VERDICTS: tuple[Verdict, ...] = ("normal", "warning", "failure")


@dataclass(frozen=True)
class FigureLimit:
    """One figure that answers a question: the mean of the deciding views must reach ``normal`` for a good mesh and
    ``usable`` for one that is delivered, and every view ``worst`` for a good one. ``of`` takes it from a view, higher
    is better; None where it was not taken there. A figure without ``usable`` never makes a failure. ``says`` writes a
    value for people."""

    question: Question
    title: str
    of: Callable[[ViewQuality], float | None]
    normal: float
    usable: float | None
    worst: float
    says: Callable[[float], str]

    def wants(self, verdict: Verdict) -> str:
        """What a mesh of this verdict would have needed for the next better one."""
        if verdict == "failure" and self.usable is not None:
            return f"a usable mesh has {self.says(self.usable)}"
        return f"a good mesh has {self.says(self.normal)} ({self.says(self.worst)} in every view)"


def _outline(view: ViewQuality) -> float | None:
    return None if view.silhouette is None else view.silhouette.rim_iou


def _within(view: ViewQuality) -> float | None:
    return None if view.depth is None else view.depth.within_tolerance


def _offset(view: ViewQuality) -> float | None:
    """How far the mesh lies before or behind the measured surface, in steps of what the view can tell; below zero."""
    return None if view.depth is None else -abs(view.depth.bias_mm) / max(view.depth.resolution_mm, 1e-9)


def _colours(view: ViewQuality) -> float | None:
    """The explained share of the photograph, or a flat colour's PSNR on the same scale: 14 dB is 0, 34 dB is 1."""
    colour = view.colour
    return None if colour is None else max(colour.explained, min((colour.psnr_db - 14.0) / 20.0, 1.0))


def _coverage(view: ViewQuality) -> float | None:
    return view.coverage


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _steps(value: float) -> str:
    return f"at most {-value:.1f} times the view's resolution"


def _of_one(value: float) -> str:
    return f"{value:.2f} of 1"


#: The whole table. Its numbers were set on what `bench/verdict.py` makes and on real captures: docs/benchmarks.md.
LIMITS: tuple[FigureLimit, ...] = (
    FigureLimit("silhouettes", "Outlines and masks overlap", _outline, 0.98, 0.85, 0.95, _share),
    FigureLimit("depth", "Measured depth within its tolerance", _within, 0.92, 0.25, 0.80, _share),
    FigureLimit("depth", "Offset from the measured surface", _offset, -1.0, None, -3.0, _steps),
    FigureLimit("colours", "Colours explained where the mesh is", _colours, 0.80, 0.05, 0.60, _of_one),
    FigureLimit("coverage", "The object is there", _coverage, 0.99, 0.70, 0.985, _share),
)
QUESTIONS: tuple[Question, ...] = ("silhouettes", "depth", "colours", "coverage")
#: Without an answer to one of these nobody knows where the surface is.
TELLING: tuple[Question, ...] = ("silhouettes", "depth")

#: (word, least PSNR in dB, least SSIM), both over the whole mask, best first; below the last they are unlike.
LIKENESS: tuple[tuple[str, float, float], ...] = (("close", 25.0, 0.85), ("fair", 20.0, 0.75))
UNLIKE = "unlike"


@dataclass(frozen=True)
class Answer:
    """One question's answer: a verdict, None where nothing could be told; what was found, in words and figures; and
    what a better answer would have needed, "" for the best."""

    question: Question
    verdict: Verdict | None
    says: str
    wants: str = ""


@dataclass(frozen=True)
class WorstView:
    """The view that agrees least, the question that it agrees least in, and with what figures."""

    name: str
    question: Question
    says: str


@dataclass(frozen=True)
class Appraisal:
    """What a mesh is worth, and why. ``views`` tells whose figures decided, ``likeness`` is beside the verdict."""

    verdict: Verdict
    answers: tuple[Answer, ...]
    worst_view: WorstView | None
    views: Literal["all", "held out"]
    likeness: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under the names above."""
        return asdict(self)

    def short_of(self, wanted: Verdict) -> tuple[Answer, ...]:
        """The answers that are worse than a verdict."""
        told = [answer for answer in self.answers if answer.verdict is not None]
        return tuple(answer for answer in told if VERDICTS.index(answer.verdict or wanted) > VERDICTS.index(wanted))


def appraise(quality: Quality) -> Appraisal:
    """The verdict on one mesh from what was measured of it, with its reasons."""
    answers = tuple(_answer(question, quality.views) for question in QUESTIONS)
    told = [answer.verdict for answer in answers if answer.verdict is not None]
    verdict: Verdict = max(told, key=VERDICTS.index) if told else "failure"
    if verdict == "normal" and not any(answer.verdict for answer in answers if answer.question in TELLING):
        verdict = "warning"
    return Appraisal(
        verdict=verdict,
        answers=answers,
        worst_view=_worst_view(quality.views),
        views="held out" if any(_held_out(limit, quality.views) for limit in LIMITS) else "all",
        likeness=likeness(_compared(quality)),
    )


def likeness(mean: MeanQuality) -> str:
    """How like the photographs the renders are, pixel by pixel over the whole mask: a word and the figures."""
    psnr, ssim = mean.psnr_masked_db, mean.ssim_masked
    if psnr is None or ssim is None:
        return "not compared"
    reached = (word for word, least_psnr, least_ssim in LIKENESS if psnr >= least_psnr and ssim >= least_ssim)
    word = next(reached, UNLIKE)
    return f"{word}: {psnr:.1f} dB and SSIM {ssim:.3f} on the object"


def _compared(quality: Quality) -> MeanQuality:
    """The means over the held-out views, where these show the object."""
    held_out = quality.held_out
    return quality.mean if held_out is None or held_out.psnr_masked_db is None else held_out


def _held_out(limit: FigureLimit, views: Sequence[ViewQuality]) -> list[ViewQuality]:
    return [view for view in views if view.held_out and limit.of(view) is not None]


def _answer(question: Question, views: Sequence[ViewQuality]) -> Answer:
    limits = [limit for limit in LIMITS if limit.question == question]
    deciding = _held_out(limits[0], views) or views
    found = [(limit, _verdict(limit, deciding, views)) for limit in limits]
    told = [verdict for _, verdict in found if verdict is not None]
    if not told:
        elsewhere = question == "depth" and any(view.depth_elsewhere for view in views)
        return Answer(question, "warning", _ELSEWHERE) if elsewhere else Answer(question, None, _UNTOLD[question])
    verdict = max(told, key=VERDICTS.index)
    wants = "; ".join(limit.wants(verdict) for limit, one in found if one == verdict and verdict != "normal")
    return Answer(question, verdict, _SAYS[question](deciding, views), wants)


def _verdict(limit: FigureLimit, deciding: Sequence[ViewQuality], views: Sequence[ViewQuality]) -> Verdict | None:
    value, worst = _mean(deciding, limit.of), min(_taken(views, limit.of), default=None)
    if value is None:
        return None
    if limit.usable is not None and value < limit.usable:
        return "failure"
    return "normal" if value >= limit.normal and (worst is None or worst >= limit.worst) else "warning"


def _taken(views: Sequence[ViewQuality], of: Callable[[ViewQuality], float | None]) -> list[float]:
    return [value for value in map(of, views) if value is not None]


def _mean(views: Sequence[ViewQuality], of: Callable[[ViewQuality], float | None]) -> float | None:
    values = _taken(views, of)
    return sum(values) / len(values) if values else None


def _worst_view(views: Sequence[ViewQuality]) -> WorstView | None:
    """The view that falls farthest short of what every view of a good mesh has; None where all have it."""
    short = [
        (limit.worst - value, view, limit)
        for limit in LIMITS
        for view in views
        if (value := limit.of(view)) is not None and value < limit.worst
    ]
    if not short:
        return None
    # by how much of the way from good to nothing: figures of different kinds are compared
    _, view, limit = max(short, key=lambda one: one[0] / max(abs(one[2].worst), 1e-9))
    return WorstView(view.name, limit.question, _SAYS[limit.question]([view], [view]))


# -- in words --------------------------------------------------------------------------------------------------------


def _mm(value: float) -> str:
    return f"{value:.2f} mm" if value < 100 else f"{value:,.0f} mm"


def _part(views: Sequence[ViewQuality], part: str, name: str) -> float:
    """The mean of a figure of one part of the views that have it; 0 where none has."""
    return _mean(views, lambda view: getattr(getattr(view, part), name, None)) or 0.0


def _silhouettes_say(deciding: Sequence[ViewQuality], views: Sequence[ViewQuality]) -> str:
    missing, surplus = (_part(deciding, "silhouette", name) for name in ("missing_share", "surplus_share"))
    found = f"outlines and masks overlap by {_share(_mean(deciding, _outline) or 0.0)} beside a rim of 2 pixels"
    if missing + surplus >= 0.0005:
        found += f", {_share(missing)} of the object missing and {_share(surplus)} too much"
    return found + _least(views, _outline, _share)


def _depth_says(deciding: Sequence[ViewQuality], views: Sequence[ViewQuality]) -> str:
    within, tolerance, median, bias = (
        _part(deciding, "depth", name) for name in ("within_tolerance", "tolerance_mm", "median_mm", "bias_mm")
    )
    return (
        f"{_share(within)} of the measured depth lies within {_mm(tolerance)} of the mesh, half of it within "
        f"{_mm(median)}; the mesh lies {_mm(abs(bias))} {'behind' if bias > 0 else 'before'} it"
        f"{_least(views, _within, _share)}{_farthest(views)}"
    )


def _farthest(views: Sequence[ViewQuality]) -> str:
    """Where the mesh lies farthest off the measured surface, if that is more than a view of a good mesh may show."""
    steps, name = min(((value, view.name) for view in views if (value := _offset(view)) is not None), default=(0.0, ""))
    return f"; in {name} it is off by {-steps:.1f} times the view's resolution" if steps < -1.0 else ""


def _colours_say(deciding: Sequence[ViewQuality], views: Sequence[ViewQuality]) -> str:
    explained, psnr = (_part(deciding, "colour", name) for name in ("explained", "psnr_db"))
    return (
        f"where the mesh is, its colours explain {_share(max(explained, 0.0))} of what the photographs show, "
        f"{psnr:.1f} dB after each view's exposure{_least(views, _colours, _of_one)}"
    )


def _coverage_says(deciding: Sequence[ViewQuality], views: Sequence[ViewQuality]) -> str:
    return f"{_share(_mean(deciding, _coverage) or 0.0)} of the object is there{_least(views, _coverage, _share)}"


def _least(
    views: Sequence[ViewQuality], of: Callable[[ViewQuality], float | None], says: Callable[[float], str]
) -> str:
    """`` (least in left: 93.1 %)``; nothing where one view alone was measured, or all have the same."""
    told = [(value, view.name) for view in views if (value := of(view)) is not None]
    if len(told) < 2 or says(min(told)[0]) == says(max(told)[0]):
        return ""
    value, name = min(told)
    return f" (least in {name}: {says(value)})"


_SAYS: dict[Question, Callable[[Sequence[ViewQuality], Sequence[ViewQuality]], str]] = {
    "silhouettes": _silhouettes_say,
    "depth": _depth_says,
    "colours": _colours_say,
    "coverage": _coverage_says,
}
_ELSEWHERE = "depth was measured beside what the masks mark, and nowhere on it"
_UNTOLD: dict[Question, str] = {
    "silhouettes": "nothing can be told: no mask tells the object from a background",
    "depth": "nothing can be told: no depth was measured where the mesh is",
    "colours": "nothing can be told: the mesh covers nothing of the object",
    "coverage": "nothing can be told: no view shows the object",
}
