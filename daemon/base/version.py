"""The one place that knows the version of this program."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

UNKNOWN = "unknown"


def version() -> str:
    """As it was installed; in a checkout that never was, as pyproject.toml says; else ``UNKNOWN``. Never raises."""
    try:
        return importlib.metadata.version("meshdrop")
    except importlib.metadata.PackageNotFoundError:
        return version_of_checkout(Path(__file__).parents[2])


def version_of_checkout(folder: Path) -> str:
    """What the pyproject.toml in a folder calls the version of Meshdrop, or ``UNKNOWN``."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return str(project["version"]) if project["name"] == "meshdrop" else UNKNOWN
    except (OSError, ValueError, KeyError, TypeError):
        return UNKNOWN
