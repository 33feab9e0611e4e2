"""``python -m tests.torture [PART ...]``: disturb the service in every way; exit code 1 when a promise was broken."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.torture import disks, plan
from tests.torture.case import Case
from tests.torture.ground import Ground

#: Exit code when no part could be run on this machine: the one that automake gives a skipped test.
_NOTHING_POSSIBLE = 77

_ground: Ground | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of one case: ``held``, ``missed`` (the promise held, but nothing was disturbed) or ``broken``."""

    id: str
    part: str
    state: str
    seconds: float
    trouble: str = ""


def main() -> int:
    """Parse, enter a namespace of our own, run, report."""
    options = _options()
    if not disks.is_own_namespace() and disks.why_no_namespace() is None:
        again = disks.in_own_namespace([sys.executable, "-m", "tests.torture", *sys.argv[1:]])
        os.execvp(again[0], again)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(10**6)
    print(f"seed {options.seed}: MESHDROP_SEED={options.seed} draws the same cases again", file=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the scratch folder goes
    scratch = Path(tempfile.mkdtemp(prefix="torture-", dir=options.scratch))
    try:
        return _run(options, scratch)
    finally:
        disks.unmount_below(scratch)
        shutil.rmtree(scratch, ignore_errors=True)


def _run(options: argparse.Namespace, scratch: Path) -> int:
    ground = Ground(scratch / "plan")
    cases, skipped = plan.cases(ground, options.parts, options.seed, short=options.short)
    if options.only:
        cases = [case for case in cases if options.only in case.id]
    if options.list:
        print("\n".join(case.id for case in cases))
        return 0
    earlier = _earlier(options.results)
    todo = [case for case in cases if case.id not in earlier]
    outcomes = [earlier[case.id] for case in cases if case.id in earlier]
    began = time.monotonic()
    if options.results is not None:
        options.results.parent.mkdir(parents=True, exist_ok=True)
    with open(options.results or os.devnull, "a", encoding="utf-8") as results:
        for outcome in _outcomes(todo, scratch, options.workers):
            outcomes.append(outcome)
            results.write(json.dumps(asdict(outcome)) + "\n")
            results.flush()
    failed = _report(outcomes, skipped, time.monotonic() - began)
    return _NOTHING_POSSIBLE if skipped and not outcomes else int(failed)


def _outcomes(cases: list[Case], scratch: Path, workers: int) -> Iterator[Outcome]:
    """Run the cases in worker processes, in an order that mixes the parts; show how far it is."""
    waiting = list(reversed(cases))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    pool = ProcessPoolExecutor(workers, mp_context=get_context("fork"), initializer=_settle, initargs=(scratch,))
    with pool, Progress(*columns, console=Console(stderr=True)) as bar:
        task, broken = bar.add_task("torture", total=len(cases)), 0
        running: set[Future[Outcome]] = set()
        while waiting or running:
            while waiting and len(running) < 2 * workers:
                running.add(pool.submit(_one, waiting.pop()))
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                outcome = future.result()
                if outcome.state == "broken" and outcome.part not in plan.MUST_BREAK:
                    broken += 1
                    bar.console.print(f"BROKEN {outcome.id}\n{outcome.trouble}\n", markup=False, highlight=False)
                bar.update(task, advance=1, description=f"{outcome.part}, {broken} broken")
                yield outcome


def _settle(scratch: Path) -> None:
    global _ground  # noqa: PLW0603 - one for each worker process
    _ground = Ground(scratch / f"worker{os.getpid()}")


def _one(case: Case) -> Outcome:
    assert _ground is not None
    began = time.monotonic()
    try:
        state, trouble = case.run(_ground) or "held", ""
    except (AssertionError, OSError) as error:
        state, trouble = "broken", f"{type(error).__name__}: {error}"
    return Outcome(case.id, case.part, state, round(time.monotonic() - began, 3), trouble)


def _earlier(results: Path | None) -> dict[str, Outcome]:
    """What an interrupted or failed run before this one found out; what broke is run again."""
    if results is None or not results.exists():
        return {}
    found = (Outcome(**json.loads(line)) for line in results.read_text(encoding="utf-8").splitlines())
    return {one.id: one for one in found if one.state != "broken" or one.part in plan.MUST_BREAK}


def _report(outcomes: list[Outcome], skipped: dict[str, str], seconds: float) -> bool:
    """Print the table; true when a promise broke, or when nothing broke where a flush was missing."""
    by_line: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_line[plan.line_of(outcome.id)].append(outcome)
    table = Table("test", "runs", "broken", "not reached", "s a run", "verdict")
    failed, idle = False, _mostly_missed(outcomes)
    for line, found in by_line.items():
        broken, missed = (sum(one.state == state for one in found) for state in ("broken", "missed"))
        wanted = found[0].part in plan.MUST_BREAK
        good = broken > 0 if wanted else broken == 0 and found[0].part not in idle
        failed |= not good
        words = ("noticed", "NOT NOTICED") if wanted else ("held", "BROKEN" if broken else "MISSED")
        average = sum(one.seconds for one in found) / len(found)
        table.add_row(line, str(len(found)), str(broken), str(missed), f"{average:.1f}", words[not good])
    for part, reason in skipped.items():
        table.add_row(part, "-", "-", "-", "-", f"skipped: {reason}")
    out = Console(width=None if sys.stdout.isatty() else 150)
    out.print(table)
    out.print(f"{len(outcomes)} runs in {seconds / 60:.1f} minutes")
    return failed


def _mostly_missed(outcomes: list[Outcome]) -> set[str]:
    """Parts in which so many cases disturbed nothing that they tested nothing."""
    states: dict[str, list[str]] = defaultdict(list)
    for outcome in outcomes:
        states[outcome.part].append(outcome.state)
    return {part for part, found in states.items() if found.count("missed") > plan.may_miss(part) * len(found)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(plan.PARTS)}; all without any")
    parser.add_argument("--short", action="store_true", help="the sample that runs with every change")
    seed = os.environ.get("MESHDROP_SEED")
    parser.add_argument("--seed", type=int, default=int(seed) if seed else None, help="draws the random cases")
    parser.add_argument("--only", metavar="TEXT", help="only cases whose id contains this")
    parser.add_argument("--list", action="store_true", help="print the cases' ids instead of running them")
    parser.add_argument("--results", type=Path, metavar="FILE", help="keep outcomes here and go on from them")
    # A run waits more than it computes.
    parser.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 1), metavar="N", help="runs at a time")
    parser.add_argument("--scratch", type=Path, metavar="FOLDER", help="where the disks lie; memory is quickest")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(plan.PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join(plan.PARTS)}")
    if options.scratch is None and os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 2 << 30:
        options.scratch = Path("/dev/shm")
    return options


if __name__ == "__main__":
    sys.exit(main())
