"""How the page tells which way is up."""

from __future__ import annotations

from typing import Any

import pytest

from meshdrop.daemon.reporting.facts import ModelReport
from meshdrop.daemon.reporting.standing import standing
from meshdrop.models.axes.stance import Stance
from meshdrop.models.measure.figures import ModelMeasurement
from meshdrop.models.mesh.facts import MeshFacts


def model(asset: Any) -> ModelReport:
    corner = (0.0, 0.0, 0.0)
    return ModelReport(
        "ok", measured=ModelMeasurement(files=MeshFacts({}, 0, 0, 0, (1, 1), 0.0, 0.0, 0.0, (corner, corner), asset))
    )


def test_up_its_reason_the_origin_and_the_way_back_are_told() -> None:
    asset = Stance((0.0, 0.0, 1.0), (500_000.0, 5_000_000.0, 0.5)).facts()
    words = standing(model({**asset, "world_up_says": "as world_up states it"}))
    assert words is not None
    assert words.sentence.startswith("Up is +Z of the capture's world, as world_up states it. ")
    assert "(500000, 5000000, 0.5) m" in words.sentence
    assert words.matrix == ("1  0  0  500000", "0  0  -1  5000000", "0  1  0  0.5", "0  0  0  1")


def test_a_mesh_that_stood_already_was_not_turned() -> None:
    words = standing(model(Stance().facts()))
    assert words is not None
    assert "Up is +Y of the capture's world." in words.sentence
    assert "node" not in words.sentence


@pytest.mark.parametrize(
    "asset", [None, {}, {"world_up": [0, 1, 0]}, {"world_up": "+z", "to_capture_world": []}, {"to_capture_world": 3}]
)
def test_files_that_say_nothing_are_no_reason_for_words(asset: Any) -> None:
    assert standing(model(asset)) is None
    assert standing(ModelReport("ok")) is None
