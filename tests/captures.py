"""Where the captures with ground truth are, for the tests and benchmarks that want them.

They are too large to ship. `MESHDROP_TEST_CAPTURES` names their folder; without it the folder `shared/captures`
beside the checkout is tried, and tests that need it skip with the reason.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("MESHDROP_TEST_CAPTURES") or Path(__file__).resolve().parents[2] / "shared" / "captures")


def ground_truth(name: str) -> Path:
    """The folder of capture ``name`` (with ``capture/`` and ``truth/`` inside); skips the test where it is absent."""
    folder = ROOT / name
    if not folder.is_dir():
        pytest.skip(f"no captures with ground truth at {ROOT}; set MESHDROP_TEST_CAPTURES")
    return folder
