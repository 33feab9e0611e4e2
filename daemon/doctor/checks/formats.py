"""Can every format that the settings ask for be written here, and is what is written validated?"""

from __future__ import annotations

from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.models.mesh.gltf_engines import engine, validator_version
from meshdrop.models.mesh.gltf_validation import CURE, MISSING
from meshdrop.models.mesh.output_formats import ALWAYS, ON_REQUEST


def formats(settings: Settings) -> Finding:
    """The doctor's line about ``extra_formats``. Imports nothing of USD."""
    asked = [ON_REQUEST[name] for name in settings.extra_formats]
    absent = [(found, needs) for found in asked if (needs := found.needs) is not None and not needs.is_installed]
    if not absent:
        labels = [found.label for found in (*ALWAYS, *asked) if found.label]
        return Finding("formats", "ok", ", ".join(labels))
    found, needs = absent[0]
    return Finding(
        "formats",
        "warn",
        f"extra_formats asks for {found.label}, and {needs.name} is not installed",
        f"meshes are delivered without {found.files[0]}, with a note in the report",
        f"{needs.make} (a service: install {needs.lock}, see docs/operations.md), or take it out of extra_formats",
    )


def validator() -> Finding:
    """The doctor's line: which engine validates here. Starts none."""
    found = engine()
    if found is None:
        return Finding("glTF validator", "warn", MISSING, "GLBs are delivered without Khronos' word on them", CURE)
    return Finding("glTF validator", "ok", f"{found.name} runs the Khronos validator {validator_version()}")
