"""How much time has passed, as the record knows it: a count of its own that no clock on the wall can move.

A result that is deleted cannot be made again, so its age is never a difference of two dates. The count grows by the
kernel's time since the machine was started, which nobody sets. ``up_s`` is time that was measured; ``off_s`` time
during which the machine was off, which only dates can tell: it counts when the clock was kept right by others (NTP)
both before and after. So an age may be too small, never too great.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from meshdrop.db.clocks import ClockReading
from meshdrop.db.tables import EndRow, ServiceClockRow

#: There is one row.
_ONLY = 1


@dataclass(frozen=True)
class Passed:
    """Time that passed, of which ``up_s`` was measured and ``off_s`` told by dates that can be trusted."""

    up_s: float = 0.0
    off_s: float = 0.0

    def since(self, earlier: Passed) -> Passed:
        """What has passed between two counts."""
        return Passed(max(self.up_s - earlier.up_s, 0.0), max(self.off_s - earlier.off_s, 0.0))

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.up_s + self.off_s


def passed_between(before: ClockReading, now: ClockReading) -> Passed:
    """What has certainly passed from one reading to the next."""
    if before.boot_id == now.boot_id and now.since_boot_s >= before.since_boot_s:
        return Passed(now.since_boot_s - before.since_boot_s)
    off = now.wall - now.since_boot_s - before.wall if before.steered and now.steered else 0.0
    return Passed(max(now.since_boot_s, 0.0), max(off, 0.0))


def count(session: Session, now: ClockReading) -> Passed:
    """Bring the count up to this reading, in a transaction that is going on."""
    row = session.get(ServiceClockRow, _ONLY)
    if row is None:
        session.add(ServiceClockRow(id=_ONLY, up_s=0.0, off_s=0.0, **(vars(now) | {"steered": int(now.steered)})))
        return Passed()
    more = passed_between(reading_of(row), now)
    row.up_s, row.off_s = row.up_s + more.up_s, row.off_s + more.off_s
    row.boot_id, row.since_boot_s, row.wall, row.steered = now.boot_id, now.since_boot_s, now.wall, int(now.steered)
    return Passed(row.up_s, row.off_s)


def reading_of(row: ServiceClockRow) -> ClockReading:
    """The machine's clocks as a row holds them."""
    return ClockReading(row.boot_id, row.since_boot_s, row.wall, bool(row.steered))


def note_end(session: Session, job_id: str, now: ClockReading) -> None:
    """Note that a job ends now; one that has ended keeps its end."""
    passed = count(session, now)
    if session.get(EndRow, job_id) is None:
        session.add(EndRow(job_id=job_id, up_s=passed.up_s, off_s=passed.off_s))


def count_at_end(session: Session, job_id: str) -> Passed:
    """The count when a job ended: its beginning for one that had ended before there was a count."""
    row = session.get(EndRow, job_id)
    return Passed() if row is None else Passed(row.up_s, row.off_s)
