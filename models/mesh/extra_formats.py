"""Formats that are written only where the settings ask for them, each from the finished GLB and in its own process.

USD's libraries bring threads of their own that do not go well with those of torch and numba, and a crash in them must
not cost a mesh: what cannot be written is a note in the report.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from meshdrop.models.mesh.output_formats import ON_REQUEST, OutputFormat

_LIMIT_S = 120.0


def write_extra_formats(folder: Path, formats: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Write what ``formats`` names (of ``ON_REQUEST``) from the GLBs in ``folder``: the paths, and a sentence for each
    failure."""
    paths, notes = list[Path](), list[str]()
    for name, found in ON_REQUEST.items():
        if name in formats:
            path, why = _written(folder, found)
            paths += [] if why else [path]
            notes += [f"{path.name} was not written: {why}"] if why else []
    return paths, notes


def _written(folder: Path, wanted: OutputFormat) -> tuple[Path, str | None]:
    """Where it lies, or would lie, and why it does not."""
    [name] = wanted.files
    target, needs = folder / name, wanted.needs
    if needs is not None and not needs.is_installed:
        return target, f"{needs.name} is not installed ({needs.make}; a service: {needs.lock})"
    source = next(path for name in wanted.made_of if (path := folder / name).exists())
    why = _convert(wanted.program, source, target)
    if why is not None:
        target.unlink(missing_ok=True)
    return target, why


def _convert(program: str, source: Path, target: Path) -> str | None:
    """None when ``target`` is there and proven, else why not."""
    command = [sys.executable, "-I", "-m", program, str(source), str(target)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"its program took longer than {_LIMIT_S:.0f} s"
    sys.stderr.buffer.write(done.stderr)
    if done.returncode == 0:
        return None
    last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return last[:500] or f"its program ended with code {done.returncode}"
