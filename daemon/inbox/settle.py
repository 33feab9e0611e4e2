"""The pure rule: is this folder complete and quiet? What was seen and how long ago it changed are passed in.

The algorithm: a folder is taken when its whole set is there, every PNG ends in a valid IEND, nothing holds it open
for writing, no temp-file name is present, and nothing about it has changed for the settle window on our own clock.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import Literal

from meshdrop.models.capture.layout import Expectation
from meshdrop.models.files.entries import Fact, odd_entries
from meshdrop.models.files.problem import Problem, printable

State = Literal["arriving", "settling", "ready", "refuse"]

#: A set is trusted this many times later when a picture is damaged or goes on behind its end: perhaps it is just being
#: overwritten.
_DOUBT = 3.0


@dataclass(frozen=True)
class Snapshot:
    """Everything one look at a folder found.

    ``unfinished`` are PNGs and sidecars without an end, ``doubtful`` pictures that go on behind their end, are damaged
    or are none, ``open_files`` are held open by a writer, ``empty_folders`` would hold pictures if there were any.
    ``marked`` tells that the rig's marker is there. ``manifest`` is the path of its list of checksums;
    ``contradicted`` are the files that do not match that list, or None while nobody has compared them.
    """

    facts: tuple[Fact, ...]
    expectation: Expectation
    unfinished: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    open_files: tuple[str, ...] = ()
    empty_folders: tuple[str, ...] = ()
    marked: bool = False
    manifest: str | None = None
    contradicted: tuple[str, ...] | None = None

    def settled(self) -> Snapshot:
        """The same without what is left out when nobody waits any longer: frames whose picture never came."""
        return replace(self, expectation=self.expectation.settled())

    @property
    def fingerprint(self) -> str:
        """Digest of names, kinds, sizes and times. No inode, no ctime: NAS indexers and virus scanners touch those."""
        digest = hashlib.sha256()
        for fact in sorted(self.facts):
            digest.update(os.fsencode(fact.path) + f"\0{fact.kind}\0{fact.size}\0{fact.mtime_ns}\n".encode())
        return digest.hexdigest()

    @property
    def folders(self) -> tuple[str, ...]:
        """The folder itself ("") and every folder below it that holds something, outer ones first."""
        found = {""}
        for fact in self.facts:
            folder = os.path.dirname(fact.path)
            while folder not in found:
                found.add(folder)
                folder = os.path.dirname(folder)
        return tuple(sorted(found))

    @property
    def required_size(self) -> int:
        """Bytes in the files of the set."""
        wanted = set(self.expectation.required)
        return sum(fact.size for fact in self.facts if fact.path in wanted)


@dataclass(frozen=True)
class Window:
    """Seconds: how long a complete folder must be quiet, how long a set without depth, how long an incomplete one, and
    how long a complete one of which the rig itself has said that it is complete."""

    settle_s: float
    no_depth_wait_s: float
    incomplete_after_s: float
    said_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """Where a folder stands, the sentence for people at the share, and, when it is refused, why."""

    state: State
    sentence: str
    code: str = ""
    problems: tuple[Problem, ...] = ()


def judge(snapshot: Snapshot, quiet_s: float, window: Window, said: str = "") -> Judgement:
    """Decide about one folder that has not changed for ``quiet_s`` seconds.

    ``said`` is how the rig told that the folder is complete ("" if it did not); checksums that match say so by
    themselves. Such a folder needs to be quiet only for ``window.said_s``, and no depth is waited for.
    """
    # A sidecar that stops in the middle looks wrong in many ways; it is awaited like a picture without its end.
    stated = [problem for problem in snapshot.expectation.problems if problem.file not in snapshot.unfinished]
    lasting = (*odd_entries(snapshot.facts), *stated)
    if lasting and snapshot.open_files:
        return Judgement("arriving", f"{printable(snapshot.open_files[0])} is still being written")
    if lasting:
        return _after(
            quiet_s,
            window.settle_s,
            Judgement("refuse", _first(lasting), "capture", lasting),
            Judgement("settling", f"{_first(lasting)} It will be refused unless this changes."),
        )
    reason = _unfinished(snapshot)
    if reason is not None and snapshot.expectation.missing and _unfinished(snapshot.settled()) is None:
        # Whoever calls this says when the time is over: the files of what is left are read then.
        reason += f"; taken without when nothing has changed for {window.incomplete_after_s / 60:.3g} min"
        return Judgement("arriving", reason)
    if reason is not None:
        waiting = Judgement("arriving", reason)
        if snapshot.open_files or not snapshot.facts:
            return waiting
        return _after(
            quiet_s,
            window.incomplete_after_s,
            Judgement("refuse", reason, "incomplete", _missing_problems(snapshot)),
            waiting,
        )
    count = f"all {len(snapshot.expectation.required)} files are there"
    if snapshot.manifest and snapshot.contradicted == ():
        said = f"they match {printable(snapshot.manifest)}"
    if said:
        return _after(
            quiet_s,
            min(window.said_s, window.settle_s),
            Judgement("ready", f"{count} and {said}; taking it now"),
            Judgement("settling", f"{count} and {said}; taking it in a moment"),
        )
    lacks = "" if snapshot.expectation.depth_stated else "no depth"
    if snapshot.empty_folders:
        lacks = f"nothing in {printable(snapshot.empty_folders[0])}/"
    if lacks and quiet_s < window.no_depth_wait_s:
        left = max(window.no_depth_wait_s - quiet_s, 0)
        return Judgement("settling", f"{count}, but {lacks}; taking it without in {left:.0f} s")
    # Nothing says how many pictures an open-ended set will have: only time can.
    doubt = snapshot.doubtful or snapshot.expectation.open_ended
    settle_s = window.settle_s * (_DOUBT if doubt else 1.0)
    return _after(
        quiet_s,
        settle_s,
        Judgement("ready", f"{count}; taking it now"),
        Judgement("settling", f"{count}; waiting until nothing has changed for {settle_s:g} s"),
    )


def _after(quiet_s: float, limit_s: float, then: Judgement, until_then: Judgement) -> Judgement:
    return then if quiet_s >= limit_s else until_then


def _first(problems: tuple[Problem, ...]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    first = problems[0]
    return (f"{printable(first.file)}: {first.message}" if first.file else first.message) + more


def _unfinished(snapshot: Snapshot) -> str | None:
    """What is still awaited, as a sentence; None when the set is whole."""
    expected = snapshot.expectation
    if not snapshot.facts:
        return "the folder is empty"
    if expected.blockers:
        return f"still being copied: {printable(expected.blockers[0])} is there"
    if expected.missing or expected.no_cameras:
        return expected.waiting_for()
    if not expected.required:
        return "no photographs found yet"
    if snapshot.unfinished:
        return f"{printable(snapshot.unfinished[0])} is not complete yet"
    if snapshot.open_files:
        return f"{printable(snapshot.open_files[0])} is still being written"
    if snapshot.contradicted:
        return f"{printable(snapshot.contradicted[0])} does not match {printable(snapshot.manifest)} yet"
    return None


def _missing_problems(snapshot: Snapshot) -> tuple[Problem, ...]:
    expected = snapshot.expectation
    found = [*expected.awaited()]
    found += [
        Problem("incomplete", name, "The file stops in the middle.", "Copy it again.") for name in snapshot.unfinished
    ]
    found += [
        Problem("set", name, f"The file does not match {snapshot.manifest}.", "Copy it again, or correct that list.")
        for name in snapshot.contradicted or ()
    ]
    if not found:
        found.append(
            Problem(
                "set",
                None,
                "There are no photographs in a layout that is known here.",
                "See docs/capture-format.md: six views as views/view_00.png ... view_05.png, or a transforms.json.",
            )
        )
    return tuple(found)
