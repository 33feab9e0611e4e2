"""Those outside: told nothing by the doctor, and reached only where --deep asks."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from meshdrop.daemon.base.settings import Settings, config_file, load
from meshdrop.daemon.cli import trial
from meshdrop.daemon.doctor.checks import receivers as outside
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.start_checks import look_around, refuse_what_loses_data
from meshdrop.daemon.host.machine import Machine


def test_a_host_is_reached_by_a_connection_that_says_nothing(root: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/secret"
        config_file(root).write_text(f'webhook_url = "{address}"\n')
        [line] = outside.reachable(load(root))
        connection, _ = server.accept()
        with connection:
            said = connection.recv(100)
    assert (line.name, line.result, said) == ("reach webhook", "ok", b"")
    [line] = outside.reachable(load(root))
    assert (line.name, line.result) == ("reach webhook", "warn"), "nobody listens any more"
    assert "secret" not in line.says + line.why + line.fix


def test_a_trial_tells_nobody(root: Path) -> None:
    """Every setting that holds an address, a key, or the file of one is left out, those of later versions too."""
    telling = {
        name
        for name, field in Settings.model_fields.items()
        if SecretStr.__name__ in str(field.annotation) or name.endswith(("_file", "_port"))
    }
    assert len(telling) > 5
    quiet = {name: trial._QUIET.get(name, "missing") for name in telling}
    assert [name for name, value in quiet.items() if value not in (None, ())] == []
    assert set(trial._QUIET) <= set(Settings.model_fields)


def test_a_start_looks_around_without_starting_or_writing_anything(
    root: Path, healthy: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    before = sorted(root.rglob("*"))
    assert look_around(load(root), healthy) == []
    assert sorted(root.rglob("*")) == before
    (root / "inbox").chmod(0o775)
    [found] = look_around(load(root), healthy)
    assert (found.name, found.result) == ("permissions", "warn")


def test_a_check_that_breaks_does_not_stop_a_start(
    root: Path, healthy: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Finding:
        raise ZeroDivisionError

    monkeypatch.setattr("meshdrop.daemon.doctor.checks.machine.memory", broken)
    [found] = look_around(load(root), healthy)
    assert (found.name, found.result) == ("memory", "fail")


def test_a_sound_root_is_not_refused(root: Path) -> None:
    refuse_what_loses_data(load(root))
