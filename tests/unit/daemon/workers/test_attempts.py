"""What a model's answer may say. A stranger's pixels were in that process: words are looked at before they count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.outbox.assess import graded, judge
from meshdrop.daemon.reporting.facts import ModelReport
from meshdrop.daemon.workers.answers import DEEPEST, value_of
from meshdrop.daemon.workers.attempts import RESULT, ModelAnswer
from meshdrop.models.measure.figures import Measurement
from tests.figures import quality

FILES = {"mesh.glb": {"size": 4, "sha256": "ab"}}


def nested(levels: int) -> Any:
    told: Any = "deep"
    for _ in range(levels):
        told = {"in": told}
    return told


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (None, "the whole"),
        ({}, "files: Field required"),
        ({"files": {}}, "vouches for none"),
        ({"files": ["mesh.glb"]}, "files"),
        ({"files": {"mesh.glb": None}}, "files.mesh.glb"),
        ({"files": {"../mesh.glb": FILES["mesh.glb"]}}, "no plain file name"),
        ({"files": {".mesh.glb": FILES["mesh.glb"]}}, "no plain file name"),
        ({"files": FILES, "notes": "one"}, "notes"),
        ({"files": FILES, "notes": [None]}, "notes.0"),
        ({"files": FILES, "figures": [1]}, "figures"),
        ({"files": FILES, "settings": "x"}, "settings"),
        ({"files": FILES, "asset": {"licences": 3}}, "asset.licences"),
        ({"files": FILES, "seconds": "soon"}, "seconds"),
        ({"files": FILES, "registered": "perhaps"}, "registered"),
        ({"files": FILES, "figures": nested(DEEPEST + 1)}, "nested more than"),
    ],
)
def test_an_answer_that_is_none_is_refused_with_what_is_wrong(told: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ModelAnswer.from_json(told)


def test_an_answer_decides_nothing_that_is_not_its_to_say(tmp_path: Path) -> None:
    """It once stood in the report in place of what the service knew: a model could call itself failed, or good."""
    told = {"files": FILES, "state": "failed", "verdict": "normal", "psnr_masked_db": 99.0, "reason": "x"}
    (tmp_path / RESULT).write_text(json.dumps(told), encoding="ascii")
    assert ModelAnswer.read(tmp_path) == ModelAnswer.from_json({"files": FILES})


def test_numbers_that_are_none_were_not_taken() -> None:
    told = json.loads('{"files": {"a": {"size": 1, "sha256": "b"}}, "seconds": NaN, "figures": {"x": [Infinity]}}')
    answer = ModelAnswer.from_json(told)
    assert (answer.seconds, answer.figures) == (None, {"x": [None]})


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"models": []},
        {"models": {"fusion": {"quality": {"mean": {}, "held_out": None, "views": []}}}},
        {"models": {"fusion": {"quality": quality(psnr_masked_db="high")}}},
        {"models": {"fusion": {"error": "broken"}}},
        {"models": {"fusion": {"pictures": 3}}},
    ],
)
def test_a_measurement_that_makes_no_sense_is_none(told: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"models|Field"):
        value_of(Measurement, told)


def test_a_mesh_that_nobody_could_measure_is_not_delivered() -> None:
    error = {"code": "garbage", "message": "measuring failed: nonsense", "fix": "Again."}
    measured = value_of(Measurement, {"models": {"fusion": {"error": error}}}).models["fusion"]
    found = judge({"fusion": graded(ModelReport("ok", measured=measured))})
    assert (found.verdict, found.best, found.code) == ("failure", None, "results")
    assert found.reason == "measuring failed: nonsense"
