"""Which cases there are: the whole matrix, and the sample of it that runs with every change."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tests.torture import calls, holds, links, moments, points, unsynced
from tests.torture.case import Case
from tests.torture.disks import FileSystem, why_no_cuts
from tests.torture.ground import Ground

#: Where a case must break: the flush it does without was load-bearing.
MUST_BREAK = frozenset({"sensitivity", "model-sensitivity"})
#: Threads interleave differently from run to run, so a few late arrivals are not met again.
_MAY_MISS = {"kills": 0.15, "cuts": 0.15, "taken": 0.15}
_FULL_SENSITIVITY = ("I2", "synchronous=NORMAL", "synchronous=OFF", "I5", "D1", "I4", "D3", "D5")

Skipped = dict[str, str]


def line_of(case_id: str) -> str:
    """The line of the result table that a case counts for: all but the point or moment; one line for each flush."""
    part, name, *_ = case_id.split("/")
    return f"{part}/{name}" if part in MUST_BREAK else case_id.rpartition("/")[0].replace("/here", "")


def cases(ground: Ground, parts: Sequence[str], seed: int, *, short: bool) -> tuple[list[Case], Skipped]:
    """The cases of these parts (all without any), and why parts are left out."""
    found: list[Case] = []
    skipped: Skipped = {}
    for part in parts or PARTS:
        try:
            found += PARTS[part](ground, random.Random(f"{part} {seed}"), short)
        except Impossible as reason:
            skipped[part] = str(reason)
    return found, skipped


def may_miss(part: str) -> float:
    """Which share of a part's cases may disturb nothing: what was drawn does not come up in every run."""
    return _MAY_MISS.get(part, 0.7)


class Impossible(Exception):
    """This part cannot be run here; the message says why."""


def _kills(ground: Ground, chance: random.Random, short: bool) -> list[Case]:
    passed = points.learn(ground)
    return [*points.kills(passed, every=not short)]


def _cuts(ground: Ground, chance: random.Random, short: bool) -> list[Case]:
    kinds = _kinds(("ext4",) if short else ("ext4", "xfs"))
    every = points.cuts(points.learn(ground), kinds)
    if not short:
        return [*every]
    return [*chance.sample([case for case in every if case.how != "kill"], 30)]


def _doubles(ground: Ground, chance: random.Random, short: bool) -> list[Case]:
    kinds: list[FileSystem | None] = [None]
    if not short:
        kinds += _kinds(("ext4",))
    return [*points.doubles(points.learn(ground), 15 if short else 250, kinds, chance)]


def _sensitivity(ground: Ground, chance: random.Random, short: bool) -> list[Case]:
    _kinds(("ext4",))
    if short:
        return [*points.short_sensitivity()]
    return [*points.sensitivity(_FULL_SENSITIVITY, [f"{name}:1" for name in points.learn(ground)])]


def _taken(ground: Ground, chance: random.Random, short: bool) -> list[Case]:
    kinds = [] if short else _kinds(("ext4",))
    return [*points.taken_at_once(points.learn(ground), kinds, every=not short)]


def _occupied(ground: Ground, chance: random.Random, short: bool) -> list[Case]:
    cases = points.occupied(points.learn(ground), [] if short else _kinds(("ext4",)))
    return [*(chance.sample(cases, 10) if short else cases)]


def _calls(ground: Ground, chance: random.Random, short: bool) -> list[Case]:
    if (reason := calls.why_not()) is not None:
        raise Impossible(reason)
    return [*calls.kills(calls.calls_of_a_run(ground), 50 if short else 500, chance)]


def _call_cuts(ground: Ground, chance: random.Random, short: bool) -> list[Case]:
    if (reason := calls.why_not()) is not None:
        raise Impossible(reason)
    kinds = _kinds(("ext4",) if short else ("ext4", "xfs"))
    return [*calls.kills(calls.calls_of_a_run(ground), 20 if short else 500, chance, kinds)]


def _errors(ground: Ground, chance: random.Random, short: bool) -> list[Case]:
    if (reason := calls.why_not()) is not None:
        raise Impossible(reason)
    return [*calls.errors(calls.calls_of_a_run(ground), 20 if short else 300, chance)]


def _holds(ground: Ground, chance: random.Random, short: bool) -> list[Case]:
    _kinds(("ext4",))
    if (reason := calls.why_not()) is not None:
        raise Impossible(reason)
    return [*holds.holds(9 if short else 90, chance)]


def _moments(ground: Ground, chance: random.Random, short: bool) -> list[Case]:
    return [*moments.moments(4 if short else 100, chance)]


def _links(ground: Ground, chance: random.Random, short: bool) -> list[Case]:
    return [*links.links(points.learn(ground), chance, 40 if short else None)]


def _model(ground: Ground, chance: random.Random, short: bool) -> list[Case]:
    return [*unsynced.lossy(ground, 100 if short else 2000, chance)]


def _model_sensitivity(ground: Ground, chance: random.Random, short: bool) -> list[Case]:
    return [*unsynced.without_one_flush(ground, 5 if short else 50, chance)]


def _kinds(wanted: Sequence[FileSystem]) -> list[FileSystem]:
    """The file systems whose power can be cut here; raises ``Impossible`` without any."""
    reasons = {kind: why_no_cuts(kind) for kind in wanted}
    able = [kind for kind, reason in reasons.items() if reason is None]
    if not able:
        raise Impossible("; ".join(filter(None, reasons.values())))
    return able


PARTS: dict[str, Callable[[Ground, random.Random, bool], list[Case]]] = {
    "kills": _kills,
    "cuts": _cuts,
    "doubles": _doubles,
    "taken": _taken,
    "occupied": _occupied,
    "calls": _calls,
    "call-cuts": _call_cuts,
    "errors": _errors,
    "holds": _holds,
    "links": _links,
    "moments": _moments,
    "model": _model,
    "sensitivity": _sensitivity,
    "model-sensitivity": _model_sensitivity,
}
