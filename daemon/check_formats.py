"""Can every format that the settings ask for be written here?"""

from __future__ import annotations

import importlib.util

from daemon.finding import Finding
from daemon.settings import Settings


def formats(settings: Settings) -> Finding:
    """The doctor's line about ``extra_formats``. Imports nothing of USD."""
    written = ", ".join(["GLB, OBJ, PLY", *(name.upper() for name in settings.extra_formats)])
    if "usdz" not in settings.extra_formats or importlib.util.find_spec("pxr") is not None:
        return Finding("formats", "ok", written)
    return Finding(
        "formats", "warn", "extra_formats asks for USDZ, and usd-core is not installed",
        "meshes are delivered without mesh.usdz, with a note in the report",
        "make usd (a service: install requirements-usd.lock, see docs/operations.md), or take it out of extra_formats",
    )  # fmt: skip
