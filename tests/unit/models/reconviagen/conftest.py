"""Fixtures for the tests of reconviagen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshdrop.models.contract.base import ModelUnavailable
from tests.threads import one_thread  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from meshdrop.models.reconviagen.upstream import Upstream


@pytest.fixture(scope="session")
def upstream() -> Upstream:
    """The published code, from the checkout that MESHDROP_TRELLIS names."""
    from meshdrop.models.reconviagen.upstream import load  # noqa: PLC0415 - tests without it need no torch

    try:
        return load(spconv=False)
    except ModelUnavailable as error:
        pytest.skip(f"{error.reason}; {error.fix}")


@pytest.fixture(scope="session")
def weights_folder(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random networks of upstream's classes, in the layout of the published weights."""
    from tests.unit.models.reconviagen import tiny  # noqa: PLC0415

    return tiny.write(tmp_path_factory.mktemp("weights") / "reconviagen", upstream)
