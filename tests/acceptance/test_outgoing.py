"""The running service tells receivers outside, and whatever those do, it works, stops and recovers as ever."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE_S
from tests.receivers import DRIP, HANG, Received, Receiver, free_port, receivers
from tests.rig import Rig, stop, wait_for

__all__ = ["receivers"]

KEY = "k3y-of-the-signature"


def rows(rig: Rig) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{rig.places.database}?mode=ro", uri=True, timeout=PATIENCE_S)) as connection:
        return connection.execute("SELECT about, tries, delivered_at, status, trouble, body FROM message").fetchall()


def drop_good_and_bad(rig: Rig, ball: Path) -> None:
    rig.drop(ball, "good")
    rig.drop(ball, "poison-run-no_result")


def told(receiver: Receiver) -> dict[str, list[Received]]:
    """What a receiver got, by name of the end."""
    found: dict[str, list[Received]] = {}
    for one in receiver.received:
        if one.method == "POST":
            found.setdefault(one.headers["idempotency-key"], []).append(one)
    return found


def test_both_ends_arrive_signed_and_what_arrived_stands_in_the_record(
    light_rig: Callable[..., Rig], receivers: Callable[..., Receiver], ball: Path, tmp_path: Path
) -> None:
    receiver = receivers()
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "url").write_text(f"# the site's own\n{receiver.url}\n")
    here = light_rig(
        MESHDROP_WEBHOOK_URL_FILE=str(tmp_path / "url"), MESHDROP_WEBHOOK_SECRET_FILE=str(tmp_path / "key")
    )
    drop_good_and_bad(here, ball)
    assert here.run_once() == 0
    found = told(receiver)
    assert {json.loads(requests[0].body)["event"] for requests in found.values()} == {"done", "failed"}
    for requests in found.values():
        [one] = requests
        wanted = hmac.new(KEY.encode(), one.body, hashlib.sha256).hexdigest()
        assert one.headers["x-meshdrop-signature"] == f"sha256={wanted}"
        body = json.loads(one.body)
        assert (here.root / body["folder"] / "receipt.json").is_file()
    assert {row[0]: (row[1], row[2] is not None, row[3]) for row in rows(here)} == dict.fromkeys(found, (1, True, 200))
    assert {row[5].encode() for row in rows(here)} == {requests[0].body for requests in found.values()}
    shown = subprocess.run(
        [sys.executable, "-m", "meshdrop.daemon.cli", "show", "good", "--json"],
        env=here.environment(),
        capture_output=True,
        check=True,
    ).stdout
    [message] = json.loads(shown)["messages"]
    assert (message["body"].encode(), message["status"]) == (found[message["about"]][0].body, 200)
    assert [event["detail"] for event in json.loads(shown)["events"] if event["kind"] == "told"] == [
        {"channel": "webhook", "status": 200, "tries": 1}
    ]
    secrets = (KEY, "t0ken-of-the-address", str(receiver.port))
    assert [word for word in secrets if word in here.log()] == []
    raw = b"".join(file.read_bytes() for file in here.places.state.glob("meshdrop.db*"))
    assert [word for word in secrets[:2] if word.encode() in raw] == []


def test_a_receiver_that_fails_hangs_and_is_away_gets_everything_in_the_end(
    light_rig: Callable[..., Rig], receivers: Callable[..., Receiver], ball: Path
) -> None:
    """Also over a kill in the middle of a try, and a stop that does not wait for the receiver."""
    moods: list[int | str] = [500, HANG]
    hanging = threading.Event()

    def mood(_: Received) -> int | str:
        now = moods.pop(0) if moods else 200
        if now == HANG:
            hanging.set()
        return now

    receiver = receivers(mood)
    here = light_rig(MESHDROP_WEBHOOK_URL=receiver.url)
    here.drop(ball, "chair")
    daemon = here.start()
    assert hanging.wait(PATIENCE_S)
    # The receiver says nothing; meanwhile work goes on as if it were not there.
    here.drop(ball, "table")
    wait_for((here.places.outbox / "table.done").exists)
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    moods.append(DRIP)
    dripping = here.start()
    wait_for(lambda: len(receiver.received) >= 3)
    assert stop(dripping) == 0
    again = here.start()
    wait_for(lambda: len(rows(here)) == 2 and all(row[2] for row in rows(here)))
    assert stop(again) == 0
    found = told(receiver)
    assert sorted(json.loads(requests[0].body)["name"] for requests in found.values()) == ["chair", "table"]
    for about, requests in found.items():
        assert len({one.body for one in requests}) == 1, f"{about} differs between two tries"
    here.assert_at_rest()


@pytest.mark.parametrize("point", ["D3", "D4", "D5"])
def test_a_kill_around_publishing_loses_no_message(
    light_rig: Callable[..., Rig], receivers: Callable[..., Receiver], ball: Path, point: str
) -> None:
    receiver = receivers()
    here = light_rig(MESHDROP_WEBHOOK_URL=receiver.url)
    drop_good_and_bad(here, ball)
    assert here.run_once(MESHDROP_CRASH_AT=point) == -signal.SIGKILL
    assert here.run_once() == 0
    assert {about.rpartition(".")[2] for about in told(receiver)} == {"done", "failed"}
    assert len(told(receiver)) == 2


def test_a_closed_port_is_one_line_in_the_log_and_a_line_of_the_status(
    light_rig: Callable[..., Rig], ball: Path
) -> None:
    here = light_rig(MESHDROP_WEBHOOK_URL=f"http://127.0.0.1:{free_port()}/t0ken")
    drop_good_and_bad(here, ball)
    assert here.run_once() == 0
    warnings = [line for line in here.log().splitlines() if "message not delivered" in line]
    assert [json.loads(line)["reason"] for line in warnings] == ["it refuses connections"]
    status = subprocess.run(
        [sys.executable, "-m", "meshdrop.daemon.cli", "status"],
        env=here.environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "webhook: 2 not delivered yet: it refuses connections" in status
    assert "t0ken" not in here.log() + status


def test_pings_begin_with_the_service_and_say_when_it_fails(
    light_rig: Callable[..., Rig], receivers: Callable[..., Receiver]
) -> None:
    receiver = receivers()
    here = light_rig(MESHDROP_PING_URL=receiver.url)
    daemon = here.start()
    wait_for(lambda: len(receiver.received) >= 2)
    path = "/hook/t0ken-of-the-address"
    assert [one.path for one in receiver.received[:2]] == [f"{path}/start", path]
    # A record that is deleted under the service is a reason to end and start afresh.
    for file in here.places.state.glob("meshdrop.db*"):
        file.unlink()
    assert daemon.wait(PATIENCE_S) != 0
    assert receiver.received[-1].path == f"{path}/fail"
    assert "t0ken" not in here.log()


def test_a_stop_in_good_order_is_no_failure(light_rig: Callable[..., Rig], receivers: Callable[..., Receiver]) -> None:
    """Whoever waits for the pings notices by himself when they do not come any more."""
    receiver = receivers()
    daemon = light_rig(MESHDROP_PING_URL=receiver.url).start()
    wait_for(lambda: len(receiver.received) >= 2)
    assert stop(daemon) == 0
    assert [one.path for one in receiver.received if one.path.endswith("fail")] == []


def test_people_are_told_of_a_failure(
    light_rig: Callable[..., Rig], receivers: Callable[..., Receiver], ball: Path
) -> None:
    pytest.importorskip("apprise", reason="the extra [notify] is not installed")
    receiver = receivers()
    url = receiver.url.replace("http://", "json://")
    here = light_rig(MESHDROP_NOTIFY_URLS=json.dumps([url]), MESHDROP_DIGEST_AT="")
    drop_good_and_bad(here, ball)
    assert here.run_once() == 0
    [one] = receiver.received
    body = json.loads(one.body)
    assert body["title"] == "Meshdrop: poison-run-no_result failed"
    assert "No model produced a mesh." in body["message"]
    assert "t0ken" not in here.log()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"MESHDROP_WEBHOOK_URL": "ftp://host.example/t0ken"}, "webhook_url: it must begin with https://"),
        ({"MESHDROP_WEBHOOK_URL": "https://me:t0ken@host.example/"}, "a name and password in the address"),
        ({"MESHDROP_PING_URL": "https://host.example:99999/t0ken"}, "ping_url: this is no address"),
        ({"MESHDROP_WEBHOOK_URL_FILE": "/nowhere/at/all"}, "webhook_url_file: /nowhere/at/all cannot be read"),
        ({"MESHDROP_WEBHOOK_SECRET": "t0ken"}, "webhook_secret is set, and webhook_url is not"),
        ({"MESHDROP_PING_URL": "https://a.example/", "MESHDROP_PING_URL_FILE": os.devnull}, "are both set"),
    ],
)
def test_addresses_that_cannot_work_are_refused_at_the_start_without_being_told(
    light_rig: Callable[..., Rig], settings: dict[str, str], says: str
) -> None:
    here = light_rig(**settings)
    assert here.run_once() == 78
    assert says in here.log()
    assert "t0ken" not in here.log()
    assert "config show --origin" in here.log()
