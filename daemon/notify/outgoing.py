"""Tells programs and people outside, on a thread of its own: messages from the record, and a sign of life.

Nothing here can hold up the service. A message stands in the record from the transaction that ended its job until its
receiver has taken it, so that neither a kill nor a receiver that is away for days loses one; one that was taken right
before a kill is sent once more, under the same name (``Idempotency-Key``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.notify.courier import Courier, Outcome, below
from meshdrop.daemon.notify.targets import WEBHOOK, Targets
from meshdrop.daemon.notify.wording import Day, bodies_of, digest, together
from meshdrop.db.engine import DatabaseDamaged
from meshdrop.db.messages import GIVE_UP_S, Message, Messages
from meshdrop.db.records import LONGEST_PAUSE_S, Job

log = get_logger()

#: Pauses after a try that failed: doubled each time, from the first to the longest. That is ``LONGEST_PAUSE_S`` for a
#: receiver that answers with an error, perhaps to this one message alone, and this for one that cannot be reached.
_AGAIN_S, _AWAY_MOST_S = 5.0, 300.0
#: How many messages are taken from the record at once. Those for people become one, so that not even the failures of a
#: day on which nobody could be told make a flood.
_BATCH, _NOTES = 10, 5000
#: People get at most one message a minute: what fails meanwhile comes together in the next.
_PEOPLE_S = 60.0
_LOOK_EVERY_S = 60.0
_LAST_WORDS_S = 5.0


@dataclass
class _Line:
    """What is known of one receiver. ``rest_until`` in monotonic seconds."""

    rest_until: float = float("-inf")
    misses: int = 0
    trouble: str | None = None


class Outgoing:
    """Construct, hand ``bodies`` to the record, run ``run`` on a thread, ``close``.

    ``health`` says what is wrong with the service, or None; ``day`` what a digest tells. Both are asked on the thread.
    """

    def __init__(
        self, targets: Targets, courier: Courier, clock: Clock, health: Callable[[], str | None], day: Callable[[], Day]
    ) -> None:
        self._targets, self._courier, self._clock = targets, courier, clock
        self._health, self._day = health, day
        self._lines = {channel: _Line() for channel in (*targets.channels, "ping")}
        self._news, self._ended, self._flushes = threading.Event(), threading.Event(), False
        self._ping_at = self._old_at = float("-inf")
        self._digest_noted = ""

    def bodies(self, job: Job) -> dict[str, str]:
        """What is to be told about a published job, by channel; called inside the transaction that publishes it.

        Never raises: a message that cannot be put into words must not keep a result from being published.
        """
        try:
            told = bodies_of(self._targets, job)
        except Exception:
            log.exception("nobody is told", job=job.short_id)
            return {}
        if told:
            self._news.set()
        return told

    def run(self, messages: Messages) -> None:
        """Tell until closed. Raises ``DatabaseDamaged`` only; other trouble is logged and waited out."""
        if self._targets.ping:
            self._note("ping", self._courier.call(below(self._targets.ping, "start")))
        while not self._ended.is_set():
            self._news.wait(self._safely(messages))
            self._news.clear()
        if self._flushes:
            self._safely(messages)

    def _safely(self, messages: Messages) -> float:
        try:
            return self._turn(messages)
        except DatabaseDamaged:
            raise
        except OSError as error:
            log.warning("messages wait", reason=str(error))
        except Exception:
            log.exception("messages wait")
        return _LOOK_EVERY_S

    def close(self, thread: threading.Thread, *, patience_s: float, failed: bool = False) -> None:
        """End the thread. With patience, what waits is tried once more before; ``failed`` says so to whoever watches.

        Nothing is lost without: the next start goes on.
        """
        self._flushes = patience_s > 0
        self._ended.set()
        self._news.set()
        thread.join(patience_s)
        self._courier.stop()
        thread.join(_LAST_WORDS_S)
        if failed and self._targets.ping:
            Courier(self._courier.state).call(below(self._targets.ping, "fail"), _LAST_WORDS_S)

    @property
    def _goes_on(self) -> bool:
        return self._flushes or not self._ended.is_set()

    # -- on the thread ----------------------------------------------------------------------------------------------

    def _turn(self, messages: Messages) -> float:
        """Send what is due; seconds until something may be due again."""
        while self._round(messages):
            pass
        return self._pause(messages)

    def _round(self, messages: Messages) -> bool:
        """Send one batch to each receiver; whether there may be more to send at once. However much waits for one, and
        however slow it is, the others, the digest and the sign of life have their turns in between.
        """
        more = False
        self._note_digest(messages)
        for channel in self._targets.channels:
            self._sign_of_life()
            if self._goes_on and self._clock.monotonic() >= self._lines[channel].rest_until:
                more = self._deliver(messages, channel) or more
        self._sign_of_life()
        if not more:
            self._give_up(messages)
        return more and self._goes_on

    def _give_up(self, messages: Messages) -> None:
        """Only when all that could be sent is: what waited while the service rested a week is not given up unsent."""
        if (now := self._clock.monotonic()) < self._old_at:
            return
        self._old_at = now + 3600.0
        for message in messages.give_up(GIVE_UP_S):
            log.error(
                "message given up",
                job=(message.job_id or "")[:8],
                channel=message.channel,
                tries=message.tries,
                reason=message.trouble,
            )

    def _deliver(self, messages: Messages, channel: str) -> bool:
        """Send one batch; whether there may be more to send at once."""
        batch = messages.due(channel, _BATCH if channel == WEBHOOK else _NOTES)
        if not batch:
            return False
        if channel != WEBHOOK:
            return self._tell_people(messages, channel, batch)
        url = self._targets.webhook or ""
        answers = self._courier.post(url, self._targets.key, batch)
        for message, answer in zip(batch, answers, strict=False):
            self._note(channel, answer)
            if answer.trouble is None:
                messages.delivered([message], answer.status)
                log.info("webhook delivered", job=(message.job_id or "")[:8], status=answer.status)
            else:
                rest = self._rest_after(channel, answer, message.tries)
                messages.failed([message], answer.trouble, answer.status, rest)
        return answers[-1].was_reached

    def _tell_people(self, messages: Messages, channel: str, batch: Sequence[Message]) -> bool:
        note, line = together(batch), self._lines[channel]
        answer = self._courier.notify(self._targets.notify[channel], note.title, note.text)
        self._note(channel, answer)
        if answer.trouble is None:
            messages.delivered(batch, None)
            line.rest_until = self._clock.monotonic() + _PEOPLE_S
            log.info("notification sent", channel=channel, messages=len(batch))
        else:
            messages.failed(batch, answer.trouble, None, self._rest_after(channel, answer, batch[0].tries))
        return False

    def _rest_after(self, channel: str, answer: Outcome, tries: int) -> float:
        """How long this message waits; a receiver that cannot be reached is left alone for as long, or as it wishes."""
        line = self._lines[channel]
        if answer.was_reached:
            return float(min(_AGAIN_S * 2 ** min(tries, 20), LONGEST_PAUSE_S))
        usual = min(_AGAIN_S * 2 ** min(line.misses - 1, 20), _AWAY_MOST_S)
        rest = float(min(max(usual, answer.wait_s), LONGEST_PAUSE_S))
        line.rest_until = self._clock.monotonic() + rest
        return rest

    def _note(self, channel: str, answer: Outcome) -> None:
        """Count, and log what has changed: a receiver that is away for a night is one line and not thousands."""
        line = self._lines[channel]
        line.misses = 0 if answer.was_reached else line.misses + 1
        if answer.trouble != line.trouble and self._goes_on:
            if answer.trouble is None:
                log.info("messages go through again", channel=channel)
            else:
                log.warning("message not delivered", channel=channel, reason=answer.trouble, next="tried again")
            line.trouble = answer.trouble

    def _note_digest(self, messages: Messages) -> None:
        if not self._targets.notify or not self._targets.digest_at:
            return
        about = f"digest.{last_digest(self._clock.now(), self._targets.digest_at)}"
        if about == self._digest_noted:
            return
        channels = [channel for channel in self._targets.notify if not messages.is_noted(channel, about)]
        if channels:
            messages.note(about, dict.fromkeys(channels, digest(self._day()).to_text()))
        self._digest_noted = about

    def _sign_of_life(self) -> None:
        url = self._targets.ping
        if url is None or self._clock.monotonic() < self._ping_at or self._ended.is_set():
            return
        wrong = self._health()
        answer = self._courier.call(url if wrong is None else below(url, "fail"))
        self._note("ping", answer)
        every = self._targets.ping_every_s
        self._ping_at = self._clock.monotonic() + (every if answer.trouble is None else min(every, _LOOK_EVERY_S))

    def _pause(self, messages: Messages) -> float:
        """Until the next message, ping or look at the clock."""
        now, pauses = self._clock.monotonic(), [_LOOK_EVERY_S]
        for channel in self._targets.channels:
            if (due := messages.next_due([channel])) is not None:
                pauses.append(max(due - self._clock.now(), self._lines[channel].rest_until - now))
        if self._targets.ping:
            pauses.append(self._ping_at - now)
        return max(min(pauses), 0.05)


def last_digest(now: float, at: str) -> date:
    """The day whose digest was due last, by this machine's clock. One whose minute nobody looked at is not left out,
    and neither is one for a minute that the change to summer time skips."""
    wall = datetime.fromtimestamp(now)
    return wall.date() - timedelta(days=wall.strftime("%H:%M") < at)
