"""Where a generated mesh was placed, and how sure that is, in words for people.

The figures are those of ``models.registration.register.Registration``, as a model's ``figures.registration``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from meshdrop.daemon.reporting.facts import ModelReport

#: Those of ``models.registration.register``, which the service does not import: a test holds them together.
LEAST_IOU, AMBIGUOUS = 0.90, 0.01

Sureness = Literal["sure", "unsure", "not placed"]


@dataclass(frozen=True)
class PlacementWords:
    """One mesh's placement: a word for the badge, and sentences. ``sureness`` chooses the colour."""

    sureness: Sureness
    word: str
    sentences: tuple[str, ...]


def placement(model: ModelReport) -> PlacementWords | None:
    """The words for a model of report.json; None for models that work in the capture's frame from the start."""
    found = model.figures.get("registration")
    found = found if isinstance(found, Mapping) else {}
    if model.registered is False:
        reason = str(found.get("reason") or "The model gave no reason.")
        return PlacementWords(
            "not placed",
            "Not placed",
            (
                "This mesh could not be brought into the capture's frame.",
                reason,
                "Place, turn and size are the generator's own, not metres, and it was not compared with the "
                "photographs. To look at it is fine; to measure on it is not.",
            ),
        )
    if found.get("status") != "registered":
        return None
    margin = _number(found, "margin")
    sure = margin is None or margin >= AMBIGUOUS
    word = "Clear" if sure else "Ambiguous"
    return PlacementWords("sure" if sure else "unsure", word, (_agreement(found), _rival(found, margin)))


def _agreement(found: Mapping[str, Any]) -> str:
    iou, depth_m, share = (_number(found, key) for key in ("iou", "depth_median_m", "depth_median_share"))
    against = "the measured depth" if found.get("target") == "depth" else "the hull of the masks: there was no depth"
    parts = [f"The mesh was generated without a place and then matched to {against}."]
    if iou is not None:
        parts.append(
            f"Its outlines and the masks overlap by {100 * iou:.1f} % (intersection over union; higher is better, "
            f"{100 * LEAST_IOU:.0f} % is the least)."
        )
    if depth_m is not None:
        of_size = "" if share is None else f", {100 * share:.2f} % of the object's size"
        within = f"{1000 * depth_m:.2f} mm of it{of_size}"
        parts.append(f"Half of the measured depth lies within {within} (lower is better).")
    return " ".join(parts)


def _rival(found: Mapping[str, Any], margin: float | None) -> str:
    if margin is None:
        return "How sure: every start of the search ended in this one pose; no other one fits."
    degrees, iou = _number(found, "runner_up_degrees"), _number(found, "runner_up_iou")
    turned = "" if degrees is None else f", turned by {degrees:.0f}°"
    overlap = "" if iou is None else f" (its outlines overlap by {100 * iou:.1f} %)"
    points = f"{100 * abs(margin):.1f} points"
    if margin >= AMBIGUOUS:
        return (
            f"How sure: the next best pose{turned}, agrees {points} less{overlap}; "
            f"{100 * AMBIGUOUS:.0f} point or more is clear."
        )
    amount = f"only {points} less" if margin >= 0 else f"even {points} better"
    return (
        "How sure: by its shape alone it could also stand otherwise. "
        f"Another pose{turned}, agrees {amount}{overlap}. {_decided(found)}"
    )


def _decided(found: Mapping[str, Any]) -> str:
    chosen, other = _number(found, "likeness"), _number(found, "runner_up_likeness")
    if chosen is None:
        return "Nothing decided between the two: compare the views below before you rely on the orientation."
    against = "" if other is None else f" against {other:.2f}"
    return (
        f"The photographs decided: the colours correlate with them to {chosen:.2f}{against} (1 is perfect). "
        "Compare the views below before you rely on the orientation."
    )


def _number(found: Mapping[str, Any], key: str) -> float | None:
    value = found.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
