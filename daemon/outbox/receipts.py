"""What the receipt in a delivered folder vouches for. Anybody may write one: it is believed file by file, by size."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from meshdrop.daemon.base.places import shown
from meshdrop.models.files import walk
from meshdrop.models.files.entries import Fact
from meshdrop.models.files.names import RECEIPT, is_own_output

SCHEMA = "meshdrop.receipt/1"
#: Bytes of a receipt: some hundred thousand files.
_MOST = 16 << 20


def read_shared(path: Path) -> dict[str, Any]:
    """A JSON object from the share; empty when there is none, or when it is not what we would have written."""
    try:
        with open(walk.reach(path, walk.FILE), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MOST:
                return {}
            told = json.loads(file.read(_MOST))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def lists(receipt: Mapping[str, Any], name: str, size: int) -> bool:
    """Whether a receipt names this file with this size."""
    files = receipt.get("files")
    # Receipts of earlier versions have names as they are shown.
    told = files.get(name, files.get(shown(os.fsencode(name)))) if isinstance(files, dict) else None
    return isinstance(told, dict) and told.get("size") == size


def earlier_results(folder: Path, custom: Collection[str]) -> Callable[[Fact], bool] | None:
    """Which files of a folder that came back from us an earlier delivery wrote: old results, those of the ``custom``
    models too, and the receipt itself, but not what somebody has put beside them under such a name. None for a folder
    without a receipt of ours."""
    receipt = read_shared(folder / RECEIPT)
    if receipt.get("schema") != SCHEMA:
        return None
    return lambda fact: (
        fact.path == RECEIPT or (is_own_output(fact.path, custom) and lists(receipt, fact.path, fact.size))
    )
