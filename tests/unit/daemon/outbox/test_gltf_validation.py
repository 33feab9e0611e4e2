"""A GLB that breaks the standard: what it costs, what is said, and what the doctor says beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.doctor.checks import formats as check_formats
from meshdrop.daemon.outbox.assess import judge, with_validation
from meshdrop.daemon.outbox.gltf_validation import objection
from meshdrop.daemon.reporting.facts import ModelReport
from meshdrop.models.mesh.gltf_engines import NODE, Engine, validator_version
from meshdrop.models.mesh.gltf_validation import CURE, MISSING, Validation, ValidationMessage, no_engine
from tests.figures import quality
from tests.reports import model_of

MESSAGE = ValidationMessage("pbr.glb", "error", "ACCESSOR_INDEX_OOB", "Index 9.", "")
PASSED = Validation("passed")


def broken(errors: int = 1, **changes: Any) -> Validation:
    return Validation("failed", errors=errors, messages=(MESSAGE,), **changes)


def model(verdict: str, psnr: float | None = 30.0, validation: Validation = PASSED) -> ModelReport:
    facts = {"state": "ok", "verdict": verdict, "reason": "", "notes": ["first"]}
    return with_validation(model_of({**facts, "measured": {"quality": quality(psnr_masked_db=psnr)}}), validation)


@pytest.mark.parametrize(("before", "after"), [("normal", "warning"), ("warning", "warning"), ("failure", "failure")])
def test_a_broken_file_is_a_warning_at_best(before: str, after: str) -> None:
    told = model(before, validation=broken())
    assert told.verdict == after
    assert told.notes == ("first", objection(broken()))
    assert told.validation == broken()


@pytest.mark.parametrize("validation", [no_engine(), PASSED])
def test_what_is_valid_or_unknown_changes_no_verdict(validation: Validation) -> None:
    told = model("normal", validation=validation)
    assert (told.verdict, told.notes, told.validation) == ("normal", ("first",), validation)


def test_the_sentence_names_file_count_and_first_error() -> None:
    assert "pbr.glb breaks the glTF standard (1 error by" in str(objection(broken()))
    assert "ACCESSOR_INDEX_OOB, Index 9." in str(objection(broken()))
    assert "(at least 10,000 errors by" in str(objection(broken(10_000, truncated=True)))


def test_among_equals_the_valid_one_is_named() -> None:
    models = {"sharp": model("normal", 33.0, broken()), "sound": model("warning", 24.0)}
    assert judge(models).best == "sound"
    assert judge({**models, "good": model("normal", 26.0)}).best == "good"
    assert judge({"sharp": models["sharp"]}).verdict == "warning"


def test_the_doctor_names_the_engine_or_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_formats, "engine", lambda: Engine(NODE, lambda path: None))  # type: ignore[arg-type,return-value]
    assert check_formats.validator().result == "ok"
    assert check_formats.validator().says == f"Node runs the Khronos validator {validator_version()}"
    monkeypatch.setattr(check_formats, "engine", lambda: None)
    line = check_formats.validator()
    assert (line.result, line.says, line.fix) == ("warn", MISSING, CURE)


@pytest.mark.parametrize(
    ("asked", "is_there", "result"), [((), False, "ok"), (("usdz",), True, "ok"), (("usdz",), False, "warn")]
)
def test_the_doctor_knows_a_format_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...], is_there: bool, result: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if is_there else None)
    line = check_formats.formats(Settings(root=tmp_path, extra_formats=asked))
    assert line.result == result
    assert ("usd" in line.fix) is (result == "warn")
