"""The spool's lock: one holder on one machine and on many, and nobody waits who need not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from meshdrop.daemon.base.errors import AnotherInstance
from meshdrop.daemon.base.lock import STALE_S, Holder, SpoolLock
from meshdrop.db.clocks import boot_id
from tests.patience import PATIENCE_S

HERE = Holder("here", "machine-a", "alpha", "boot-a", 4000, "/srv/scans")
THERE = Holder("there", "machine-b", "beta", "boot-b", 17, "/mnt/scans", beat=5)


class Waiting:
    """A clock that moves only by sleeping; ``during`` is called at each sleep with the time."""

    def __init__(self, during: Callable[[float], None] = lambda _: None) -> None:
        self.now, self._during = 1000.0, during

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        self.now += seconds
        self._during(self.now - 1000.0)


def write(path: Path, holder: Holder) -> None:
    """What a service on some host leaves in the file."""
    path.write_bytes(json.dumps(asdict(holder)).encode().ljust(4096))


def holder_in(path: Path) -> Holder:
    return Holder(**json.loads(path.read_bytes()))


def lock_for(path: Path, me: Holder = HERE, waiting: Waiting | None = None) -> SpoolLock:
    waiting = waiting or Waiting()
    return SpoolLock(path, me, monotonic=waiting.monotonic, sleep=waiting.sleep)


def test_a_free_spool_is_taken_at_once_and_let_go_so_that_any_host_may_start(tmp_path: Path) -> None:
    waiting = Waiting()
    mine = lock_for(tmp_path / "lock", waiting=waiting)
    mine.take()
    assert holder_in(tmp_path / "lock") == replace(HERE, beat=1)
    mine.release()
    assert (tmp_path / "lock").read_bytes().strip() == b""
    lock_for(tmp_path / "lock", THERE, waiting).take()
    assert waiting.now == 1000.0


def test_a_second_service_on_the_same_machine_is_refused_at_once(tmp_path: Path) -> None:
    first, waiting = lock_for(tmp_path / "lock"), Waiting()
    first.take()
    with pytest.raises(AnotherInstance, match="process 4000 on alpha for /srv/scans"):
        lock_for(tmp_path / "lock", replace(HERE, token="other", pid=4001, root="/srv/other"), waiting).take()
    assert waiting.now == 1000.0
    assert holder_in(tmp_path / "lock").token == "here"


def test_after_a_kill_the_same_machine_starts_at_once_even_after_a_restart(tmp_path: Path) -> None:
    """Machine and name are the same with another boot id; in a container it is the other way round."""
    for left in (
        replace(HERE, token="x"),
        replace(HERE, token="x", boot="boot-0"),
        replace(HERE, token="x", host="", name="container-1"),
    ):
        waiting = Waiting()
        write(tmp_path / "lock", left)
        mine = lock_for(tmp_path / "lock", waiting=waiting)
        mine.take()
        assert waiting.now == 1000.0
        mine.release()


def test_a_host_whose_heart_beats_is_never_pushed_aside(tmp_path: Path) -> None:
    path = tmp_path / "lock"

    def beat(seconds: float) -> None:
        if seconds >= 9:
            write(path, replace(THERE, beat=6))

    write(path, THERE)
    waiting = Waiting(beat)
    with pytest.raises(AnotherInstance, match="process 17 on beta"):
        lock_for(path, waiting=waiting).take()
    assert waiting.now <= 1000.0 + 10
    assert holder_in(path).token == "there"


def test_a_host_without_a_heartbeat_is_outwaited_by_our_own_clock(tmp_path: Path) -> None:
    write(tmp_path / "lock", THERE)
    os.utime(tmp_path / "lock", (0, 0))  # its clock says nothing to us
    waiting = Waiting()
    lock_for(tmp_path / "lock", waiting=waiting).take()
    assert waiting.now >= 1000.0 + STALE_S
    assert holder_in(tmp_path / "lock").token == "here"


def test_a_host_that_lets_go_while_we_wait_is_not_waited_for_any_longer(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    write(path, THERE)

    def let_go(seconds: float) -> None:
        if seconds >= 3:
            path.write_bytes(b"")

    waiting = Waiting(let_go)
    lock_for(path, waiting=waiting).take()
    assert waiting.now <= 1000.0 + 4


def test_half_a_line_is_nobodys_but_a_line_being_written_is(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_bytes(b'{"token": "th')
    lock_for(path).take()
    assert holder_in(path).token == "here"
    path.write_bytes(b'{"token": "th')
    waiting = Waiting(lambda seconds: write(path, replace(THERE, beat=int(seconds * 10))))
    with pytest.raises(AnotherInstance, match="beta"):
        lock_for(path, replace(HERE, token="third"), waiting).take()


def test_without_locks_a_live_process_is_still_noticed_and_two_who_come_at_once_do_not_both_get_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system without flock: only what stands in the file counts."""
    monkeypatch.setattr(SpoolLock, "_flock", lambda self: False)
    path, boot = tmp_path / "lock", boot_id()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alive:
        write(path, replace(HERE, token="x", boot=boot, pid=alive.pid))
        with pytest.raises(AnotherInstance):
            lock_for(path, replace(HERE, boot=boot)).take()
        alive.communicate(b"\n")
    lock_for(path, replace(HERE, boot=boot)).take()  # the same holder, whose process is gone now
    write(path, THERE)
    faster = replace(THERE, token="faster", beat=1)
    waiting = Waiting(lambda seconds: write(path, faster) if seconds > STALE_S else None)
    with pytest.raises(AnotherInstance):
        lock_for(path, waiting=waiting).take()


def test_a_holder_that_was_pushed_aside_notices_it_and_writes_nothing_more(tmp_path: Path) -> None:
    path, lost = tmp_path / "lock", list[Holder]()
    mine = SpoolLock(path, HERE, lost=lost.append)
    mine.take()
    mine.beat()
    assert (holder_in(path).beat, lost) == (2, [])
    write(path, THERE)
    mine.beat()
    assert lost == [THERE]
    mine.release()
    assert holder_in(path) == THERE


def test_a_share_that_is_away_gets_no_heartbeat_and_ends_nothing(tmp_path: Path) -> None:
    lost: list[Holder] = []
    mine = SpoolLock(tmp_path / "lock", HERE, lost=lost.append)
    mine.take()
    (tmp_path / "lock").rename(tmp_path / "away")
    mine.beat()
    assert lost == []
    assert not (tmp_path / "lock").exists()


def test_a_service_that_lost_its_spool_ends_at_once_with_the_code_for_another_instance(tmp_path: Path) -> None:
    """The real heartbeat in a real process: nothing after it is run, not even a `finally`."""
    program = (
        "import sys, time, meshdrop.daemon.base.lock as lock\n"
        "from pathlib import Path\n"
        "lock.BEAT_S = 0.05\n"
        "mine = lock.SpoolLock(Path(sys.argv[1]), lock.this_service(Path('/srv/scans')))\n"
        "mine.take(); mine.keep()\n"
        "print('held', flush=True)\n"
        "try:\n    time.sleep(3600)\nfinally:\n    print('went on', flush=True)\n"
    )
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[4]
    ) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == "held\n"
        write(path, THERE)
        assert held.wait(PATIENCE_S) == 75
        assert "went on" not in held.stdout.read()
