"""Where a result comes from, as plain JSON values that travel inside its files and stand in ``result.json``."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

from meshdrop.models.contract.base import ModelResult
from meshdrop.models.contract.entry import ModelEntry
from meshdrop.models.contract.registry import BUILT_IN

_SHAPING = ("meshdrop", "numpy", "numba", "scipy", "scikit-image", "trimesh", "pillow", "torch", "nvdiffrast")


def software_versions() -> dict[str, str]:
    """Versions of what shaped the result, without importing any of it."""
    found = {"python": platform.python_version()}
    for name in _SHAPING:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def provenance(
    model: str,
    entry: ModelEntry,
    settings: Mapping[str, Any],
    digest: str | None,
    result: ModelResult,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """What ``asset.extras`` of a GLB says, for somebody who has nothing but that file.

    ``units`` and ``up_axis`` of the scene, in the frame of the ``capture`` or, for a mesh that could not be placed
    there, in one of its ``own`` without a known unit; the program, model, settings and versions that made it; the
    SHA-256 of the capture's content; what the model itself adds (``ModelResult.provenance``), and the licences that
    bound its use: those of ``entry``, the model's own, or of the model of ours that made the mesh in its place. Names
    of places on this machine stay out of it.
    """
    maker = result.made_by or model
    known = entry if maker == model else BUILT_IN.get(maker, ModelEntry())
    return {
        "generator": f"meshdrop {versions.get('meshdrop', 'from source')}",
        "units": "metre" if result.registered else "arbitrary",
        "up_axis": "+Y",
        "frame": "capture" if result.registered else "own",
        "model": maker,
        "settings": {name: value for name, value in settings.items() if not _names_a_place(value)},
        "versions": dict(versions),
        "capture_sha256": digest,
        "licences": list(known.licences or ()),
        **result.provenance,
    }


def _names_a_place(value: Any) -> bool:
    return isinstance(value, str) and "/" in value
