"""A long run in short: thousands of jobs, some of them poison, the service killed again and again.

    python bench/soak.py [--jobs 2000] [--poison 0.01] [--crash-every 150] [--stage-s 0.1] [--seed N] [--base DIR]

The service is `tests.light`: everything real but the worker processes, each of which takes ``--stage-s``. A feeder
keeps a few captures in the inbox; the poisoned ones crash, hang, lie or kill the whole service, in reading, running or
measuring. About every ``--crash-every`` seconds the service gets SIGKILL; whenever it is dead it is started again, as
a supervisor would. Once a second its memory, descriptors and write-ahead log are looked at.

At the end every capture must lie exactly once in outbox/ or failed/, whole by its receipt and with the content that
was dropped, and nothing may be left in the private folders. The memory slope is a line fitted to all samples of a life
but its first minute, the lives pooled: each has its own height, all have one slope.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.subject import LIGHT, Subject, capture_files, fresh_root, machine, write_files
from tests.rig import assert_whole

out = Console(highlight=False, width=118)
_POISONS = (
    "inspect-crash",
    "inspect-garbage",
    "run-crash",
    "run-garbage",
    "run-error",
    "run-hang",
    "run-daemon",
    "measure-crash",
    "measure-daemon",
)
_WARM_S = 60.0
_IN_INBOX = 12


@dataclass
class Sample:
    """One look at the living service; ``at`` in seconds since the start of its life ``life``."""

    life: int
    at: float
    done: int
    rss_mb: float
    descriptors: int
    wal_mb: float


@dataclass
class Soak:
    """The feeder, the killer and the onlooker, in one loop."""

    subject: Subject
    wish: argparse.Namespace
    chance: random.Random
    dropped: dict[str, int] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    crashes: int = 0
    deaths: int = 0

    def run(self) -> float:
        """Until all is done; returns the seconds."""
        begun = time.monotonic()
        while (done := self.done()) < self.wish.jobs:
            self._live(begun, done)
        return time.monotonic() - begun

    def done(self) -> int:
        """How many jobs are at rest."""
        if not self.subject.has_record():
            return 0
        return self.subject.jobs("state IN ('DONE_CLEAN', 'FAILED_CLEAN')")

    def _live(self, begun: float, done: int) -> None:
        """One life of the service: from its start to its end, whoever ends it."""
        self.subject.start(ready=False)
        born, life = time.monotonic(), self.crashes + self.deaths
        killed_at = self.chance.uniform(0.5, 1.5) * self.wish.crash_every
        tick = 0
        while self.subject.process is not None and self.subject.process.poll() is None:
            age = time.monotonic() - born
            if age > killed_at and done < self.wish.jobs:
                self.subject.stop(signal.SIGKILL)
                self.crashes += 1
                _say(begun, f"killed after {age:.0f} s, {done} done")
                return
            self._feed()
            if age > tick:
                tick += 1
                if (done := self.done()) >= self.wish.jobs:
                    self.subject.stop()
                    return
                self._look(life, age, done)
            time.sleep(0.05)
        self.deaths += 1
        _say(begun, f"died by itself after {time.monotonic() - born:.0f} s, {done} done")

    def _feed(self) -> None:
        while len(self.dropped) < self.wish.jobs and len(os.listdir(self.subject.inbox)) < _IN_INBOX:
            number = len(self.dropped)
            poisoned = self.chance.random() < self.wish.poison
            name = f"poison-{self.chance.choice(_POISONS)}-{number:05d}" if poisoned else f"job-{number:05d}"
            staged = self.subject.inbox / f".{name}.part"
            write_files(staged, capture_files(number))
            staged.rename(self.subject.inbox / name)
            self.dropped[name] = number

    def _look(self, life: int, age: float, done: int) -> None:
        try:
            rss, _ = self.subject.memory_mb()
            descriptors = self.subject.descriptors()
        except (OSError, KeyError):
            return  # it died this moment
        self.samples.append(Sample(life, age, done, rss, descriptors, self.subject.wal_mb()))

    def bad(self) -> list[str]:
        """Everything that is not as promised."""
        found: list[str] = []
        places: Counter[str] = Counter()
        for shelf in ("outbox", "failed"):
            for folder in sorted((self.subject.root / shelf).iterdir()):
                if folder.is_dir():
                    found += self._judge(shelf, folder, places)
        found += [f"{name} is there {places[name]} times" for name in self.dropped if places[name] != 1]
        private = self.subject.root / ".meshdrop"
        for left in (private / "spool" / "claimed", private / "spool" / "staging", private / "state" / "work"):
            found += [f"{entry} was left over" for entry in left.iterdir()]
        return found

    def _judge(self, shelf: str, folder: Path, places: Counter[str]) -> list[str]:
        name = folder.name.partition("__")[0]
        places[name] += 1
        wanted = "failed" if name.startswith("poison") else "outbox"
        found = [] if shelf == wanted else [f"{name} is in {shelf}: {self._reason(name)}"]
        try:
            assert_whole(folder)
        except (AssertionError, OSError, ValueError) as error:
            return [*found, f"{folder} is not whole: {error}"]
        files = capture_files(self.dropped[name])
        inside = folder / "capture"
        if any((inside / path).read_bytes() != content for path, content in files.items()):
            found.append(f"{folder} holds another capture than was dropped")
        return found

    def _reason(self, name: str) -> str:
        found = self.subject.rows(f"SELECT reason_code, reason FROM job WHERE name = X'{os.fsencode(name).hex()}'")
        return str(found)


def slope(pairs: list[tuple[int, float, float]]) -> float:
    """The one slope of lines of their own height through (life, x, y), by least squares."""
    lives: dict[int, list[tuple[float, float]]] = {}
    for life, x, y in pairs:
        lives.setdefault(life, []).append((x, y))
    up, across = 0.0, 0.0
    for points in lives.values():
        mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
        up += sum((x - mean_x) * (y - mean_y) for x, y in points)
        across += sum((x - mean_x) ** 2 for x, y in points)
    return up / across if across else 0.0


def _say(begun: float, text: str) -> None:
    out.print(f"[dim]{time.monotonic() - begun:5.0f} s[/] {text}", soft_wrap=True)


def report(soak: Soak, took: float, bad: list[str], where: str) -> None:
    """The table."""
    warm = [one for one in soak.samples if one.at > _WARM_S] or soak.samples
    last = [one for one in warm if one.life == warm[-1].life]
    by_time, by_jobs = (
        slope([(one.life, x, one.rss_mb) for one, x in zip(warm, axis, strict=True)])
        for axis in ([one.at / 3600 for one in warm], [one.done / 1000 for one in warm])
    )
    wal = max(one.wal_mb for one in soak.samples)
    failed = soak.subject.rows("SELECT reason_code, COUNT(*) FROM job WHERE reason_code IS NOT NULL GROUP BY 1")
    table = Table("figure", "found", "goal", "", title=where, title_justify="left")
    for what, found, goal, reached in (
        (
            "captures dropped, of them poison",
            f"{len(soak.dropped):,}, {sum(name.startswith('poison') for name in soak.dropped)}",
            "",
            None,
        ),
        ("bad: lost, doubled, half, wrong shelf, left over", f"{len(bad)}", "0", not bad),
        ("killed by us, ended by poison", f"{soak.crashes}, {soak.deaths}", "", None),
        ("seconds in all, seconds per job", f"{took:.0f}, {took / max(soak.wish.jobs, 1):.2f}", "", None),
        ("memory: MB per hour, MB per 1,000 jobs", f"{by_time:+.1f}, {by_jobs:+.2f}", "flat", None),
        (
            "memory in the last life: first, last, highest",
            f"{last[0].rss_mb:.0f}, {last[-1].rss_mb:.0f}, {max(one.rss_mb for one in last):.0f} MB",
            "",
            None,
        ),
        (
            "descriptors: fewest, most once warm",
            f"{min(one.descriptors for one in warm)}, {max(one.descriptors for one in warm)}",
            "flat",
            None,
        ),
        ("write-ahead log at its largest", f"{wal:.1f} MB", "16 MB", wal <= 16),
        ("jobs that failed, by reason", ", ".join(f"{code} {count}" for code, count in failed) or "none", "", None),
    ):
        table.add_row(what, found, goal, {True: "yes", False: "NO", None: ""}[reached])
    out.print(table)


def main() -> None:
    """Soak; exit status 1 when anything was bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000, help="captures (default: %(default)s)")
    parser.add_argument("--poison", type=float, default=0.01, help="share of poisoned ones (default: %(default)s)")
    parser.add_argument("--crash-every", type=float, default=150, help="seconds, about (default: %(default)s)")
    parser.add_argument("--stage-s", type=float, default=0.1, help="seconds of a worker (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--base", type=Path, help="folder on a real disk (default: the system's temporary folder)")
    parser.add_argument("--samples", type=Path, help="write every sample there, as JSON lines")
    wish = parser.parse_args()
    where = machine(wish.base)
    settings = {"settle_s": "0.5", "stall_limit_s": "3", "light_stage_s": str(wish.stage_s)}
    with fresh_root(wish.base, "soak", LIGHT, **settings) as subject:
        soak = Soak(subject, wish, random.Random(wish.seed))
        took = soak.run()
        bad = soak.bad()
        for line in bad[:20]:
            out.print(line, markup=False, soft_wrap=True)
        if wish.samples:
            lines = "".join(json.dumps(vars(one)) + "\n" for one in soak.samples)
            wish.samples.write_text(lines, encoding="utf-8")
        report(soak, took, bad, where)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
