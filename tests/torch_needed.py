"""Tests that need torch: marked ``torch``, and skipped with one sentence where it is not installed.

A file that needs it at its top says ``torch_or_skip()`` and then ``import torch``, which the type check reads too; a
single test carries ``@pytest.mark.torch``. The hooks in ``tests/conftest.py`` do the rest, so ``make test-torch`` runs
exactly what ``make test`` skips for its lack.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest

NO_TORCH = "torch is not installed: make test-torch"


def torch_or_skip() -> None:
    """Where torch is absent, the file that asks is skipped."""
    __tracebackhide__ = True  # the line that asks is told, not this one
    pytest.importorskip("torch", reason=NO_TORCH)


def is_installed() -> bool:
    """Without importing it."""
    return importlib.util.find_spec("torch") is not None


def asks_at_its_top(module: ModuleType | None) -> bool:
    """Whether this test file holds torch."""
    torch = getattr(module, "torch", None)
    return torch is not None and torch is sys.modules.get("torch")
