"""Can every format that the settings ask for be written here, and is what is written validated?"""

from __future__ import annotations

import importlib.util

from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.models.mesh.gltf_engines import engine, validator_version
from meshdrop.models.mesh.gltf_validation import CURE, MISSING


def formats(settings: Settings) -> Finding:
    """The doctor's line about ``extra_formats``. Imports nothing of USD."""
    written = ", ".join(["GLB, OBJ, PLY", *(name.upper() for name in settings.extra_formats)])
    if "usdz" not in settings.extra_formats or importlib.util.find_spec("pxr") is not None:
        return Finding("formats", "ok", written)
    return Finding(
        "formats",
        "warn",
        "extra_formats asks for USDZ, and usd-core is not installed",
        "meshes are delivered without mesh.usdz, with a note in the report",
        "make usd (a service: install requirements-usd.lock, see docs/operations.md), or take it out of extra_formats",
    )


def validator() -> Finding:
    """The doctor's line: which engine validates here. Starts none."""
    found = engine()
    if found is None:
        return Finding("glTF validator", "warn", MISSING, "GLBs are delivered without Khronos' word on them", CURE)
    return Finding("glTF validator", "ok", f"{found.name} runs the Khronos validator {validator_version()}")
