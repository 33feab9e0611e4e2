"""``meshdrop demo``: what it says of a capture that was refused, and where it keeps its record."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from meshdrop.daemon.base.settings import load
from meshdrop.daemon.base.share import create_root
from meshdrop.daemon.cli import demo


def test_a_refusal_is_told_whole_with_its_cure(tmp_path: Path) -> None:
    """In WHY.txt the sentence runs over several lines; here it is one, whatever the width."""
    places = load(tmp_path / "root").places
    create_root(places)
    folder = places.failed / "chair"
    folder.mkdir()
    cure = 'so put {"camera_axes": "opengl"} into capture.json.'
    reason = f"The views contradict each other {'and again ' * 30}{cure}"
    (folder / "failure.json").write_text(json.dumps({"reason": reason, "says": "A problem that no waiting can cure."}))
    shown = io.StringIO()
    console = Console(file=shown, width=60)
    demo._tell(places, {folder}, console, broken=True)
    assert shown.getvalue().strip() == f"failed/chair: {reason}"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a service's own record lives: an image says it to every command by these variables."""
    monkeypatch.setenv("MESHDROP_ROOT", str(tmp_path / "scans"))
    monkeypatch.setenv("MESHDROP_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def test_a_demo_leaves_nothing_in_the_record_of_a_service(tmp_path: Path, service: Path) -> None:
    """`docker compose run meshdrop demo` would else be told of in STATUS.txt for ever; its kernels are of use there."""
    places = demo._settings(tmp_path / "demo").places
    assert places.root == tmp_path / "demo"
    assert places.state == tmp_path / "demo/.meshdrop/state"
    assert places.spool.is_relative_to(tmp_path / "demo")
    assert places.cache == service / "cache"


def test_a_folder_that_has_settings_keeps_its_record(tmp_path: Path, service: Path) -> None:
    (tmp_path / "demo/.meshdrop").mkdir(parents=True)
    (tmp_path / "demo/.meshdrop/config.toml").write_text("settle_s = 9\n")
    settings = demo._settings(tmp_path / "demo")
    assert settings.places.state == service
    assert settings.settle_s == 1.0
