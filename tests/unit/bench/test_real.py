"""The bench on real captures: every folder gets a line, whatever becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import real
from tests.unit.models.synthetic import write_canonical


def test_a_capture_that_comes_out_has_a_verdict_and_its_figures(tmp_path: Path) -> None:
    outcome = real.become(write_canonical(tmp_path / "animal"), tmp_path / "out", [])
    assert outcome.verdict in ("normal", "warning")
    assert outcome.subject == "object"
    assert outcome.beside is not None
    assert outcome.beside.held_out is None  # six views: none to spare
    assert outcome.beside.all_views.covered is not None
    assert outcome.beside.all_views.covered > 0.9
    assert all(outcome.cpu_s[step] > 0 for step in ("reading", "model", "measuring"))
    assert 0 < outcome.shape_cpu_s < outcome.cpu_s["model"]
    assert (tmp_path / "out" / "beside.png").is_file()
    assert (tmp_path / "out" / "previews" / "contact.png").is_file()
    line = real.line_of("animal", outcome)
    assert line.count("|") == real.head(real.COLUMNS).splitlines()[0].count("|")


def test_a_refused_capture_gets_its_sentence_in_a_line(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "animal")
    (folder / "views" / "view_03.png").write_bytes(b"no picture")
    outcome = real.become(folder, tmp_path / "out", [])
    line = real.line_of("animal", outcome)
    assert outcome.verdict == "refused"
    assert "views/view_03.png" in line
    assert "\n" not in line
    assert "Traceback" not in line
    assert outcome.cpu_s.keys() == {"reading"}


def test_a_process_that_dies_gets_a_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deadly = tmp_path / "deadly.py"
    deadly.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setattr(real, "CHILD", deadly)
    outcome = real.become(tmp_path, tmp_path / "out", [])
    assert outcome.verdict == "no mesh (crash)"
    assert outcome.said == "The process died (SIGKILL)."
    assert "SIGKILL" in real.line_of("animal", outcome)


def test_a_folder_that_is_not_there_ends_the_program_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no capture at .*nothing"):
        real.chosen(tmp_path, ["nothing"])
    with pytest.raises(SystemExit, match="no capture at"):
        real.chosen(tmp_path / "empty", [])
