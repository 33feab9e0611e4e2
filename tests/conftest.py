"""Fixtures for every room."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rig import Rig, write_ball


@pytest.fixture(scope="session")
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of compiled kernels for the whole run; compiling them again for each test would take minutes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    (shared / "cache").mkdir(exist_ok=True)
    return shared / "cache"


@pytest.fixture(scope="session")
def ball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good capture of a ball."""
    return write_ball(tmp_path_factory.mktemp("captures") / "ball")


@pytest.fixture
def rig(tmp_path: Path, kernel_cache: Path) -> Iterator[Callable[..., Rig]]:
    """Makes roots: ``rig()``, ``rig(MESHDROP_MODELS='["slow"]')``. Daemons that a failed test left are ended."""
    yield from _rigs(tmp_path, "root", kernel_cache, light=False)


@pytest.fixture
def light_rig(tmp_path: Path, kernel_cache: Path) -> Iterator[Callable[..., Rig]]:
    """The same with stand-ins for the worker processes (``tests.light``)."""
    yield from _rigs(tmp_path, "light", kernel_cache, light=True)


def _rigs(folder: Path, name: str, cache: Path, *, light: bool) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(**settings: str) -> Rig:
        made.append(Rig(folder / f"{name}{len(made)}", cache, settings, light=light))
        return made[-1]

    yield make
    for one in made:
        one.end()
