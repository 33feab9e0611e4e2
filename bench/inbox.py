"""Figures of the hot folder: what is missed, what is taken too early, how late, at what cost, and how it stops.

    python bench/inbox.py burst|early|latency|claims|idle|stop|all [--seed N] [--folders N] [--copies N] [--base DIR]

Each figure starts the real service on a fresh root below ``--base`` (a real disk, please: on a tmpfs every flush is
free) and watches it from outside. Where thousands of captures are claimed, the service is `tests.light`: the same
service, but what its worker processes would answer is answered at once. The last thing printed is the table.

burst    While the service is stopped (SIGSTOP), N folders of one file and one complete folder appear: more events than
         the kernel keeps. Found: how many the service knows of within 30 s of SIGCONT, and after how many seconds.
early    Copies by hostile copiers (bench/copiers.py), 150 at a time, with pauses longer than the settle window. Early:
         the folder was taken before its copier's last operation, by the clock or because it was gone from under it.
latency  From the last close of a plain copy to the claim, with the default settle window; then with a manifest, a
         marker, and a rename into the inbox.
claims   N complete folders are there at the start. Seconds from the end of the settle window to the last claim, and
         the latency of one more folder dropped meanwhile.
idle     CPU share of the service over two minutes beside N folders that each lack one file, its memory, its watches,
         and the latency of a complete folder dropped beside them; the same beside none.
stop     SIGTERM at random moments of a busy service: seconds to its end, attempts that it cost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.copiers import COPIERS, Outcome, checksums, drive, verdict
from bench.subject import (
    LIGHT,
    NAMES,
    REAL,
    ROOT,
    Subject,
    capture_files,
    fresh_root,
    machine,
    percentiles,
    write_files,
)
from tests.rig import contents, write_ball

out = Console(highlight=False, width=118)
#: Seconds for which a folder counts as active and is looked at on every pass (daemon/inbox/scanner.py).
ACTIVE_S = 60.0


@dataclass(frozen=True)
class Line:
    """One figure: what was measured, what was found, the goal, and whether it was reached (None: no goal)."""

    what: str
    found: str
    goal: str = ""
    reached: bool | None = None


def say(text: str) -> None:
    """Progress, with the time."""
    out.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text}", soft_wrap=True)


# -- burst ---------------------------------------------------------------------------------------------------------


def burst(wish: argparse.Namespace) -> list[Line]:
    """More folders than events fit into the kernel's queue."""
    with fresh_root(wish.base, "burst", LIGHT) as subject:
        subject.start()
        subject.send(signal.SIGSTOP)
        say(f"burst: {wish.folders} folders while the service is stopped")
        picture = capture_files(0)[NAMES[0]]
        for number in range(wish.folders):
            (subject.inbox / f"one{number:05d}" / "views").mkdir(parents=True)
            (subject.inbox / f"one{number:05d}" / NAMES[0]).write_bytes(picture)
        write_files(subject.inbox / "whole", capture_files(1))
        queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))
        subject.send(signal.SIGCONT)
        begun, seen, after = time.monotonic(), 0, 0.0
        while seen <= wish.folders and time.monotonic() - begun < 30:
            time.sleep(0.1)
            seen, after = subject.seen(), time.monotonic() - begun
        claimed = subject.wait(lambda: "whole" in subject.claimed_at(), 60) + after
        missed = wish.folders + 1 - seen
    return [
        Line(f"burst: missed of {wish.folders + 1:,} folders (event queue {queue:,})", f"{missed}", "0", missed == 0),
        Line("burst: seconds from SIGCONT until all were seen", f"{after:.1f}", "30", missed == 0),
        Line("burst: seconds until the complete one was claimed", f"{claimed:.1f}"),
    ]


# -- early ---------------------------------------------------------------------------------------------------------


