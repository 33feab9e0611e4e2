"""Messages to the outside: written in the transaction that ends a job, kept until they are delivered or given up."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.orm import Session

from meshdrop.db.engine import Database
from meshdrop.db.records import LONGEST_PAUSE_S
from meshdrop.db.tables import EventRow, MessageRow

#: What cannot be delivered for so long is given up.
GIVE_UP_S = 7 * 86_400.0
_WAITING = (MessageRow.delivered_at.is_(None), MessageRow.given_up_at.is_(None))
_TROUBLE_LENGTH = 200


@dataclass(frozen=True)
class Message:
    """One row of the message table as a value; see ``db.tables.MessageRow`` for the meaning of each field."""

    id: int
    channel: str
    about: str
    job_id: str | None
    body: str
    created_at: float
    tries: int
    not_before: float
    delivered_at: float | None
    given_up_at: float | None
    status: int | None
    trouble: str | None


@dataclass(frozen=True)
class Waiting:
    """How many messages of one channel wait, since when, and what was wrong at the last try."""

    count: int
    since: float
    trouble: str | None


def add(session: Session, about: str, bodies: Mapping[str, str], now: float, job_id: str | None = None) -> None:
    """Note one message for each channel, once: what was noted before about the same thing stays as it is."""
    for channel, body in bodies.items():
        values = {
            "channel": channel,
            "about": about,
            "job_id": job_id,
            "body": body,
            "created_at": now,
            "tries": 0,
            "not_before": 0.0,
        }
        session.execute(insert(MessageRow).prefix_with("OR IGNORE").values(values))


def waiting(session: Session) -> dict[str, Waiting]:
    """What waits to be delivered, by channel."""
    rows = session.execute(
        select(MessageRow.channel, func.count(), func.min(MessageRow.created_at))
        .where(*_WAITING)
        .group_by(MessageRow.channel)
    )
    last = select(MessageRow.trouble).where(*_WAITING, MessageRow.trouble.is_not(None)).order_by(MessageRow.id)
    return {
        channel: Waiting(count, since, session.scalars(last.where(MessageRow.channel == channel).limit(1)).first())
        for channel, count, since in rows
    }


def messages_of(session: Session, job_id: str) -> list[Message]:
    """Everything that is or was to be told about a job, in order."""
    rows = session.scalars(select(MessageRow).where(MessageRow.job_id == job_id).order_by(MessageRow.id))
    return [_as_message(row) for row in rows]


class Messages:
    """The queue of messages behind the one writing connection. ``now`` gives Unix seconds."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._db = database
        self._now = now

    def note(self, about: str, bodies: Mapping[str, str]) -> None:
        """Something to tell that is no job's end; noting it twice is noting it once."""
        self._db.write(lambda session: add(session, about, bodies, self._now()))

    def is_noted(self, channel: str, about: str) -> bool:
        """Whether this was noted before, delivered or not."""
        found = select(MessageRow.id).where(MessageRow.channel == channel, MessageRow.about == about)
        return self._db.read(lambda session: session.scalar(found)) is not None

    def due(self, channel: str, limit: int) -> list[Message]:
        """What may be sent to a channel now: what was not tried yet, oldest first, and then what waits the longest.

        So that one at which the receiver breaks off every time does not stand before all others.
        """
        now = self._now()
        is_due = or_(MessageRow.not_before <= now, MessageRow.not_before > now + LONGEST_PAUSE_S)
        rows = (
            select(MessageRow)
            .where(*_WAITING, MessageRow.channel == channel, is_due)
            .order_by(MessageRow.not_before, MessageRow.id)
            .limit(limit)
        )
        return self._db.read(lambda session: [_as_message(row) for row in session.scalars(rows)])

    def next_due(self, channels: Collection[str]) -> float | None:
        """Unix time from which something may be sent; None when nothing waits."""
        first = select(func.min(MessageRow.not_before)).where(*_WAITING, MessageRow.channel.in_(channels))
        return self._db.read(lambda session: session.scalar(first))

    def delivered(self, messages: Sequence[Message], status: int | None) -> None:
        """They have arrived: an answer of the receiver says so. Goes into the history of their jobs too."""
        now = self._now()
        values = {"delivered_at": now, "status": status, "trouble": None, "tries": MessageRow.tries + 1}

        def work(session: Session) -> None:
            session.execute(update(MessageRow).where(_among(messages)).values(values))
            for message in messages:
                _tell(session, message, now, "told", status=status, tries=message.tries + 1)

        self._db.write(work)

    def failed(self, messages: Sequence[Message], trouble: str, status: int | None, delay_s: float) -> None:
        """A try came to nothing; the next one is due in ``delay_s``."""
        values = {
            "not_before": self._now() + delay_s,
            "status": status,
            "trouble": trouble[:_TROUBLE_LENGTH],
            "tries": MessageRow.tries + 1,
        }
        self._db.write(
            lambda session: session.execute(update(MessageRow).where(_among(messages)).values(values)) and None
        )

    def give_up(self, older_than_s: float) -> list[Message]:
        """Stop trying what could not be delivered for so long; returns it."""
        now = self._now()
        aged = select(MessageRow).where(*_WAITING, MessageRow.created_at < now - older_than_s)
        if self._db.read(lambda session: session.scalars(aged.limit(1)).first()) is None:
            return []  # the usual answer, which writes nothing

        def work(session: Session) -> list[Message]:
            old = [_as_message(row) for row in session.scalars(aged)]
            session.execute(update(MessageRow).where(_among(old)).values(given_up_at=now))
            for message in old:
                _tell(session, message, now, "not told", trouble=message.trouble, tries=message.tries)
            return old

        return self._db.write(work)


def _among(messages: Sequence[Message]) -> Any:
    return MessageRow.id.in_([message.id for message in messages])


def _tell(session: Session, message: Message, now: float, kind: str, **detail: object) -> None:
    if message.job_id is not None:
        session.add(EventRow(job_id=message.job_id, at=now, kind=kind, detail={"channel": message.channel, **detail}))


def _as_message(row: MessageRow) -> Message:
    return Message(**{field.name: getattr(row, field.name) for field in fields(Message)})
