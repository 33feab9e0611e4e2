"""Say everything about a capture folder that can be said without a model: what is in it, what is wrong, does it agree.

``meshdrop check DIR`` prints this, and the daemon's validator asks it before any model runs. Reads; never writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from meshdrop.models.capture.agreement import unexplained
from meshdrop.models.capture.capture import Capture, CaptureError, MaskSource, View, read_stated_capture
from meshdrop.models.capture.expectation import Expectation
from meshdrop.models.capture.local_origin import local_origin
from meshdrop.models.capture.rig_profile import NO_RIGS, Rigs
from meshdrop.models.capture.up import Up, doubt, which_up
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.problem import Problem, printable
from meshdrop.models.formats.sidecar import Options
from meshdrop.models.probe.probe import ProbeResult, probe
from meshdrop.models.probe.values import DECISIVE_SCORE, Reading

#: Outlines of which on average more than this share is excluded by the other views are not of the stated cameras ...
CONTRADICTING_OUTLINES = 0.15
#: ... those of true rigs stay below this: at most 0.033 of 31 shapes, a wire chair among them, with cameras up to 2
#: degrees and 3 % of the focal length off. Half of the turntables and shuffled views of those shapes pass the limit.
TRUE_OUTLINES = 0.05
#: Below this share of object pixels with depth, the shape of a view rests on its silhouette.
THIN_DEPTH = 0.5
#: An object smaller than this share of the picture wastes the camera's resolution.
SMALL_OBJECT = 0.01
#: Said of pictures that are merely six.
_PROVEN = (
    "Nothing states the cameras: by their numbers the pictures were taken for those of the standard rig, and their "
    "depth agrees with that."
)
#: A sentence names so many views.
MOST_NAMES = 8


@dataclass(frozen=True)
class ViewFacts:
    """One view in figures. Coverages are shares 0..1: object of picture, measured depth of object; range in metres."""

    name: str
    width: int
    height: int
    mask_source: MaskSource
    mask_coverage: float
    depth_coverage: float | None
    depth_range_m: tuple[float, float] | None


@dataclass(frozen=True)
class Inspection:
    """The verdict on one folder. ``ok`` means: every model may have it. ``layout`` is None when it was not read."""

    name: str
    ok: bool
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...] = ()
    layout: str | None = None
    #: The stored rig whose cameras were used, and the version of its profile.
    rig: tuple[str, str] | None = None
    views: tuple[ViewFacts, ...] = ()
    depth_unit_m: float | None = None
    options: Options = field(default_factory=Options)
    probe: ProbeResult | None = None
    #: Which way is up, as far as can be said before a model has seen the pictures.
    up: Up | None = None
    up_doubt: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "name": printable(self.name),
            "ok": self.ok,
            "layout": self.layout,
            "rig": None if self.rig is None else {"name": self.rig[0], "version": self.rig[1]},
            "problems": [problem.to_json() for problem in self.problems],
            "warnings": list(self.warnings),
            "views": [asdict(view) for view in self.views],
            "depth_unit_m": self.depth_unit_m,
            "options": asdict(self.options),
            "probe": None if self.probe is None else self.probe.to_json(),
            "up": None if self.up is None else {**self.up.to_json(), "doubt": self.up_doubt},
        }

    def lines(self) -> list[str]:
        """The same as plain text for a terminal: verdict first, then problems, warnings, views and the score table."""
        verdict = "ready" if self.ok else f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        told = [f"{printable(self.name)}: {verdict}"]
        for problem in self.problems:
            where = f" {printable(problem.file)}" if problem.file else ""
            told += [f"  [{problem.code}]{where}: {printable(problem.message)}", f"      {printable(problem.fix)}"]
        told += [f"  warning: {printable(warning)}" for warning in self.warnings]
        if self.views:
            unit = "no depth" if self.depth_unit_m is None else f"depth in units of {self.depth_unit_m:.6g} m"
            rig = f" {self.rig[0]} (version {self.rig[1]})" if self.rig else ""
            told.append(f"  {self.layout} layout{rig}, {len(self.views)} views, {unit}")
            told += _view_lines(self.views)
        told += [] if self.up is None else [f"  up: {self.up.sentence}"]
        told += [f"    {self.up_doubt}"] if self.up_doubt else []
        told += [f"  {line}" for line in _option_lines(self.options)]
        if self.probe is not None:
            told += [f"  {line}" for line in self.probe.lines()]
        return told


def inspect(folder: Path, limits: CaptureLimits | None = None, rigs: Rigs = NO_RIGS) -> Inspection:
    """Everything about the capture in ``folder``; never raises on what is in it.

    A contradiction between the stated conventions and the depth maps (``models.probe.probe``) is a problem like any
    other.
    """
    name = Path(folder).resolve().name
    try:
        capture, expectation = read_stated_capture(folder, limits, rigs)
    except CaptureError as error:
        return Inspection(name, ok=False, problems=error.problems)
    result = probe(capture, expectation.stated)
    problems: tuple[Problem, ...] = (
        () if result.problem is None else (_with_scale(result, expectation, capture.layout),)
    )
    if expectation.assumed and not _proves_the_order(result):
        problems = (_assumed(capture, result),)
    elif capture.layout == "canonical" and not capture.has_depth:
        problems = _silhouettes_against(capture)
    said, doubts = [_PROVEN] if expectation.assumed and not problems else [], [result.warning] if result.warning else []
    facts = tuple(_facts(view) for view in capture.views)
    cameras = [view.camera for view in capture.views]
    up = which_up(capture.up, None, cameras)
    return Inspection(
        name=name,
        ok=not problems,
        problems=problems,
        warnings=(*said, *capture.warnings, *_oddities(capture, facts), *doubts),
        layout=capture.layout,
        rig=None if expectation.rig is None else (expectation.rig.name, expectation.rig.version),
        views=facts,
        depth_unit_m=capture.depth_unit_m,
        options=expectation.stated.options,
        probe=result,
        up=up,
        up_doubt=doubt(up, cameras),
    )


def _proves_the_order(result: ProbeResult) -> bool:
    """Whether depth shows that each picture was taken from where its number says: of a round thing the views in any
    order agree somewhat."""
    return result.verdict == "verified" and result.stated is not None and result.stated.score >= DECISIVE_SCORE


def _assumed(capture: Capture, result: ProbeResult) -> Problem:
    """Pictures that are merely six are the standard rig's only where something says so and they agree with it."""
    if result.verdict == "contradicted":
        why = f"and their depth contradicts that: {result.reason}"
    else:
        why = "and their depth does not show that they are."
    message = (
        f"Nothing says where the cameras of these {len(capture.views)} pictures stood. By their numbers alone they "
        f"were taken for front, back, right, left, top and bottom of the standard rig, {why}"
    )
    fix = (
        "State the cameras (frames in capture.json, transforms.json or a COLMAP model). If it is the standard rig, put "
        '{"rig": "canonical"} into capture.json.'
    )
    return Problem("poses", None, message, fix)


