"""The verbs: the only place where a job changes state. Each is one transaction and leaves an event behind."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import func, insert, or_, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from meshdrop.db import messages
from meshdrop.db.clocks import Clocks, read_clocks
from meshdrop.db.engine import Database
from meshdrop.db.records import (
    LONGEST_PAUSE_S,
    InLine,
    Job,
    ModelRun,
    as_job,
    line_up,
    live_jobs,
    newest_of_name,
    recent_jobs,
    runs_of,
)
from meshdrop.db.rig_history import Earlier, last_like
from meshdrop.db.service_clock import Passed, count, count_at_end, note_end
from meshdrop.db.states import PUBLISHED, State, check_move
from meshdrop.db.tables import EventRow, JobRow, ModelRunRow

#: A waiting job gains one point of priority in this many seconds, so that nothing starves behind a rush.
AGEING_S = 600.0


@dataclass(frozen=True)
class Placement:
    """Where the folders of a job prove it to be. ``name`` is for one that the record has lost, which is written down
    again; ``values`` are the columns that the folders tell.
    """

    job_id: str
    state: State
    name: bytes
    values: Mapping[str, Any]


#: What has not happened to a new job, and what is not known of it.
_NONE_YET: dict[str, Any] = {
    "priority": 0,
    "ingest_tries": 0,
    "put_back": 0,
    "attempt": 0,
    "refunds": 0,
    "finish_tries": 0,
    "not_before": 0.0,
}
_UNKNOWN: dict[str, Any] = dict.fromkeys(field.name for field in fields(Job))


class NoSuchJob(LookupError):
    """No job has this id."""


class NameBeingClaimed(Exception):
    """A folder of the same name is being read right now; the new one waits for its turn."""


def new_id() -> str:
    """A fresh job id: 32 hexadecimal characters."""
    return uuid.uuid4().hex


class Jobs:
    """The job record behind one writing connection. ``now`` gives Unix seconds; ``clocks`` is what ages are counted by.

    ``bodies`` gives what is to be told outside about a job that was published: a text for each channel. It is noted in
    the transaction that publishes, so that neither is ever without the other.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], float] = time.time,
        bodies: Callable[[Job], Mapping[str, str]] = lambda _: {},
        clocks: Clocks = read_clocks,
    ) -> None:
        self._db = database
        self._now = now
        self._clocks = clocks
        self._bodies = bodies

    # -- intake ---------------------------------------------------------------------------------------------------

    def claim(self, name: bytes, fingerprint: str) -> Job:
        """Record the intent to take the folder ``name`` out of the inbox.

        Raises ``NameBeingClaimed`` when another folder of this name is in the state CLAIMING.
        """

        def work(session: Session) -> Job:
            # Plain inserts: thousands of folders may come at once, and the unit of work would double their cost.
            values = {"id": new_id(), "name": name, "state": State.CLAIMING, "fingerprint": fingerprint, **_NONE_YET}
            now = self._now()
            session.execute(insert(JobRow).values(**values, created_at=now))
            session.execute(insert(EventRow).values(job_id=values["id"], at=now, kind="claiming"))
            return Job(**{**_UNKNOWN, **values, "created_at": now})

        try:
            return self._db.write(work)
        except IntegrityError as error:
            raise NameBeingClaimed(_shown(name)) from error

    def was_put_back(self, name: bytes, within_s: float = 3600.0) -> bool:
        """Whether a folder of this name was put back lately because it changed while it was read."""
        since = self._now() - within_s
        found = select(func.count()).where(JobRow.name == name, JobRow.put_back > 0, JobRow.created_at > since)
        return bool(self._db.read(lambda session: session.scalar(found)))

    def read(self, job_id: str) -> Job:
        """Count one more try at reading a claimed folder, before it is read."""
        return self._change(job_id, None, "reading", lambda row: _set(row, ingest_tries=row.ingest_tries + 1))

    def abandon(self, job_id: str, why: str, *, put_back: bool = False) -> Job:
        """Give a claim up: nothing was taken, or (``put_back``) the folder goes back into the inbox."""
        return self._change(
            job_id, State.ABANDONED, "abandoned", lambda row: _set(row, put_back=row.put_back + put_back), why=why
        )

    def adopt(self, job_id: str, fingerprint: str) -> Job:
        """Take up an abandoned claim whose folder is still in the spool: it was not put back."""
        return self._change(
            job_id,
            State.CLAIMING,
            "adopted",
            lambda row: _set(row, fingerprint=fingerprint, put_back=max(row.put_back - 1, 0)),
        )

    def queue(
        self, job_id: str, digest: str, inspection: dict[str, Any], models: Sequence[str] | None, priority: int
    ) -> Job:
        """The capture is copied, checked and ready to run."""
        now = self._now()
        return self._change(
            job_id,
            State.QUEUED,
            "queued",
            lambda row: _set(
                row,
                digest=digest,
                inspection=inspection,
                models=None if models is None else list(models),
                priority=priority,
                queued_at=now,
            ),
            priority=priority,
        )

    # -- the loop -------------------------------------------------------------------------------------------------

    def next_ready(self) -> Job | None:
        """The queued job whose turn it is: highest priority, aged by waiting time, then the oldest."""

        def work(session: Session) -> Job | None:
            now = self._now()
            latest = now + LONGEST_PAUSE_S
            row = session.scalars(
                select(JobRow)
                .where(
                    JobRow.state == State.QUEUED,
                    or_(JobRow.not_before <= now, JobRow.not_before > latest),
                    # Asked for while it was read: whoever queued it rejects it next.
                    JobRow.reason_code.is_distinct_from("cancelled"),
                )
                .order_by((JobRow.priority + (now - JobRow.queued_at) / AGEING_S).desc(), JobRow.created_at)
                .limit(1)
            ).first()
            return None if row is None else as_job(row)

        return self._db.read(work)

    def start(self, job_id: str, boot_id: str) -> Job:
        """Begin an attempt. Its number is counted here, before anything runs, so that a crash is counted too."""
        now = self._now()
        return self._change(
            job_id,
            State.RUNNING,
            "started",
            lambda row: _set(row, attempt=row.attempt + 1, boot_id=boot_id, started_at=now),
        )

    def requeue(self, job_id: str, why: str, *, delay_s: float = 0.0, refund: bool = False) -> Job:
        """Back to the queue; ``refund`` gives the attempt back (a stop or a cancelled machine is not its fault)."""
        not_before = self._now() + delay_s
        return self._change(
            job_id,
            State.QUEUED,
            "requeued",
            lambda row: _set(row, not_before=not_before, attempt=row.attempt - refund, refunds=row.refunds + refund),
            why=why,
            delay_s=delay_s,
            refund=refund,
        )

    def ask_cancel(self, job_id: str) -> Job:
        """Note that a running job is to be cancelled; it is rejected once its processes have ended."""
        return self._change(job_id, None, "cancel asked", lambda row: _set(row, reason_code="cancelled"))

    def finish(self, job_id: str) -> Job:
        """Count one more try at measuring and staging a finished attempt, before it is begun."""
        return self._change(job_id, None, "finishing", lambda row: _set(row, finish_tries=row.finish_tries + 1))

    def give_tries_back(self, before: Job) -> Job:
        """The tries at reading and finishing as they stood ``before``: what was begun since then came to no end that
        the job is to blame for.
        """

        def work(session: Session) -> Job:
            row = _row(session, before.id)
            if (row.ingest_tries, row.finish_tries) != (before.ingest_tries, before.finish_tries):
                _set(row, ingest_tries=before.ingest_tries, finish_tries=before.finish_tries)
                self._tell(session, row.id, "try given back")
            return as_job(row)

        return self._db.write(work)

    def postpone(self, job_id: str, delay_s: float) -> Job:
        """Let other queued jobs go first for ``delay_s`` seconds."""
        not_before = self._now() + delay_s
        return self._change(job_id, None, "postponed", lambda row: _set(row, not_before=not_before), delay_s=delay_s)

    def record_run(self, job_id: str, run: ModelRun) -> None:
        """Keep what one model run came to; a later record of the same attempt and model replaces the earlier one."""

        def work(session: Session) -> None:
            _row(session, job_id)
            old = session.scalars(
                select(ModelRunRow).where(
                    ModelRunRow.job_id == job_id, ModelRunRow.attempt == run.attempt, ModelRunRow.model == run.model
                )
            ).first()
            if old is not None:
                session.delete(old)
            session.add(ModelRunRow(job_id=job_id, **asdict(run)))
            self._tell(session, job_id, "model run", model=run.model, state=run.state, reason=run.reason)

        self._db.write(work)

    # -- publishing -----------------------------------------------------------------------------------------------

    def deliver(self, job_id: str, dest: bytes, verdict: str, best_model: str) -> Job:
        """The result is complete in staging and goes to ``outbox/dest``."""
        return self._change(
            job_id,
            State.DELIVERING,
            "delivering",
            lambda row: _set(row, dest=dest, verdict=verdict, best_model=best_model),
            dest=_shown(dest),
        )

    def reject(self, job_id: str, code: str, reason: str, inspection: dict[str, Any] | None = None) -> Job:
        """Decide that the job fails, with a code of the error table, the sentence for people, and what was found."""

        def change(row: JobRow) -> None:
            _set(row, reason_code=code, reason=reason)
            if inspection is not None:
                row.inspection = inspection

        return self._change(job_id, State.FAIL_PENDING, "rejected", change, code=code, reason=reason)

    def failing(self, job_id: str, dest: bytes) -> Job:
        """The bundle is complete in staging and goes to ``failed/dest``."""
        return self._change(job_id, State.FAILING, "failing", lambda row: _set(row, dest=dest), dest=_shown(dest))

    def redirect(self, job_id: str, dest: bytes) -> Job:
        """The name was taken: publish as ``dest`` instead."""
        return self._change(job_id, None, "redirected", lambda row: _set(row, dest=dest), dest=_shown(dest))

    def published(self, job_id: str) -> Job:
        """The rename into outbox/ or failed/ is durable."""

        def work(session: Session) -> Job:
            row = _row(session, job_id)
            new = State.DONE if row.state == State.DELIVERING else State.FAILED
            self._move(session, row, new, "published")
            row.finished_at = self._now()
            note_end(session, job_id, self._clocks())
            job = as_job(row)
            self._announce(session, job)
            return job

        return self._db.write(work)

    def cleaned(self, job_id: str) -> Job:
        """Nothing of the job is left in the private folders."""

        def work(session: Session) -> Job:
            row = _row(session, job_id)
            new = State.DONE_CLEAN if row.state == State.DONE else State.FAILED_CLEAN
            self._move(session, row, new, "cleaned")
            return as_job(row)

        return self._db.write(work)

    # -- starting -------------------------------------------------------------------------------------------------

    def are_compared(self) -> bool:
        """Whether the rows were compared with the folders since this record was made; one put back never was."""
        return self._db.is_compared()

    def place(self, placements: Sequence[Placement]) -> None:
        """Put jobs where their folders prove them to be, and note that the record has been compared with the folders.

        Only for starts, and all in one transaction. The moves between states tell how a job gets on; this one tells
        that the record is older than the folders, so the trigger that knows the moves stands aside for it.
        """

        def work(session: Session) -> None:
            with _any_move(session):
                for placement in placements:
                    self._place(session, placement)
            self._db.mark_compared(session)

        self._db.write(work)

    # -- reading --------------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job:
        """The job of this id; raises ``NoSuchJob``."""
        return self._db.read(lambda session: as_job(_row(session, job_id)))

    def find(self, job_id: str) -> Job | None:
        """The job of this id, or None. Any text may be asked for."""
        if not job_id.isascii():  # half of a surrogate pair would be no text to the database either
            return None
        return self._db.read(lambda session: None if (row := session.get(JobRow, job_id)) is None else as_job(row))

    def passed(self) -> Passed:
        """How much time has passed since there is a count, which is brought up to date."""
        return self._db.write(lambda session: count(session, self._clocks()), worth_a_copy=False)

    def ended(self, job_id: str) -> Passed | None:
        """Where on that count a job ended; None when the record does not know of its end."""

        def work(session: Session) -> Passed | None:
            row = session.get(JobRow, job_id)
            return count_at_end(session, job_id) if row is not None and State(row.state) in PUBLISHED else None

        return self._db.read(work) if job_id.isascii() else None

    def live(self) -> list[Job]:
        """Every job that a start must bring forward, oldest first."""
        return self._db.read(live_jobs)

    def stoppable(self, name: bytes) -> Job | None:
        """The newest job of this folder name that can still be cancelled, or None."""
        return self._db.read(
            lambda session: newest_of_name(session, name, (State.CLAIMING, State.QUEUED, State.RUNNING))
        )

    def earlier_of_name(self, job: Job, within_s: float = 7200.0) -> Job | None:
        """The newest other job of the same folder name that was taken shortly before this one, or None."""
        found = self._db.read(
            lambda session: newest_of_name(
                session, job.name, frozenset(State) - {State.ABANDONED}, before=job.created_at, other_than=job.id
            )
        )
        return found if found is not None and job.created_at - found.created_at <= within_s else None

    def line_up(self, seen: int = -1) -> tuple[int, list[InLine]] | None:
        """The live jobs in few words and in the order of their turns; None when nothing happened since ``seen``."""
        return self._db.read(lambda session: line_up(session, AGEING_S, seen))

    def recent(self, limit: int) -> list[Job]:
        """The newest jobs at rest, newest first."""
        return self._db.read(lambda session: recent_jobs(session, limit))

    def last_like(self, is_like: Callable[[dict[str, Any]], bool], most: int) -> list[Earlier]:
        """The last published jobs, newest first, whose inspection ``is_like``."""
        return self._db.read(lambda session: last_like(session, is_like, most))

    def runs(self, job_id: str) -> list[ModelRun]:
        """Model runs of a job in order."""
        return self._db.read(lambda session: runs_of(session, job_id))

    def typical_seconds(self, model: str, last: int = 50) -> float | None:
        """95th percentile of the seconds of the model's last successful runs; None without history."""

        def work(session: Session) -> float | None:
            seconds = sorted(
                value
                for value in session.scalars(
                    select(ModelRunRow.seconds)
                    .where(ModelRunRow.model == model, ModelRunRow.state == "ok")
                    .order_by(ModelRunRow.id.desc())
                    .limit(last)
                )
                if value is not None
            )
            return seconds[int(0.95 * (len(seconds) - 1))] if seconds else None

        return self._db.read(work)

    def note(self, job_id: str, kind: str, **detail: Any) -> None:
        """Add a line to a job's history."""
        self._db.write(lambda session: self._tell(session, job_id, kind, **detail))

    # -- inside a transaction -------------------------------------------------------------------------------------

    def _place(self, session: Session, to: Placement) -> None:
        row, was = session.get(JobRow, to.job_id), None
        name = _free_name(session, to.name if row is None else row.name, to)
        if row is None:
            row = self._new_row(session, to.job_id, name, to.state, **to.values)
        else:
            was = row.state
            _set(row, state=to.state, name=name, **to.values)
            if to.state is State.CLAIMING:
                row.ingest_tries = 0
        if to.state in PUBLISHED and row.finished_at is None:
            row.finished_at = self._now()
        session.flush()
        if to.state in PUBLISHED and was not in PUBLISHED:
            note_end(session, to.job_id, self._clocks())
            self._announce(session, as_job(row))
        self._tell(session, to.job_id, "restored", was=was, state=to.state)

    def _new_row(self, session: Session, job_id: str, name: bytes, state: State, **values: Any) -> JobRow:
        row = JobRow(
            id=job_id, name=name, state=state, **{"fingerprint": "", "created_at": self._now(), **_NONE_YET, **values}
        )
        session.add(row)
        session.flush()
        return row

    def _change(
        self, job_id: str, new: State | None, kind: str, change: Callable[[JobRow], None], **detail: Any
    ) -> Job:
        def work(session: Session) -> Job:
            row = _row(session, job_id)
            change(row)
            if new is None:
                self._tell(session, job_id, kind, **detail)
            else:
                self._move(session, row, new, kind, **detail)
            return as_job(row)

        return self._db.write(work)

    def _move(self, session: Session, row: JobRow, new: State, kind: str, **detail: Any) -> None:
        check_move(State(row.state), new)
        row.state = new
        self._tell(session, row.id, kind, **detail)

    def _announce(self, session: Session, job: Job) -> None:
        messages.add(session, end_of(job), self._bodies(job), self._now(), job.id)

    def _tell(self, session: Session, job_id: str, kind: str, **detail: Any) -> None:
        session.add(EventRow(job_id=job_id, at=self._now(), kind=kind, detail=detail or None))


