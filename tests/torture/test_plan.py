"""The table of docs/reliability.md against the parts that there are."""

from __future__ import annotations

import re

from tests.rig import REPOSITORY
from tests.torture import plan


def test_every_part_is_explained_and_nothing_else_is() -> None:
    page = (REPOSITORY / "docs/reliability.md").read_text(encoding="utf-8")
    table = page.partition("## How it is tested")[2].partition("## What it found")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == list(plan.PARTS)
