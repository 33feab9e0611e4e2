"""The tables, typed. One row a job, one a model run, one an event."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from meshdrop.db.states import State


class Base(DeclarativeBase):
    """Metadata of all tables."""

    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012 - SQLAlchemy's own convention


_STATES = ", ".join(f"'{state}'" for state in State)


class JobRow(Base):
    """One accepted (or attempted) capture folder. Times are Unix seconds in UTC, for display only."""

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint(f"state IN ({_STATES})", name="job_state_known"),
        # Two folders of one name cannot be claimed at once; a queued job does not block a new drop of its name.
        Index("job_one_claim_per_name", "name", unique=True, sqlite_where=text("state = 'CLAIMING'")),
        Index("job_by_state", "state", "priority", "queued_at"),
        Index("job_by_end", "finished_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    #: Folder name in the inbox as raw bytes: names need not be valid UTF-8.
    name: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str]
    priority: Mapped[int] = mapped_column(default=0)
    #: Digest of names, sizes and times as seen in the inbox.
    fingerprint: Mapped[str]
    #: SHA-256 over the content of every accepted file.
    digest: Mapped[str | None]
    ingest_tries: Mapped[int] = mapped_column(default=1)
    #: How often the folder was put back because it changed while it was read.
    put_back: Mapped[int] = mapped_column(default=0)
    attempt: Mapped[int] = mapped_column(default=0)
    refunds: Mapped[int] = mapped_column(default=0)
    #: How often measuring and staging the result was begun.
    finish_tries: Mapped[int] = mapped_column(default=0)
    boot_id: Mapped[str | None]
    #: Models asked for by the capture, or NULL for the configured ones.
    models: Mapped[list[str] | None]
    #: Not before this Unix time (back-off after a failed attempt).
    not_before: Mapped[float] = mapped_column(default=0.0)
    #: Folder name in outbox/ or failed/.
    dest: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Code of the error table, and the sentence for people.
    reason_code: Mapped[str | None]
    reason: Mapped[str | None]
    verdict: Mapped[str | None]
    best_model: Mapped[str | None]
    inspection: Mapped[dict[str, Any] | None]
    created_at: Mapped[float]
    queued_at: Mapped[float | None]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class ModelRunRow(Base):
    """One model in one attempt of one job."""

    __tablename__ = "model_run"
    __table_args__ = (
        CheckConstraint("state IN ('ok', 'failed', 'skipped')", name="model_run_state_known"),
        Index("model_run_by_job", "job_id", "attempt"),
        Index("model_run_by_model", "model", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    model: Mapped[str]
    state: Mapped[str]
    started_at: Mapped[float | None]
    seconds: Mapped[float | None]
    #: For failed and skipped runs: the class of the retry table, the sentence, and what would cure it.
    error_class: Mapped[str | None]
    reason: Mapped[str | None]
    fix: Mapped[str | None]
    #: Everything else that was measured: peak memory, quality, settings, versions.
    figures: Mapped[dict[str, Any] | None]


class EventRow(Base):
    """What happened to a job, in order. Written in the same transaction as the change it tells of."""

    __tablename__ = "event"
    __table_args__ = (Index("event_by_job", "job_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    at: Mapped[float]
    kind: Mapped[str]
    detail: Mapped[dict[str, Any] | None]


class MessageRow(Base):
    """Something that is to be told to a program or a person outside: until it is delivered, or given up."""

    __tablename__ = "message"
    __table_args__ = (
        Index("message_once", "channel", "about", unique=True),
        Index("message_waiting", "channel", "id", sqlite_where=text("delivered_at IS NULL AND given_up_at IS NULL")),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    #: Which receiver: ``webhook``, or ``notify.`` and eight characters that stand for one address.
    channel: Mapped[str]
    #: What it tells of, the same at every try: a job's id and its end, or the day of a digest.
    about: Mapped[str]
    job_id: Mapped[str | None] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    #: The very text that is sent.
    body: Mapped[str]
    created_at: Mapped[float]
    tries: Mapped[int] = mapped_column(default=0)
    #: Not before this Unix time (back-off after a try that failed).
    not_before: Mapped[float] = mapped_column(default=0.0)
    delivered_at: Mapped[float | None]
    given_up_at: Mapped[float | None]
    #: HTTP status of the last answer, and what was wrong with the last try; never an address.
    status: Mapped[int | None]
    trouble: Mapped[str | None]


class ServiceClockRow(Base):
    """How much time has passed, and the machine's clocks when that was last counted. One row."""

    __tablename__ = "service_clock"

    id: Mapped[int] = mapped_column(primary_key=True)
    #: Seconds that were measured, and seconds that the machine was off for, as dates that can be trusted tell.
    up_s: Mapped[float]
    off_s: Mapped[float]
    #: Which start of the machine it was, how long ago that had been, and Unix seconds.
    boot_id: Mapped[str]
    since_boot_s: Mapped[float]
    wall: Mapped[float]
    #: 1 where something kept the clock right.
    steered: Mapped[int]


class EndRow(Base):
    """Where on that count a job ended: its age is what was counted since."""

    __tablename__ = "job_end"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    up_s: Mapped[float]
    off_s: Mapped[float]
