"""The pure rule: is this folder complete and quiet? What was seen and how long ago it changed are passed in.

The algorithm: a folder is taken when its whole set is there, every PNG ends in a valid IEND, nothing holds it open
for writing, no temp-file name is present, and nothing about it has changed for the settle window on our own clock.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Literal

from models.layout import Expectation
from models.problem import Problem, printable

Kind = Literal["file", "symlink", "deep", "other"]
State = Literal["arriving", "settling", "ready", "refuse"]


@dataclass(frozen=True, order=True)
class Fact:
    """One entry as the scan saw it; ``path`` is relative to the folder, posix."""

    path: str
    kind: Kind
    size: int
    mtime_ns: int
    links: int = 1


@dataclass(frozen=True)
class Snapshot:
    """Everything one look at a folder found. ``unfinished`` are PNGs without a valid end, ``open_files`` are held open
    by a writer."""

    facts: tuple[Fact, ...]
    expectation: Expectation
    unfinished: tuple[str, ...] = ()
    open_files: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Digest of names, kinds, sizes and times. No inode, no ctime: NAS indexers and virus scanners touch those."""
        digest = hashlib.sha256()
        for fact in sorted(self.facts):
            digest.update(os.fsencode(fact.path) + f"\0{fact.kind}\0{fact.size}\0{fact.mtime_ns}\n".encode())
        return digest.hexdigest()

    @property
    def required_size(self) -> int:
        """Bytes in the files of the set."""
        wanted = set(self.expectation.required)
        return sum(fact.size for fact in self.facts if fact.path in wanted)


@dataclass(frozen=True)
class Window:
    """Seconds: how long a complete folder must be quiet, how long a set without depth, how long an incomplete one."""

    settle_s: float
    no_depth_wait_s: float
    incomplete_after_s: float


@dataclass(frozen=True)
class Judgement:
    """Where a folder stands, the sentence for people at the share, and, when it is refused, why."""

    state: State
    sentence: str
    code: str = ""
    problems: tuple[Problem, ...] = ()


def odd_entries(facts: tuple[Fact, ...]) -> tuple[Problem, ...]:
    """Links, devices and files with several names: a capture consists of plain files."""
    found = []
    for fact in facts:
        if fact.kind == "symlink":
            found.append(Problem("symlink", fact.path, "is a symbolic link.", "Copy the file itself, not a link."))
        elif fact.kind == "deep":
            found.append(Problem("depth", fact.path, "lies deeper than a capture goes.", "Leave this folder out."))
        elif fact.kind == "other":
            found.append(Problem("not_regular", fact.path, "is not a plain file.", "Leave it out of the capture."))
        elif fact.links > 1:
            found.append(Problem("nlink", fact.path, "is a hard link to a file elsewhere.", "Copy the file itself."))
    return tuple(found)


def judge(snapshot: Snapshot, quiet_s: float, window: Window) -> Judgement:
    """Decide about one folder that has not changed for ``quiet_s`` seconds."""
    lasting = (*odd_entries(snapshot.facts), *snapshot.expectation.problems)
    if lasting:
        return _after(
            quiet_s, window.settle_s, Judgement("refuse", _first(lasting), "capture", lasting),
            Judgement("settling", f"{_first(lasting)} It will be refused unless this changes."),
        )
    reason = _unfinished(snapshot)
    if reason is not None:
        waiting = Judgement("arriving", reason)
        if snapshot.open_files or not snapshot.facts:
            return waiting
        return _after(
            quiet_s, window.incomplete_after_s,
            Judgement("refuse", reason, "incomplete", _missing_problems(snapshot)), waiting,
        )
    count = f"all {len(snapshot.expectation.required)} files are there"
    if not snapshot.expectation.depth_stated and quiet_s < window.no_depth_wait_s:
        left = max(window.no_depth_wait_s - quiet_s, 0)
        return Judgement("settling", f"{count}, but no depth; taking it without depth in {left:.0f} s")
    return _after(
        quiet_s, window.settle_s, Judgement("ready", f"{count}; taking it now"),
        Judgement("settling", f"{count}; waiting until nothing has changed for {window.settle_s:g} s"),
    )


def _after(quiet_s: float, limit_s: float, then: Judgement, until_then: Judgement) -> Judgement:
    return then if quiet_s >= limit_s else until_then


def _first(problems: tuple[Problem, ...]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    first = problems[0]
    return (f"{printable(first.file)} {first.message}" if first.file else first.message) + more


def _unfinished(snapshot: Snapshot) -> str | None:
    """What is still awaited, as a sentence; None when the set is whole."""
    expected = snapshot.expectation
    if not snapshot.facts:
        return "the folder is empty"
    if expected.blockers:
        return f"still being copied: {printable(expected.blockers[0])} is there"
    if expected.missing:
        return expected.waiting_for()
    if not expected.required:
        return "no photographs found yet"
    if snapshot.unfinished:
        return f"{printable(snapshot.unfinished[0])} is not complete yet"
    if snapshot.open_files:
        return f"{printable(snapshot.open_files[0])} is still being written"
    return None


def _missing_problems(snapshot: Snapshot) -> tuple[Problem, ...]:
    expected = snapshot.expectation
    found = [Problem("set", name, "is missing.", "Add this file.") for name in expected.missing]
    found += [
        Problem("set", name, "is a temporary file: its copy never finished.", "Copy the capture again.")
        for name in expected.blockers
    ]
    found += [
        Problem("incomplete", name, "stops before the end of the PNG.", "Copy this file again.")
        for name in snapshot.unfinished
    ]
    if not found:
        found.append(
            Problem("set", None, "There are no photographs in a layout that is known here.",
                    "See docs/capture-format.md: six views as views/view_00.png ... view_05.png, or a transforms.json.")
        )
    return tuple(found)
