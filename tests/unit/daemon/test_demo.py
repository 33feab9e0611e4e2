"""What ``meshdrop demo`` says of a capture that was refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from daemon import demo
from daemon.settings import load
from daemon.share import create_root


def test_a_refusal_is_told_whole_with_its_cure(tmp_path: Path) -> None:
    """In WHY.txt the sentence runs over several lines; here it is one, whatever the width."""
    places = load(tmp_path / "root").places
    create_root(places)
    folder = places.failed / "chair"
    folder.mkdir()
    cure = 'so put {"camera_axes": "opengl"} into capture.json.'
    reason = f"The views contradict each other {'and again ' * 30}{cure}"
    (folder / "failure.json").write_text(json.dumps({"reason": reason, "says": "A problem that no waiting can cure."}))
    console = Console(file=io.StringIO(), width=60)
    demo._tell(places, {folder}, console, broken=True)
    assert console.file.getvalue().strip() == f"failed/chair: {reason}"  # type: ignore[attr-defined]
