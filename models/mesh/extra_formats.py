"""Formats that are written only where the settings ask for them, each from the finished GLB and in its own process.

USD's libraries bring threads of their own that do not go well with those of torch and numba, and a crash in them must
not cost a mesh: what cannot be written is a note in the report.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

USDZ = "mesh.usdz"
#: What ``check_files`` accepts beside the files that every model delivers.
EXTRA_FILES = (USDZ,)
_LIMIT_S = 120.0


def write_extra_formats(folder: Path, formats: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Write what ``formats`` names (``usdz``) from the GLBs in ``folder``: the paths, and a sentence for each failure.

    ``mesh.usdz`` is made of ``pbr.glb`` where there is one, else of ``mesh.glb``.
    """
    if "usdz" not in formats:
        return [], []
    if importlib.util.find_spec("pxr") is None:
        return [], [f"{USDZ} was not written: usd-core is not installed (make usd; a service: requirements-usd.lock)"]
    target = folder / USDZ
    source = next(path for name in ("pbr.glb", "mesh.glb") if (path := folder / name).exists())
    why = _convert(source, target)
    if why is None:
        return [target], []
    target.unlink(missing_ok=True)
    return [], [f"{USDZ} was not written: {why}"]


def _convert(source: Path, target: Path) -> str | None:
    """None when ``target`` is there and proven, else why not."""
    command = [sys.executable, "-I", "-m", "meshdrop.models.mesh.usdz", str(source), str(target)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"its program took longer than {_LIMIT_S:.0f} s"
    sys.stderr.buffer.write(done.stderr)
    if done.returncode == 0:
        return None
    last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return last[:500] or f"its program ended with code {done.returncode}"
