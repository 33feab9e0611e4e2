"""Fixtures for every room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rig import Rig, write_ball


@pytest.fixture(scope="session")
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of compiled kernels for the whole run; compiling them again for each test would take minutes."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def ball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good capture of a ball."""
    return write_ball(tmp_path_factory.mktemp("captures") / "ball")


@pytest.fixture
def rig(tmp_path: Path, kernel_cache: Path) -> Callable[..., Rig]:
    """Makes roots: ``rig()``, ``rig(MESHDROP_MODELS='["slow"]')``."""
    made: list[Rig] = []

    def make(**settings: str) -> Rig:
        made.append(Rig(tmp_path / f"root{len(made)}", kernel_cache, settings))
        return made[-1]

    return make
