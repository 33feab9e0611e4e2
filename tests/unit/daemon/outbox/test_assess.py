"""What a job is worth: the grades, and the sentence for a mesh that is not good enough."""

from __future__ import annotations

import pytest

from meshdrop.daemon.outbox.assess import graded, judge
from meshdrop.daemon.reporting.grades import GRADES, grade, least
from tests.reports import model_of, quality


@pytest.mark.parametrize(
    ("psnr", "ssim", "verdict"),
    [
        (25.0, 0.85, "normal"),
        (24.99, 0.99, "warning"),
        (60.0, 0.8499, "warning"),
        (20.0, 0.75, "warning"),
        (19.99, 1.0, "failure"),
        (60.0, 0.7499, "failure"),
        (None, 0.9, "failure"),
        (30.0, None, "failure"),
    ],
)
def test_both_figures_must_hold(psnr: float | None, ssim: float | None, verdict: str) -> None:
    assert grade(psnr, ssim) == verdict


def test_the_least_figures_are_those_of_the_grades() -> None:
    assert [least(verdict) for verdict, *_ in GRADES] == ["25 dB and SSIM 0.85 or more", "20 dB and SSIM 0.75 or more"]
    with pytest.raises(ValueError, match="failure"):
        least("failure")


def test_a_mesh_that_fails_by_its_structure_alone_is_told_so() -> None:
    """Saying only that 26 dB are more than the 20 that are asked for would help nobody."""
    blurred = {"quality": quality(psnr_masked_db=26.0, ssim_masked=0.61)}
    found = judge({"fusion": graded(model_of({"state": "ok", "reason": "", "measured": blurred}))})
    assert (found.verdict, found.best, found.code) == ("failure", None, "quality")
    assert found.reason == (
        "fusion reaches 26.0 dB and SSIM 0.610 on the object; a usable mesh has 20 dB and SSIM 0.75 or more."
    )