def early(wish: argparse.Namespace) -> list[Line]:
    """Every pattern of bench/copiers.py, in turn."""
    settings = {"settle_s": str(wish.settle), "retain_days": "0", "deliver_capture": "false"}
    with fresh_root(wish.base, "early", LIGHT, **settings) as subject:
        subject.start()
        begun = time.monotonic()
        outcomes = drive(
            subject.inbox,
            wish.copies,
            wish.at_once,
            wish.settle,
            wish.seed,
            lambda done: say(f"early: {done} copies") if done % 1000 == 0 else None,
        )
        say(f"early: all copied after {time.monotonic() - begun:.0f} s; waiting until all are taken and read")
        whole = {one.copy.name for one in outcomes if one.finished is not None}
        subject.wait(lambda: whole <= _read_through(subject), wish.patience, every=1, strictly=False)
        cpu = 100 * subject.cpu_s() / (time.monotonic() - begun)
        record = subject.claims()
    verdicts = [(one, verdict(one, record)) for one in outcomes]
    _show_patterns(verdicts)
    for one, found in [pair for pair in verdicts if pair[1] in ("early", "wrong")][:20]:
        out.print(f"{found}: {one.copier}, {one.copy.name}, finished {one.finished}: {record.get(one.copy.name)}")
    count = Counter(found for _, found in verdicts)
    late = [record[one.copy.name][0].at - (one.finished or 0) for one, found in verdicts if found == "good"]
    return [
        Line(
            f"early: taken before the last operation, of {len(outcomes):,} hostile copies, settle {wish.settle:g} s",
            f"{count['early']}",
            "0",
            count["early"] == 0,
        ),
        Line(
            "early: never taken, or taken with another content than the copier's",
            f"{count['wrong']}",
            "0",
            count["wrong"] == 0,
        ),
        Line("early: not counted, because this machine stretched a moment to a settle window", f"{count['void']}"),
        Line("early: last operation -> claimed, p50 / p95 / most", f"{percentiles(late)} s"),
        Line("early: CPU of one core of the service meanwhile", f"{cpu:.0f} %"),
    ]


def _read_through(subject: Subject) -> set[str]:
    return {name for name, claims in subject.claims().items() if claims[-1].read}


def _show_patterns(verdicts: list[tuple[Outcome, str]]) -> None:
    table = Table("copier", "copies", "early", "wrong", "not counted")
    for copier in COPIERS:
        found = Counter(of_it for one, of_it in verdicts if one.copier == copier.__name__)
        table.add_row(
            copier.__name__.replace("_", " "),
            str(found.total()),
            str(found["early"]),
            str(found["wrong"]),
            str(found["void"]),
        )
    out.print(table)


# -- latency -------------------------------------------------------------------------------------------------------


