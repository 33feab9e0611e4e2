"""What a job is worth: the answers become one verdict, and the sentences for a mesh that is not good enough."""

from __future__ import annotations

from typing import Any

from meshdrop.daemon.base.failures import FAILURES
from meshdrop.daemon.outbox.assess import graded, judge
from meshdrop.daemon.reporting.facts import ModelReport
from tests.figures import quality, view
from tests.reports import model_of


def measured(told: dict[str, Any] | None) -> ModelReport:
    return graded(model_of({"state": "ok", "reason": "", "measured": {"quality": told}}))


def test_a_mesh_that_fails_is_told_in_which_question_and_by_how_much() -> None:
    far = {"within_tolerance": 0.02, "median_mm": 445.2, "bias_mm": -445.2}
    found = judge({"fusion": measured(quality(view("front", depth=far), view("left", depth=far)))})
    assert (found.verdict, found.best, found.code) == ("failure", None, "quality")
    assert found.reason == (
        "fusion, depth: 2.0 % of the measured depth lies within 4.00 mm of the mesh, half of it within 445 mm; "
        "the mesh lies 445 mm before it; in front it is off by 445.2 times the view's resolution; "
        "a usable mesh has 25.0 %.\nThe view that agrees least is front."
    )


def test_nobody_is_blamed_without_evidence() -> None:
    """Masks and cameras are not measured here: the sentences for a failed mesh name neither as its cause."""
    told = FAILURES["quality"].says + FAILURES["quality"].fix
    assert "camera" not in told
    assert "mask" not in told


def test_a_mesh_that_was_not_compared_is_a_warning() -> None:
    astray = measured(None)
    assert (astray.verdict, astray.judged) == ("warning", None)


def test_the_best_of_several_is_the_one_whose_worst_answer_is_best() -> None:
    """However close its colours are."""
    hollow = measured(quality(view("front", coverage=0.9), psnr_masked_db=40.0))
    found = judge({"hollow": hollow, "whole": measured(quality(psnr_masked_db=18.0))})
    assert (found.verdict, found.best) == ("normal", "whole")
