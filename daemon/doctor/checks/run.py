"""Making checks one after the other, so that none of them can hold up or spoil the others."""

from __future__ import annotations

import errno
import os
import shlex
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.daemon.base.users import user_name
from meshdrop.daemon.doctor.checks.finding import Finding

T = TypeVar("T")

#: A healthy machine answers each question in milliseconds, a busy one with slow disks in a second or two. What takes
#: longer hangs, and is a finding.
LIMIT_S = 5.0


@dataclass(frozen=True)
class Check:
    """One line to be: its heading, its name, and how it is found out.

    ``needs`` names lines without which this one says nothing of its own. ``at_start`` marks what the service asks
    itself when it starts: what takes milliseconds, starts no program and writes nothing.
    """

    group: str
    name: str
    look: Callable[[], Finding]
    needs: tuple[str, ...] = ()
    at_start: bool = False
    limit_s: float = LIMIT_S
    #: What is found when there is no answer in time, where that has a meaning of its own.
    late: Finding | None = None


def make_plainly(check: Check) -> Finding:
    """One finding, found on this very thread, however long it takes."""
    return replace(_safely(check), group=check.group)


def carry_out(checks: Sequence[Check]) -> list[Finding]:
    """One finding for each check, in their order; those that need a line that is not ok are skipped."""
    findings: list[Finding] = []
    unsound: set[str] = set()
    for check in checks:
        hinge = next((need for need in check.needs if need in unsound), None)
        if hinge is not None:
            finding = Finding(check.name, "skip", f"not looked at until `{hinge}` is in order")
        else:
            finding = _made(check)
        if finding.result != "ok":
            unsound.add(check.name)
        findings.append(replace(finding, group=check.group))
    return findings


def _made(check: Check) -> Finding:
    """The finding, or that there is none in time."""
    try:
        return in_time(lambda: _safely(check), check.limit_s)
    except TimeoutError:
        return check.late or late(check.name, check.limit_s)


def in_time(look: Callable[[], T], limit_s: float) -> T:
    """What ``look`` answers; raises ``TimeoutError``. The thread of one that hangs is left behind: a mount whose server
    is gone, or a driver whose card is, lets nobody go. Where no thread can be had, this one looks.
    """
    found: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(look())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="check", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the limit on threads is used up, which is the line `process limits`
        return look()
    thread.join(limit_s)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError
    return found[0]


def late(name: str, limit_s: float) -> Finding:
    """That a question was not answered in time."""
    return Finding(
        name,
        "fail",
        f"no answer within {limit_s:.0f} seconds",
        "something below it hangs (a mount whose server is away, a disk, a driver), and the service would hang too",
        "look at `dmesg | tail` and at what this line is about; a network mount: sudo umount -l PLACE, then mount it",
    )


def _safely(check: Check) -> Finding:
    """One that the machine does not let us make is a finding too, and so is a defect of the check itself."""
    try:
        return check.look()
    except MeshdropError as error:
        fix = error.fix or "see `meshdrop check` and docs/architecture.md"
        return Finding(check.name, "fail", str(error), "this could not be checked", fix)
    except OSError as error:
        return Finding(check.name, "fail", str(error), "this could not be checked", cure_of(error))
    except Exception as error:
        return Finding(
            check.name,
            "fail",
            f"the check itself went wrong ({type(error).__name__}: {error})",
            "nothing is known about what it looks at",
            "meshdrop doctor --bundle . and send the file to whoever looks after Meshdrop",
        )


def cure_of(error: OSError) -> str:
    """What a person does about a refusal of the kernel."""
    place = shlex.quote(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else "the folder"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"sudo chown -R {user_name()} {place}, if {user_name()} is the user that the service runs as; "
            "else: sudo meshdrop doctor"
        )
    if error.errno == errno.EROFS:
        return f"look at `dmesg | tail` first; then: sudo mount -o remount,rw $(findmnt -n -o TARGET -T {place})"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"make room there, or have the quota raised: df -h {place}; df -i {place}; quota -s"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "ulimit -n 1024 (or LimitNOFILE=4096 in the systemd unit)"
    return f"look at `dmesg | tail`, and at what is mounted there: findmnt -T {place}"
