"""COLMAP's own library, asked in a process of its own: pycolmap and OpenCV in one damage each other's heap."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest


def asked(program: str, given: Any) -> Any:
    """What ``answer(given)`` of ``program`` says, both as JSON; skips the test where pycolmap is not installed."""
    if importlib.util.find_spec("pycolmap") is None:
        pytest.skip("pycolmap is not installed (make install-dev)")
    whole = f"import json, sys, pycolmap\n{program}\nprint(json.dumps(answer(json.load(sys.stdin))))"
    done = subprocess.run(
        [sys.executable, "-c", whole], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
