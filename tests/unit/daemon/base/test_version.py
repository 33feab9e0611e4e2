"""The version is known wherever the program runs from."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest

from meshdrop.daemon.base.version import UNKNOWN, version, version_of_checkout

PROJECT = Path(__file__).resolve().parents[4]
WRITTEN = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_it_is_that_of_the_project() -> None:
    assert version() == WRITTEN


def test_a_checkout_that_was_never_installed_knows_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert version() == WRITTEN


@pytest.mark.parametrize(
    "text", [None, "", "no toml at all [", "project = 5", "[project]\nname = 'other'\nversion = '9'", "[project]"]
)
def test_without_both_it_is_unknown_and_nothing_fails(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    assert version_of_checkout(tmp_path) == UNKNOWN