def latency(wish: argparse.Namespace) -> list[Line]:
    """Plain copies over two minutes, then the three quick ways."""
    lines = []
    with fresh_root(wish.base, "latency", LIGHT) as subject:
        subject.start()
        for way, count, over_s, goal in (
            ("plain copy", wish.drops, 120.0, 7.0),
            ("manifest", wish.drops // 5, 30.0, 3.0),
            ("marker", wish.drops // 5, 30.0, 3.0),
            ("rename into the inbox", wish.drops // 5, 30.0, 3.0),
        ):
            say(f"latency: {count} by {way}")
            late = _drop_all(subject, way, count, over_s, wish.seed)
            reached = sorted(late)[int(0.95 * len(late))] <= goal
            lines.append(
                Line(
                    f"latency: complete -> claimed, {count} by {way}, p50 / p95 / most",
                    f"{percentiles(late)} s",
                    f"p95 <= {goal:g} s",
                    reached,
                )
            )
    return lines


def _drop_all(subject: Subject, way: str, count: int, over_s: float, seed: int) -> list[float]:
    """Drop ``count`` captures at random moments; seconds from complete to claimed, for each."""
    chance, begun, dropping = random.Random(seed), time.monotonic(), {}
    with ThreadPoolExecutor(64) as copiers:
        for number, moment in enumerate(sorted(chance.uniform(0, over_s) for _ in range(count))):
            time.sleep(max(0.0, begun + moment - time.monotonic()))
            name = f"{way.partition(' ')[0]}{number:04d}"
            dropping[name] = copiers.submit(drop, subject.inbox, name, way, capture_files(number))
        complete = {name: copier.result() for name, copier in dropping.items()}
    subject.wait(lambda: complete.keys() <= subject.claimed_at().keys(), 120, every=0.5)
    claimed = subject.claimed_at()
    return [claimed[name] - at for name, at in complete.items()]


def drop(inbox: Path, name: str, way: str, files: dict[str, bytes]) -> float:
    """Copy one capture into the inbox in this way, taking about a second; Unix seconds of the last operation on it."""
    last = {"manifest": {"SHA256SUMS": checksums(files)}, "marker": {".ready": b""}}.get(way, {})
    staged = inbox / (f".{name}.part" if way == "rename into the inbox" else name)
    write_files(staged, {**files, **last}, pause_s=0.1)
    if staged.name != name:
        staged.rename(inbox / name)
    return time.time()


# -- claims --------------------------------------------------------------------------------------------------------


def claims(wish: argparse.Namespace) -> list[Line]:
    """A full inbox at the start."""
    # Stand-ins take a second, which no real worker undercuts: work on claimed jobs goes on, but not by the hundred.
    with fresh_root(wish.base, "claims", LIGHT, light_stage_s="1") as subject:
        say(f"claims: writing {wish.folders} complete folders")
        fill(subject, wish.folders)
        os.sync()  # they are supposed to have lain there for a while
        subject.start()
        ready, settle = time.time(), 5.0
        subject.wait(lambda: subject.jobs() > 0, 300)
        say("claims: the first is claimed; dropping one more")
        fresh = drop(subject.inbox, "zz fresh", "plain copy", capture_files(wish.folders))
        subject.wait(lambda: subject.jobs() > wish.folders, 3600, every=0.5)
        at = subject.claimed_at()
        late = at.pop("zz fresh") - fresh
        took, all_took = max(at.values()) - ready - settle, max(at.values()) - min(at.values())
        cpu, (_, peak) = subject.cpu_s(), subject.memory_mb()
    return [
        Line(f"claims: {len(at):,} complete folders, settled -> all claimed", f"{took:.0f} s", "120 s", took <= 120),
        Line("claims: of it from the first claim to the last", f"{all_took:.0f} s"),
        Line("claims: one more folder dropped meanwhile, complete -> claimed", f"{late:.1f} s"),
        Line("claims: CPU seconds and highest memory of the service", f"{cpu:.0f} s, {peak:.0f} MB"),
    ]


def fill(subject: Subject, count: int, *, without_one: bool = False) -> None:
    """Captures named d00000 ...; each may lack one of its files."""
    for number in range(count):
        files = capture_files(number)
        if without_one:
            del files[NAMES[number % len(NAMES)]]
        write_files(subject.inbox / f"d{number:05d}", files)


# -- idle ----------------------------------------------------------------------------------------------------------


def idle(wish: argparse.Namespace) -> list[Line]:
    """The cost of waiting, beside many folders and beside none."""
    return [line for count in (wish.folders, 0) for line in _idle_beside(wish, count)]


def _idle_beside(wish: argparse.Namespace, count: int) -> list[Line]:
    with fresh_root(wish.base, "idle") as subject:
        subject.start()  # a first start makes the record and loads what migrations need; it is not the usual one
        subject.stop()
        say(f"idle: writing {count} folders that lack a file")
        fill(subject, count, without_one=True)
        subject.start()
        first = subject.wait(lambda: subject.seen() >= count, 300)
        say(f"idle: all seen after {first:.0f} s, waiting until they are old")
        time.sleep(2.5 * ACTIVE_S if count else 10)
        cpu, begun = subject.cpu_s(), time.monotonic()
        time.sleep(wish.idle_s)
        share = 100 * (subject.cpu_s() - cpu) / (time.monotonic() - begun)
        late = []
        for number in range(5):
            at = drop(subject.inbox, f"fresh{number}", "plain copy", capture_files(count + number))
            subject.wait(partial(_has_jobs, subject, number + 1), 120)
            late.append(subject.claimed_at()[f"fresh{number}"] - at)
        rss, peak = subject.memory_mb()
        watches = subject.watches()
    beside = f"idle beside {count:,} incomplete folders"
    return [
        Line(f"{beside}: CPU of one core over {wish.idle_s:.0f} s", f"{share:.2f} %", "1.5 %", share <= 1.5),
        Line(f"{beside}: memory now / at its highest", f"{rss:.0f} / {peak:.0f} MB", "80 MB", peak <= 80),
        Line(f"{beside}: inotify watches", f"{watches}", "3", watches <= 3),
        Line(
            f"{beside}: 5 fresh folders, complete -> claimed, p50 / p95 / most",
            f"{percentiles(late)} s",
            "7 s",
            max(late) <= 7,
        ),
    ]


# -- stop ----------------------------------------------------------------------------------------------------------


def _has_jobs(subject: Subject, wanted: int) -> bool:
    return subject.jobs() >= wanted


def stop(wish: argparse.Namespace) -> list[Line]:
    """Many stops of the light service, some of the real one with workers that are slow or deaf to SIGTERM."""
    real = max(wish.stops // 8, 1)
    chance = random.Random(wish.seed)
    with fresh_root(wish.base, "stop", LIGHT, settle_s="0.3", light_stage_s="0.4") as subject:
        say(f"stop: {wish.stops - real} stops of the light service")
        seconds, lost, refunded = _stops(subject, wish.stops - real, chance, 5.0)
    engines = ROOT / "tests" / "faults" / "engines.py"
    classes = {"slow": f"{engines}:Slow", "hang": f"{engines}:Hang"}
    ball = contents_of_a_ball(wish.base)
    hard: list[float] = []
    for number, model in enumerate(classes):
        settings = {"settle_s": "0.3", "models": f'["{model}"]', "custom_models": json.dumps(classes)}
        with fresh_root(wish.base, "stop", REAL, **settings) as subject:
            count = (real + 1 - number) // 2
            say(f"stop: {count} stops of the real service, model {model}")
            took, more, back = _stops(subject, count, chance, 12.0, ball)
            hard, lost, refunded = hard + took, lost + more, refunded + back
    every = sorted(seconds + hard)
    p99 = every[min(int(0.99 * len(every)), len(every) - 1)]
    return [
        Line(f"stop: SIGTERM -> end, {len(every)} random moments, p99", f"{p99:.1f} s", "20 s", p99 <= 20),
        Line(f"stop: of it {len(seconds)} light, p50 / p95 / most", f"{percentiles(seconds)} s"),
        Line(
            f"stop: of it {len(hard)} with a slow worker or one deaf to SIGTERM, p50 / p95 / most",
            f"{percentiles(hard)} s",
        ),
        Line("stop: attempts, and tries at reading and measuring, that the stops cost", f"{lost}", "0", lost == 0),
        Line("stop: attempts that were stopped and given back", f"{refunded}"),
    ]


def contents_of_a_ball(base: Path | None) -> dict[str, bytes]:
    """A capture that the real reader accepts."""
    with tempfile.TemporaryDirectory(dir=base) as folder:
        return contents(write_ball(Path(folder) / "ball"))


def _stops(
    subject: Subject, count: int, chance: random.Random, longest_s: float, files: dict[str, bytes] | None = None
) -> tuple[list[float], int, int]:
    """Start, keep busy with small captures or with ``files``, stop after a random time. Returns the seconds of each
    stop, what the stops cost, and how many attempts were given back.
    """
    seconds, dropped = [], 0
    for _ in range(count):
        while dropped < 10 or len(os.listdir(subject.inbox)) < 3:
            write_files(subject.inbox / f"s{dropped:05d}", files or capture_files(dropped))
            dropped += 1
        subject.start(ready=False)
        time.sleep(chance.uniform(0, longest_s))
        seconds.append(subject.stop())
    if files is None:
        subject.start()
        subject.wait(lambda: subject.jobs("state IN ('DONE_CLEAN', 'FAILED_CLEAN')") >= dropped, 600, every=0.5)
        subject.stop()
    cost = "MAX(attempt - 1, 0) + MAX(ingest_tries - 1, 0) + MAX(finish_tries - 1, 0) + (reason_code IS NOT NULL)"
    unfinished = "(state = 'RUNNING') + (state = 'QUEUED' AND attempt > 0)"
    if not subject.has_record():
        return seconds, 0, 0
    lost, refunded = subject.rows(f"SELECT SUM({cost} + {unfinished}), SUM(refunds) FROM job")[0]
    return seconds, lost or 0, refunded or 0


FIGURES: dict[str, Callable[[argparse.Namespace], list[Line]]] = {
    "burst": burst,
    "early": early,
    "latency": latency,
    "claims": claims,
    "idle": idle,
    "stop": stop,
}


def main() -> None:
    """Measure what was asked for; exit status 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=[*FIGURES, "all"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folders", type=int, help="folders of burst (20,000), claims and idle (10,000)")
    parser.add_argument("--copies", type=int, default=10_000, help="hostile copies (default: %(default)s)")
    parser.add_argument("--settle", type=float, default=2.0, help="settle window of early (default: %(default)s s)")
    parser.add_argument("--at-once", type=int, default=150, help="copiers at a time (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=3600, help="seconds for the service to read what it took")
    parser.add_argument("--drops", type=int, default=500, help="drops for latency (default: %(default)s)")
    parser.add_argument("--stops", type=int, default=100, help="stops (default: %(default)s)")
    parser.add_argument("--idle-s", type=float, default=120, help="seconds of idle (default: %(default)s)")
    parser.add_argument("--base", type=Path, help="folder on a real disk (default: the system's temporary folder)")
    wish = parser.parse_args()
    where, folders = machine(wish.base), wish.folders
    table = Table("figure", "found", "goal", "", title=where, title_justify="left")
    missed = False
    for name in FIGURES if wish.figure == "all" else [wish.figure]:
        wish.folders = folders or (20_000 if name == "burst" else 10_000)
        for line in FIGURES[name](wish):
            missed |= line.reached is False
            table.add_row(line.what, line.found, line.goal, {True: "yes", False: "NO", None: ""}[line.reached])
    out.print(table)
    sys.exit(missed)


if __name__ == "__main__":
    main()
