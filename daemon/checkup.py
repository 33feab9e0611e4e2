"""Making checks one after the other, so that none of them can hold up or spoil the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from daemon.errors import MeshdropError
from daemon.finding import Finding

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
    """The finding, or that there is none in time. The thread of a check that hangs is left behind: a mount whose
    server is gone, or a driver whose card is, lets nobody go.
    """
    found: list[Finding] = []
    thread = threading.Thread(target=lambda: found.append(_safely(check)), name=f"check {check.name}", daemon=True)
    thread.start()
    thread.join(check.limit_s)
    if found:
        return found[0]
    return check.late or Finding(
        check.name, "fail", f"no answer within {check.limit_s:.0f} seconds",
        "something below it hangs (a mount whose server is away, a disk, a driver), and the service would hang too",
        "look at `dmesg | tail` and at what this line is about; a network mount: sudo umount -l PLACE, then mount it",
    )  # fmt: skip


def _safely(check: Check) -> Finding:
    """One that the machine does not let us make is a finding too, and so is a defect of the check itself."""
    try:
        return check.look()
    except MeshdropError as error:
        fix = error.fix or "see `meshdrop check` and docs/architecture.md"
        return Finding(check.name, "fail", str(error), "this could not be checked", fix)
    except OSError as error:
        fix = "run the doctor as the user the service runs as (root does so by itself)"
        return Finding(check.name, "fail", str(error), "this could not be checked", fix)
    except Exception as error:
        return Finding(
            check.name, "fail", f"the check itself went wrong ({type(error).__name__}: {error})",
            "nothing is known about what it looks at",
            "meshdrop doctor --bundle . and send the file to whoever looks after Meshdrop",
        )  # fmt: skip
