"""docs/monitoring.md against the program; shell completion; what the log says of a job."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from sqlalchemy.orm import Session, sessionmaker

from meshdrop.daemon.base.settings import Settings, load
from meshdrop.daemon.host.gpu_memory import GpuMemory
from meshdrop.daemon.metrics.collector import Metrics, registry_of
from meshdrop.daemon.notify.webhook import Webhook
from meshdrop.daemon.notify.wording import SCHEMA
from meshdrop.daemon.status.activity import Activity
from meshdrop.db.engine import Database, reader
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import Job, ModelRun
from tests.patience import PATIENCE_S
from tests.rig import Rig
from tests.unit.test_docs import PROJECT, blocks, quoted, section, table

PAGE = (PROJECT / "docs/monitoring.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Job]:
    """A record with a job of every end."""
    path = tmp_path_factory.mktemp("record") / "a.db"
    database = Database(path)
    database.migrate(path.parent)
    jobs = Jobs(database, lambda: 1795269750.0)
    bad = jobs.queue(
        jobs.claim(b"cup", "f").id, "d", {"layout": "canonical", "probe": {"stated": {"score": 0.9}}}, None, 0
    )
    jobs.record_run(bad.id, ModelRun("fusion", 1, "failed", error_class="crash"))
    jobs.published(jobs.failing(jobs.reject(bad.id, "quality", "r").id, b"cup").id)
    good = jobs.start(jobs.queue(jobs.claim(b"my-object", "f").id, "d", {}, None, 0).id, "boot")
    jobs.record_run(good.id, ModelRun("fusion", 1, "ok", seconds=2.0))
    jobs.deliver(good.id, b"my-object", "normal", "fusion")
    good = jobs.published(good.id)
    database.close()
    return path, good


def metrics(path: Path) -> str:
    def sessions() -> sessionmaker[Session]:
        return reader(path)

    gpus = [GpuMemory(0, 1024, 2048)]
    found = Metrics(sessions, Activity(), {"fusion"}, "1.0", lambda: 5, lambda: gpus)
    return generate_latest(registry_of(found)).decode()


def test_every_metric_in_the_table_is_told_with_its_labels_and_none_besides(finished: tuple[Path, Job]) -> None:
    told: dict[str, set[str]] = {}
    for line in metrics(finished[0]).splitlines():
        if found := re.match(r"(meshdrop_\w+?)(?:_bucket|_count|_sum)?(?:\{(.*)\})? ", line):
            told.setdefault(found[1], set()).update(set(re.findall(r'(\w+)="', found[2] or "")) - {"le"})
    rows: dict[str, set[str]] = {}
    for line in re.findall(r"^\| (`meshdrop_.*) \|$", section(PAGE, "Metrics"), re.MULTILINE):
        names, labels, _ = line.split(" | ", 2)
        rows |= {name: set(quoted(labels)) for name in quoted(names)}
    assert set(told) | {"meshdrop_messages_waiting"} == set(rows)
    assert {name: labels for name, labels in rows.items() if name in told} == told


def test_the_example_of_a_webhook_is_what_is_sent(finished: tuple[Path, Job]) -> None:
    [example] = [json.loads(block) for block in blocks(section(PAGE, "Webhook"), "json")]
    sent = json.loads(Webhook("x").about_job(finished[1]))
    assert list(example) == list(sent)
    same = ("schema", "event", "name", "folder", "verdict", "best_model", "code", "sentence", "fix", "attempt")
    assert {key: example[key] for key in same} == {key: sent[key] for key in same}
    assert example["id"] == f"{example['job']}.done"
    assert f"`{SCHEMA}`" not in PAGE
    assert example["schema"] == SCHEMA


def test_every_setting_of_the_page_exists_with_its_default(tmp_path: Path) -> None:
    text = section(PAGE, "Settings and secrets")
    for names, default, _ in table(text):
        value = None if default == "none" else tomllib.loads(f"value = {default}")["value"]
        for name in quoted(names) or [names]:
            found = Settings.model_fields[name].default
            assert (list(found) if isinstance(found, tuple) else found) == value, name
    [snippet] = blocks(text, "toml")
    file = tmp_path / "config.toml"
    file.write_text(snippet, encoding="utf-8")
    assert set(tomllib.loads(snippet)) <= load(tmp_path, file).model_fields_set
    for name in ("webhook_url", "webhook_secret", "ping_url", "notify_urls"):
        assert f"{name}_file" in Settings.model_fields


def test_the_page_fits_a_screen_and_its_links_lead_somewhere() -> None:
    for number, line in enumerate(PAGE.splitlines(), 1):
        assert len(line) <= 120 or line.startswith("|"), number
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", PAGE) if not target.startswith("http")]
    assert [target for target in targets if not (PROJECT / "docs" / target).exists()] == []


# -- completion ----------------------------------------------------------------------------------------------------


def completed(shell: str, words: str) -> str:
    """What a shell is offered behind these words."""
    environment = {**os.environ, "_MESHDROP_COMPLETE": f"complete_{shell}"}
    if shell == "bash":
        environment |= {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    else:
        environment |= {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    command = [str(Path(sys.executable).with_name("meshdrop"))]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_and_options_are_completed(shell: str) -> None:
    assert "resume" in completed(shell, "meshdrop re")
    assert "status" not in completed(shell, "meshdrop re")
    assert "validate" in completed(shell, "meshdrop config v")
    assert "--watch" in completed(shell, "meshdrop status --w")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_calls_the_command(shell: str) -> None:
    environment = {**os.environ, "_MESHDROP_COMPLETE": f"source_{shell}"}
    command = [str(Path(sys.executable).with_name("meshdrop"))]
    script = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
    assert "_MESHDROP_COMPLETE" in script
    assert "meshdrop" in script


# -- the log -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["/dev/full", "a pipe that nobody reads"])
def test_a_log_that_cannot_be_written_stops_no_work(light_rig: Callable[..., Rig], ball: Path, stream: str) -> None:
    here = light_rig()
    here.drop(ball, "chair")
    reading, writing = os.pipe()
    os.close(reading)
    with open(stream, "wb") if stream == "/dev/full" else os.fdopen(writing, "wb") as log:
        command = [sys.executable, "-m", "tests.light", "run", "--once"]
        done = subprocess.run(command, env=here.environment(), stderr=log, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0
    assert (here.places.outbox / "chair" / "receipt.json").is_file()


def test_the_log_is_json_and_tells_the_story_of_each_job(light_rig: Callable[..., Rig], ball: Path) -> None:
    here = light_rig()
    here.drop(ball, "chair")
    here.drop(ball, "poison-run-no_result")
    assert here.run_once() == 0
    lines = [json.loads(line) for line in here.log().splitlines()]
    for job in here.jobs():
        events = [line["event"] for line in lines if line.get("job") == job.short_id]
        assert events == ["claimed", "queued", "started", "model started", "model ended", "published"], job.name
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines)
