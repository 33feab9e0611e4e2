"""The intake under what it will meet on a bad day: hostile copiers, and more events than the kernel keeps.

The short form of `bench/inbox.py early` and `burst`, which do the same by the ten thousand.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from bench.copiers import COPIERS, drive, verdict
from bench.subject import claims_in
from tests.rig import Rig, stop, wait_for

#: Settle windows that are tried one after the other: the shortest that this machine can keep to is enough.
WINDOWS_S = (1.0, 4.0, 12.0)


def test_no_hostile_copier_has_its_folder_taken_before_its_last_operation(light_rig: Callable[..., Rig]) -> None:
    """Each pattern twice, all at once. Every capture is taken afterwards, with the content of its copier."""
    good: set[str] = set()
    for settle_s in WINDOWS_S:
        good |= driven(light_rig, settle_s)
        if len(good) == len(COPIERS):
            break
    assert len(good) == len(COPIERS), "of the other patterns nothing is known: this machine stretched their pauses"


def driven(light_rig: Callable[..., Rig], settle_s: float) -> set[str]:
    """Drive every pattern twice; those of which a copy kept to its times. None was taken early or wrongly."""
    here = light_rig(MESHDROP_SETTLE_S=str(settle_s), MESHDROP_NO_DEPTH_WAIT_S="30", MESHDROP_DELIVER_CAPTURE="false")
    daemon = here.start()
    wait_for(here.places.live_status.exists)
    count = 2 * len(COPIERS)
    outcomes = drive(here.places.inbox, count, count, settle_s, seed=20, tell=lambda _: None)
    whole = {one.copy.name for one in outcomes if one.finished is not None}

    def all_are_read() -> bool:
        return whole <= {name for name, claims in claims_in(here.places.database).items() if claims[-1].read}

    wait_for(all_are_read)
    found = [(one.copier, one.copy.name, verdict(one, claims_in(here.places.database))) for one in outcomes]
    # A copy whose short pauses this machine stretched beyond the window proves nothing: "void".
    assert [one for one in found if one[2] not in ("good", "void")] == []
    assert stop(daemon) == 0
    return {copier for copier, _, word in found if word == "good"}


def test_more_folders_than_the_kernel_keeps_events_for_are_all_seen(light_rig: Callable[..., Rig], ball: Path) -> None:
    """The events of a burst while the service sleeps overflow its queue; the scan finds every folder."""
    here = light_rig()
    daemon = here.start()
    wait_for(here.places.live_status.exists)
    kept = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))
    count = min(kept, 16_384) + 500
    daemon.send_signal(signal.SIGSTOP)
    for number in range(count):
        os.mkdir(here.places.inbox / f"empty{number:06d}")
    here.drop(ball, "whole")
    daemon.send_signal(signal.SIGCONT)
    wait_for((here.places.outbox / "whole.done").exists)
    wait_for(lambda: json.loads(here.places.live_status.read_text(encoding="utf-8"))["inbox_total"] == count)
    assert stop(daemon) == 0
