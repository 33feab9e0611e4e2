"""Each of 24 conventions and units on three rigs: read rightly it is taken, read in the usual way it is refused.

`bench/probe.py` has the rigs and reads every one in every way: 576 readings for each rig and noise. Here is a part.
"""

from __future__ import annotations

import dataclasses

import pytest

from bench.probe import READINGS, RIGS, USUAL, cases, misread, outcome
from meshdrop.models.formats.sidecar import Sidecar
from meshdrop.models.probe.probe import Reading, probe
from tests.unit.models.synthetic import ANIMAL, capture_of


def test_there_are_24_and_three_rigs() -> None:
    assert (len(set(READINGS)), len(RIGS)) == (24, 3)


@pytest.fixture(scope="module")
def told() -> dict[tuple[str, Reading, Reading], str]:
    """With 3 mm of noise and a fifth of the depth missing: what became of each file."""
    return {(case.rig, case.truth, case.reading): outcome(case, result) for case, result in cases((USUAL,), (0.003,))}


@pytest.mark.parametrize("rig", RIGS)
def test_the_right_reading_is_taken_and_the_usual_one_refused_where_it_is_wrong(
    told: dict[tuple[str, Reading, Reading], str], rig: str
) -> None:
    for truth in READINGS:
        assert told[rig, truth, truth] == "right", truth
        if truth != USUAL:
            assert told[rig, truth, USUAL] == "refused with the true line", truth


def test_a_probe_that_overlooked_it_would_be_caught() -> None:
    """The judge of the two tests above is given the answer of a probe that found nothing wrong."""
    case, result = next(pair for pair in cases((USUAL,), (0.003,)) if not pair[0].is_true)
    assert outcome(case, dataclasses.replace(result, verdict="verified", problem=None)) == "WRONG"
    assert outcome(case, dataclasses.replace(result, problem=None)) == "refused with another or no line"


def test_reading_a_file_as_it_was_written_gives_the_cameras_back() -> None:
    """The misreading itself: only the truth undoes what the writer did."""
    true = capture_of(ANIMAL, RIGS["front arc"])
    for reading in READINGS:
        again = misread(true, reading, reading)
        assert abs(again.views[2].camera.c2w - true.views[2].camera.c2w).max() < 1e-12
    twisted = misread(true, READINGS[-1], USUAL)
    assert abs(twisted.views[2].camera.c2w - true.views[2].camera.c2w).max() > 0.5
    assert probe(twisted, Sidecar()).verdict == "contradicted"
