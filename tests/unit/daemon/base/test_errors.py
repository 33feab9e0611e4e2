"""The error catalogue: every entry tells a person what to do next."""

from __future__ import annotations

import pytest

from meshdrop.daemon.base.failures import FAILURES
from meshdrop.daemon.base.tries import MAX_ATTEMPTS
from meshdrop.daemon.outbox.bundle import why_text
from meshdrop.db.records import Job, ModelRun
from meshdrop.models.contract.failures import RUN_FAILURES
from tests.jobs import failing_job


@pytest.mark.parametrize("code", sorted(FAILURES))
def test_every_why_says_what_happened_and_what_to_do_next(code: str) -> None:
    run = ModelRun("fusion", 1, "failed", error_class="crash", reason="it died", fix="read log")
    text = why_text(job(code), [run], {})
    advice = text.split("What to do next:\n")[1].split("\n\n")[0]
    assert text.splitlines()[0] == f"chair\\nleg: {FAILURES[code].says}"
    assert " ".join(advice.split()) == FAILURES[code].fix
    assert len(FAILURES[code].fix) > 20
    assert "fusion failed: it died" in text


@pytest.mark.parametrize("kind", sorted(RUN_FAILURES))
def test_every_failure_of_a_run_has_a_sentence_a_cure_and_fewer_retries_than_attempts(kind: str) -> None:
    failure = RUN_FAILURES[kind]
    assert failure.says
    assert failure.fix
    assert 0 <= failure.retries < MAX_ATTEMPTS


def job(code: str) -> Job:
    """A failed job whose name has a line break in it."""
    return failing_job(name=b"chair\nleg", reason_code=code, reason=None)


def test_what_a_model_printed_commands_no_terminal() -> None:
    """Whoever reads WHY.txt with `cat` must not have his screen cleared by it."""
    run = ModelRun("fusion", 1, "failed", reason="a\x1b[2Jb\nc\u202ed", fix="e")
    assert "fusion failed: a\\x1b[2Jb c\\u202ed" in why_text(job("models"), [run], {})
