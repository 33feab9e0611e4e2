"""A job as the record gives it, for whatever is told of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from meshdrop.db.records import Job
from meshdrop.db.states import State

_FAILING = Job(
    id="0" * 32,
    name=b"chair",
    state=State.FAIL_PENDING,
    priority=0,
    fingerprint="",
    digest=None,
    ingest_tries=1,
    put_back=0,
    attempt=1,
    refunds=0,
    finish_tries=0,
    boot_id=None,
    models=None,
    not_before=0,
    dest=None,
    reason_code="capture",
    reason="the reason",
    verdict=None,
    best_model=None,
    inspection=None,
    created_at=0.0,
    queued_at=None,
    started_at=None,
    finished_at=None,
)


def failing_job(**facts: Any) -> Job:
    """One whose first attempt came to nothing and that is not published yet, but for these facts."""
    return replace(_FAILING, **facts)