def _silhouettes_against(capture: Capture) -> tuple[Problem, ...]:
    """A problem where the outlines show that the views are not the standard rig's; outlines of true ones fit."""
    shares = unexplained([view.camera for view in capture.views], [view.mask >= 0.5 for view in capture.views])
    if shares is None or np.mean(shares) < CONTRADICTING_OUTLINES:
        return ()
    worst = capture.views[int(np.argmax(shares))].name
    message = (
        f"The {len(capture.views)} pictures were taken for {', '.join(view.name for view in capture.views)} of the "
        f"standard rig, and their outlines contradict that: {np.mean(shares):.0%} of what they show as object lies "
        f"where other views show none ({worst}: {max(shares):.0%}; a true rig stays below {TRUE_OUTLINES:.0%})."
    )
    fix = (
        "If the cameras stood elsewhere (round a turntable, for example), state them: frames in capture.json, "
        "transforms.json or a COLMAP model. If it is the standard rig, check which file is which view, and the masks."
    )
    return (Problem("convention", None, message, fix),)


def _with_scale(result: ProbeResult, expectation: Expectation, layout: str) -> Problem:
    """COLMAP finds cameras up to one factor, which looks like a wrong depth unit: that factor can be computed."""
    problem, stated, best = result.problem, result.stated, result.best_other
    assert problem is not None  # the caller asks only then
    if layout not in ("colmap", "llff"):
        return problem
    if stated is not None and best is not None and _only_the_unit(stated.reading, best.reading):
        share = best.reading.depth_unit_m / stated.reading.depth_unit_m
        scale = (expectation.stated.applied_scale or 1.0) * share
        message = (
            f"The model's unit is not the metre: depth agrees with the cameras if {scale:.4g} of its units are one "
            f"metre (score {best.score:.2f}, as stated {stated.score:.2f})."
        )
        unit = f'If it is, and depth is not in millimetres, put "depth_unit_m": {best.reading.depth_unit_m:.4g} there.'
        return replace(problem, message=message, fix=f'Put {{"applied_scale": {scale:.4g}}} into capture.json. {unit}')
    cure = "scale it (colmap model_aligner), or state in capture.json how many of its units are a metre"
    return replace(problem, fix=f'{problem.fix} If the model\'s unit is not the metre, {cure}: "applied_scale".')


