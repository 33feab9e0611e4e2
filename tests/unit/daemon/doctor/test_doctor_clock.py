"""What the doctor says of a clock that the record contradicts."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from meshdrop.daemon.base.settings import load
from meshdrop.daemon.doctor.checks.record import clock
from meshdrop.daemon.host.machine import Machine
from meshdrop.db.clocks import ClockReading
from meshdrop.db.engine import Database
from meshdrop.db.jobs import Jobs

DAY = 86_400.0


def counted(root: Path, wall: float) -> None:
    """A service that counted time when the machine had run for an hour."""
    database = Database(load(root).places.database)
    Jobs(database, clocks=lambda: ClockReading("this start", 3600.0, wall, True)).passed()
    database.close()


@pytest.mark.parametrize(
    ("boot", "jump", "result", "told"),
    [
        ("this start", 0.0, "ok", "agree"),
        ("this start", 20.0, "ok", "agree"),
        ("this start", 30 * DAY, "warn", "set forward by 720.0 hours"),
        ("this start", -2 * 3600.0, "warn", "set back by 2.0 hours"),
        ("another start", 30 * DAY, "ok", "agree"),
    ],
)
def test_a_clock_that_was_set_while_the_machine_ran_is_told(
    root: Path, healthy: Machine, boot: str, jump: float, result: str, told: str
) -> None:
    wall = time.time()
    counted(root, wall)
    later = replace(healthy, clocks=lambda: ClockReading(boot, 3600.0 + 500.0, wall + 500.0 + jump, True))
    found = clock(load(root).places, later)
    assert (found.result, told in found.says) == (result, True)
    assert found.result == "ok" or "Nothing is deleted by it" in found.why


def test_a_job_that_is_still_to_come_is_told(root: Path, healthy: Machine) -> None:
    database = Database(load(root).places.database)
    Jobs(database, lambda: time.time() + 3 * DAY).claim(b"chair", "f")
    database.close()
    found = clock(load(root).places, healthy)
    assert found.result == "warn"
    assert "UTC, which by this machine's clock is still to come" in found.says


def test_without_a_record_nothing_is_known(tmp_path: Path, healthy: Machine) -> None:
    assert clock(load(tmp_path).places, healthy).says == "no record yet"