def end_of(job: Job) -> str:
    """A name for the end of a job, the same whenever it is told: its id, and ``done`` or ``failed``."""
    return f"{job.id}.{'done' if job.state in (State.DONE, State.DONE_CLEAN) else 'failed'}"


def _row(session: Session, job_id: str) -> JobRow:
    row = session.get(JobRow, job_id)
    if row is None:
        raise NoSuchJob(f"there is no job {job_id}")
    return row


def _free_name(session: Session, name: bytes, to: Placement) -> bytes:
    """``name``, or one beside it when two folders of one name must be read: only one may be in the state CLAIMING."""
    same = select(func.count()).where(JobRow.name == name, JobRow.state == State.CLAIMING, JobRow.id != to.job_id)
    return name + b"__" + to.job_id[:8].encode() if to.state is State.CLAIMING and session.scalar(same) else name


@contextlib.contextmanager
def _any_move(session: Session) -> Iterator[None]:
    """Let a state change pass that the table of moves does not know. The trigger is back before the commit."""
    trigger = session.scalar(text("SELECT sql FROM sqlite_master WHERE name = 'job_legal_moves'"))
    session.execute(text("DROP TRIGGER job_legal_moves"))
    yield
    session.flush()
    session.connection().exec_driver_sql(str(trigger))


def _set(row: JobRow, **values: Any) -> None:
    for name, value in values.items():
        setattr(row, name, value)


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