def _only_the_unit(one: Reading, other: Reading) -> bool:
    return replace(one, depth_unit_m=other.depth_unit_m) == other


def _facts(view: View) -> ViewFacts:
    inside = view.mask >= 0.5
    coverage = depth_range = None
    if view.depth is not None:
        measured = view.depth[inside & (view.depth > 0)]
        coverage = round(float(measured.size / inside.sum()), 4)
        if measured.size:
            low, high = np.percentile(measured, [0.5, 99.5])
            depth_range = (round(float(low), 4), round(float(high), 4))
    height, width = view.mask.shape
    share = round(float(inside.mean()), 4)
    return ViewFacts(view.name, width, height, view.mask_source, share, coverage, depth_range)


def _oddities(capture: Capture, facts: Sequence[ViewFacts]) -> list[str]:
    """What is allowed but makes a poorer mesh, or another one than some may expect."""
    found = []
    if capture.views and (origin := local_origin([view.camera for view in capture.views])) is not None:
        x, y, z = (f"{value:.10g}" for value in origin)
        found.append(
            f"The cameras lie far from the origin of their world: the mesh is given relative to ({x}, {y}, {z}), which "
            "its files name as origin_m."
        )
    cut = [view for view in capture.views if _touches_edge(view)]
    # depth that covers most pictures up to their edges measured the surroundings: that is no object yet
    surroundings = 2 * len(cut) > len(capture.views) and all(view.mask_source == "depth" for view in cut)
    if cut and not surroundings:
        names = _named([view.name for view in cut])
        found.append(f"The object touches the picture's edge in {names}: what lies beyond is lost.")
    small = [view.name for view in facts if view.mask_coverage < SMALL_OBJECT]
    if small:
        found.append(f"The object fills less than {SMALL_OBJECT:.0%} of the picture in {_named(small)}.")
    thin = [view.name for view in facts if view.depth_coverage is not None and view.depth_coverage < THIN_DEPTH]
    if thin:
        found.append(f"Less than {THIN_DEPTH:.0%} of the object has depth in {_named(thin)}.")
    return found


def _named(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - MOST_NAMES
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:MOST_NAMES])} and {more} more"


def _touches_edge(view: View) -> bool:
    inside = view.mask >= 0.5
    return any(bool(edge.any()) for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def _view_lines(views: Sequence[ViewFacts]) -> list[str]:
    width = max(4, *(len(printable(view.name)) for view in views))
    rows = [f"    {'view':<{width}}  {'pixels':>11}  {'mask':<6}  {'object':>6}  {'depth':>6}  range"]
    for view in views:
        pixels = f"{view.width} x {view.height}"
        depth = "-" if view.depth_coverage is None else f"{view.depth_coverage:.1%}"
        span = "-" if view.depth_range_m is None else f"{view.depth_range_m[0]:.3f} to {view.depth_range_m[1]:.3f} m"
        row = f"{pixels:>11}  {view.mask_source:<6}  {view.mask_coverage:>6.1%}  {depth:>6}  {span}"
        rows.append(f"    {printable(view.name):<{width}}  {row}")
    return rows


def _option_lines(options: Options) -> list[str]:
    told = []
    if options.models is not None:
        told.append(f"models asked for: {', '.join(options.models)}")
    if options.priority:
        told.append(f"priority: {options.priority}")
    if options.labels:
        told.append(f"labels: {', '.join(printable(key) for key in options.labels)}")
    return told
