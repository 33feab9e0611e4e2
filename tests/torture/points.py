"""Kills and power cuts at the named points of ``daemon.base.crash``, single and double, and with a flush taken away."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.rig import Rig
from tests.torture import subject
from tests.torture.case import MISSED, Case
from tests.torture.disks import Disk, FileSystem, cut_and_power_up
from tests.torture.ground import Ground, RootRig, consumer, onlooker, taken
from tests.torture.promise import check_after_power_up, check_at_rest, check_taken, look

How = Literal["kill", "cut", "cut+log"]
#: Points that are passed as often as there are files to write, trees to remove and changes to record.
MANY = ("D1a", "I5a", "rm", "tx_mid")
#: Where the absence of a flush shows: right after the commit that rests on it.
BITES: dict[str, tuple[str, ...]] = {
    "I2": ("I4a:2", "I4b:2", "I4:2", "I5a:3", "I5b:1"),
    "D1": ("D3:1", "D3:2", "D4:1", "D4:2", "D5a:1", "D5a:2"),
    "synchronous=OFF": ("I4:2", "I5:1", "I6:1", "D2:1", "D3:1", "D4:2"),
}


@dataclass(frozen=True)
class Crash(Case):
    """Crash at each of ``points`` in turn (the second while recovering from the first), then recover and look.

    ``taken``: a consumer moves every result away at once. ``occupied``: the names that the results want are taken.
    ``alone``: only the good capture, so that nobody else's flushes come to its help.
    """

    how: How
    points: tuple[str, ...]
    kind: FileSystem | None = None
    split: bool = False
    without: str = ""
    taken: bool = False
    occupied: bool = False
    alone: bool = False

    @property
    def id(self) -> str:
        """Unique, readable, and enough to run it again."""
        layout = f"{self.kind or 'here'}{'-two' if self.split else ''}{'-alone' if self.alone else ''}"
        return "/".join(filter(None, (self.part, self.without, layout, self.how, "+".join(self.points))))

    def run(self, ground: Ground) -> str:
        """Raises ``AssertionError`` when the promise is broken."""
        with ground.layout(self.kind, split=self.split) as (rig, disks):
            try:
                return self._run(ground, rig, disks)
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error}\n{rig.log()[-2500:]}") from error

    def _run(self, ground: Ground, rig: RootRig, disks: Sequence[Disk]) -> str:
        if self.occupied:
            for shelf in (rig.places.outbox, rig.places.failed):
                (shelf / shelf.name).write_text("a stranger's\n")
        captures = {"outbox": ground.captures["outbox"]} if self.alone else ground.captures
        ground.drop(rig, captures)
        reached, before = 0, None
        for point in self.points:
            code = self._start(rig, MESHDROP_CRASH_AT=point)
            seen = look(rig)
            before = seen if before is None else before
            if code == 0:
                break  # this start did not pass the point
            assert code == -signal.SIGKILL, f"exit code {code} instead of a crash at {point}"
            reached += 1
            if self.how != "kill":
                cut_and_power_up(disks, flush_log=self.how == "cut+log")
                if not self.taken:
                    check_after_power_up(seen, look(rig))
        code = self._start(rig)
        assert code == 0, f"the start after the crash ended with {code}"
        assert before is not None
        if self.taken:
            check_taken(rig, taken(rig), captures, before.accepted(captures), cut=self.how != "kill")
        else:
            check_at_rest(rig, captures, before)
        return MISSED if reached < len(self.points) else ""

    def _start(self, rig: Rig, **extra: str) -> int:
        service = subject.launch(rig, "--once", held=False, LIGHT_WITHOUT=self.without, **extra)
        with consumer(rig) if self.taken else onlooker(rig):
            return service.wait()


def learn(ground: Ground) -> Counter[str]:
    """How often each point is passed in one undisturbed run of a good and a bad capture, in order of first arrival."""
    (ground.folder / "points").unlink(missing_ok=True)
    with ground.rig(ground.folder) as rig:
        ground.drop(rig)
        log = ground.folder / "points"
        code = subject.run_once(rig, MESHDROP_CRASH_LOG=str(log))
        assert code == 0, rig.log()
        check_at_rest(rig, ground.captures, look(rig))
        return Counter(log.read_text().split())


def arrivals(passed: Counter[str], *, every: bool = False) -> list[str]:
    """Points with their arrivals: first and last, or every one."""
    return [
        f"{name}:{nth}"
        for name, times in sorted(passed.items())
        for nth in (range(1, times + 1) if every else sorted({1, times}))
    ]


def kills(passed: Counter[str], *, every: bool) -> list[Crash]:
    """kill -9 on an ordinary folder."""
    return [Crash("kills", "kill", (point,)) for point in arrivals(passed, every=every)]


def cuts(passed: Counter[str], kinds: Sequence[FileSystem], *, every: bool = True) -> list[Crash]:
    """Both power cuts, on one and on two file systems; on ext4 also kills."""
    return [
        Crash("cuts", how, (point,), kind, split)
        for kind in kinds
        for how in (("kill", "cut", "cut+log") if kind == "ext4" else ("cut", "cut+log"))
        for split in (False, True)
        for point in arrivals(passed, every=every)
    ]


def taken_at_once(passed: Counter[str], kinds: Sequence[FileSystem], *, every: bool) -> list[Crash]:
    """Crashes around publishing while a consumer moves every result away at once."""
    around = [point for point in arrivals(passed, every=every) if point[:2] in ("D2", "F2", "D3", "D4", "D5")]
    here = [Crash("taken", "kill", (point,), taken=True) for point in around]
    ways: tuple[How, ...] = ("cut", "cut+log")
    return here + [
        Crash("taken", how, (point,), kind, split, taken=True)
        for kind in kinds
        for how in ways
        for split in (False, True)
        for point in around
    ]


def occupied(passed: Counter[str], kinds: Sequence[FileSystem]) -> list[Crash]:
    """Crashes from staging to the end when both results must take another name than their own."""
    late = [point for point in arrivals(passed, every=True) if point[:2] in ("D2", "F2", "D3", "D4", "D5", "tx")]
    here = [Crash("occupied", "kill", (point,), occupied=True) for point in late]
    ways: tuple[How, ...] = ("cut", "cut+log")
    return here + [
        Crash("occupied", how, (point,), kind, split, occupied=True)
        for kind in kinds
        for how in ways
        for split in (False, True)
        for point in late
    ]


def doubles(passed: Counter[str], count: int, kinds: Sequence[FileSystem | None], chance: random.Random) -> list[Crash]:
    """A second crash while the first is being recovered from, at points drawn by ``chance``."""
    points, order = arrivals(passed, every=True), list(passed)
    cases = []
    for _ in range(count):
        kind = chance.choice(kinds)
        how: How = "kill" if kind is None else chance.choice(("kill", "cut", "cut+log"))
        first = chance.choice(points)
        # In the recovery fewer steps are left to pass: first arrivals at later points are the ones that are met.
        second = chance.choice([*order[order.index(first.partition(":")[0]) :], "GRAB", "tx_mid"])
        cases.append(Crash("doubles", how, (first, f"{second}:1"), kind, bool(kind) and chance.random() < 0.5))
    return cases


def sensitivity(names: Sequence[str], points: Sequence[str], kind: FileSystem = "ext4") -> list[Crash]:
    """Cuts of both kinds with one flush taken away, on one and two file systems: some must break the promise."""
    ways: tuple[How, ...] = ("cut", "cut+log")
    return [
        Crash("sensitivity", how, (point,), kind, split, name, alone=alone)
        for name in names
        for split, alone in ((False, False), (True, False), (True, True))
        for how in ways
        for point in points
    ]


def short_sensitivity() -> list[Crash]:
    """Three flushes, at the points where their absence bites."""
    return [
        Crash("sensitivity", "cut", (point,), "ext4", True, name) for name, points in BITES.items() for point in points
    ]
