"""Ten thousand damaged files in one reader: each ends as a value, and the process that reads them lives."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from meshdrop.daemon.inbox.intake import _READER_MEMORY_MIB
from meshdrop.models.probe.inspection import Inspection, inspect
from tests.mutants import FATAL, Mutant, Tally, good_captures, judge, write

ROOT = Path(__file__).parents[2]
COUNT = 10_000


def documented_codes() -> set[str]:
    """The first column of the table of refusals."""
    text = (ROOT / "docs/capture-format.md").read_text(encoding="utf-8")
    table = text[text.index("## What is refused") :].split("\n## ")[0]
    return {
        code.strip(" `")
        for line in table.splitlines()
        if line.startswith("| `")
        for code in line.split("|")[1].split(",")
    }


def test_ten_thousand_mutants_end_no_process(tmp_path: Path) -> None:
    """In one child that is limited like a reader. ``MESHDROP_SEED`` chooses others; a failure names its mutant."""
    seed = os.environ.get("MESHDROP_SEED", "20261121")
    print(f"MESHDROP_SEED={seed}")
    ended = subprocess.run(
        [sys.executable, "-m", "tests.mutants", seed, str(COUNT), str(tmp_path), str(_READER_MEMORY_MIB)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    tally = json.loads(ended.stdout)
    print(tally)
    assert tally["mutants"] >= COUNT
    assert tally["limits"] == {"RLIMIT_AS": _READER_MEMORY_MIB << 20, "RLIMIT_CPU": 900}
    assert not tally["marker"], "an impostor was loaded as what it pretends to be"
    assert set(tally["codes"]) <= documented_codes()
    # The mutants are of use only if some get all the way through, and some to each of the inner checks.
    assert tally["accepted"] > 50
    assert {"png_crc", "png_decode", "idat_short", "idat_long", "sidecar", "calib", "semantic"} <= set(tally["codes"])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], Inspection]:
    folder = tmp_path_factory.mktemp("mutants")
    good = good_captures(folder)["rig"]
    write(folder / "rig", good)
    return good, inspect(folder / "rig")


@pytest.mark.parametrize("mutation", FATAL, ids=lambda mutation: mutation.__name__)
def test_a_reader_that_overlooked_damage_would_be_caught(
    mutation: Callable[[bytes, random.Random], bytes], sound: tuple[dict[str, bytes], Inspection]
) -> None:
    """The judge is given a damaged file and the answer of a reader that noticed nothing."""
    good, answer = sound
    content = mutation(good["views/front.png"], random.Random(1))
    with pytest.raises(AssertionError, match="was accepted"):
        judge({"views/front.png": Mutant(content, "damage", fatal=True)}, good, answer, Tally())
