"""What Prometheus is told by the running service, and what a scrape cannot do to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from meshdrop.daemon.metrics.server import MetricsServer
from tests.patience import PATIENCE_S
from tests.receivers import free_port
from tests.rig import Rig, stop, wait_for

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return str(answer.read().decode())


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[(name, tuple(sorted(labels.items())))]


def is_up(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_service_that_worked_is_counted_and_a_restart_forgets_nothing(
    light_rig: Callable[..., Rig], ball: Path
) -> None:
    port = free_port()
    here = light_rig(MESHDROP_METRICS_PORT=str(port), MESHDROP_MODELS='["ball", "liar"]')
    daemon = here.start()
    for name in ("good", "better", "poison-run-no_result"):
        here.drop(ball, name)
    wait_for(lambda: is_up(port))
    wait_for(lambda: value(samples(scrape(port)), "meshdrop_jobs", state="DONE_CLEAN") == 2)
    wait_for(lambda: value(samples(scrape(port)), "meshdrop_jobs", state="FAILED_CLEAN") == 1)
    wait_for(lambda: value(samples(scrape(port)), "meshdrop_working") == 0)
    found = samples(scrape(port))
    assert value(found, "meshdrop_jobs", state="QUEUED") == 0
    assert value(found, "meshdrop_jobs_finished_total", end="done", reason="normal") == 2
    assert value(found, "meshdrop_jobs_finished_total", end="failed", reason="models") == 1
    assert value(found, "meshdrop_model_failures_total", model="ball", reason="no_result") == 1
    for model in ("ball", "liar"):
        assert value(found, "meshdrop_model_seconds_count", model=model) == 2
        assert value(found, "meshdrop_model_seconds_bucket", model=model, le="+Inf") == 2
    assert value(found, "meshdrop_stage_seconds_count", stage="whole") == 3
    assert value(found, "meshdrop_waiting", where="inbox") == 0
    assert value(found, "meshdrop_oldest_waiting_seconds") == 0
    assert [value(found, f"meshdrop_{flag}") for flag in ("held", "paused", "working")] == [0, 0, 0]
    assert value(found, "meshdrop_free_bytes") > 0
    assert value(found, "process_resident_memory_bytes") > 0
    assert stop(daemon) == 0
    again = here.start()
    wait_for(lambda: is_up(port))
    after = samples(scrape(port))
    kept = [key for key in found if key[0].startswith(("meshdrop_jobs", "meshdrop_model", "meshdrop_stage"))]
    assert len(kept) > 30
    assert {key: after[key] for key in kept} == {key: found[key] for key in kept}
    assert stop(again) == 0


def test_names_from_captures_never_become_series(light_rig: Callable[..., Rig], ball: Path) -> None:
    port = free_port()
    here = light_rig(MESHDROP_METRICS_PORT=str(port))
    names = [f'stranger-{number}-"}}\\n' for number in range(5)]
    daemon = here.start()
    wait_for(lambda: is_up(port))
    before = {key for key in samples(scrape(port)) if not key[0].startswith("python")}
    for name in names:
        here.drop(ball, name)
    wait_for(lambda: value(samples(scrape(port)), "meshdrop_jobs", state="DONE_CLEAN") == 5)
    text = scrape(port)
    assert "stranger" not in text
    assert len(samples(text)) - len(before) < 30, "only series of lists that are known beforehand came"
    assert stop(daemon) == 0


def test_nobody_listens_where_no_port_is_set(light_rig: Callable[..., Rig]) -> None:
    here = light_rig()
    daemon = here.start()
    wait_for(here.places.live_status.exists)
    inodes = {
        match.group(1)
        for link in Path(f"/proc/{daemon.pid}/fd").iterdir()
        if (match := re.match(r"socket:\[(\d+)\]", str(link.readlink())))
    }
    listening = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    assert [row for row in listening if row[9] in inodes] == []
    assert stop(daemon) == 0


def test_a_client_that_drips_is_let_go_and_holds_up_neither_a_scrape_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A byte now and then keeps every single read alive: only the limit of the whole ends it."""
    monkeypatch.setattr("meshdrop.daemon.metrics.server._PATIENCE_S", 0.5)
    port, over = free_port(), threading.Event()
    server = MetricsServer("127.0.0.1", port, CollectorRegistry())
    serving = threading.Thread(target=server.run, daemon=True)
    serving.start()
    wait_for(lambda: is_up(port))

    def drip(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not over.wait(0.05):
                client.send(b"G")

    for _ in range(2):
        client = socket.create_connection(("127.0.0.1", port))
        threading.Thread(target=drip, args=(client,), daemon=True).start()

    def is_answered() -> bool:  # a scrape, too, is let go when this machine takes too long for it
        with contextlib.suppress(OSError, http.client.HTTPException):
            return scrape(port) == ""
        return False

    wait_for(is_answered)
    client = socket.create_connection(("127.0.0.1", port))
    threading.Thread(target=drip, args=(client,), daemon=True).start()
    closing = threading.Thread(target=server.close, daemon=True)
    closing.start()
    for thread in (closing, serving):
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    over.set()


def test_a_port_that_is_taken_and_a_client_that_says_nothing_stop_no_work(
    light_rig: Callable[..., Rig], ball: Path
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = light_rig(MESHDROP_METRICS_PORT=str(other.getsockname()[1]))
        taken.drop(ball, "chair")
        assert taken.run_once() == 0
        assert (taken.places.outbox / "chair").is_dir()
        told = [json.loads(line) for line in taken.log().splitlines() if '"no metrics"' in line]
        assert [line["port"] for line in told] == [other.getsockname()[1]]
    port = free_port()
    here = light_rig(MESHDROP_METRICS_PORT=str(port))
    daemon = here.start()
    wait_for(lambda: is_up(port))
    with socket.create_connection(("127.0.0.1", port)):
        here.drop(ball, "table")
        wait_for((here.places.outbox / "table.done").exists)
        assert value(samples(scrape(port)), "meshdrop_jobs", state="QUEUED") == 0  # after the silent one is let go
    with pytest.raises(urllib.error.HTTPError) as refused:
        scrape(port, "/")
    assert refused.value.code == 404
    assert stop(daemon) == 0
