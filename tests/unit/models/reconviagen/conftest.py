"""Fixtures for the tests of reconviagen."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from models.base import ModelUnavailable

if TYPE_CHECKING:
    from models.reconviagen.upstream import Upstream


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors: threads would only wait for each other."""
    if importlib.util.find_spec("torch") is None:
        yield
        return
    import torch  # noqa: PLC0415 - the tests that need it skip themselves where it is absent

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def upstream() -> Upstream:
    """The published code, from the checkout that MESHDROP_TRELLIS names."""
    from models.reconviagen.upstream import load  # noqa: PLC0415 - tests without it need no torch

    try:
        return load(spconv=False)
    except ModelUnavailable as error:
        pytest.skip(f"{error.reason}; {error.fix}")


@pytest.fixture(scope="session")
def weights_folder(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random networks of upstream's classes, in the layout of the published weights."""
    from tests.unit.models.reconviagen import tiny  # noqa: PLC0415

    return tiny.write(tmp_path_factory.mktemp("weights") / "reconviagen", upstream)
