"""Tells programs and people outside, on a thread of its own: messages from the record, and a sign of life.

Nothing here can hold up the service. A message stands in the record from the transaction that ended its job until its
receiver has taken it, so that neither a kill nor a receiver that is away for days loses one; one that was taken right
before a kill is sent once more, under the same name (``Idempotency-Key``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.notify.channel import LifeSignChannel, MessageChannel
from meshdrop.daemon.notify.courier import Courier, SendOutcome
from meshdrop.daemon.notify.targets import Targets
from meshdrop.daemon.notify.wording import Day
from meshdrop.db.engine import DatabaseDamaged
from meshdrop.db.messages import GIVE_UP_S, Messages
from meshdrop.db.records import LONGEST_PAUSE_S, Job

log = get_logger()

#: Pauses after a try that failed: doubled each time, from the first to the longest. That is ``LONGEST_PAUSE_S`` for a
#: receiver that answers with an error, perhaps to this one message alone, and this for one that cannot be reached.
_AGAIN_S, _AWAY_MOST_S = 5.0, 300.0
_LOOK_EVERY_S = 60.0
_LAST_WORDS_S = 5.0


@dataclass
class _Line:
    """What is known of one receiver. ``rest_until``, and when it hears a sign of life again, in monotonic seconds."""

    rest_until: float = float("-inf")
    sign_at: float = float("-inf")
    misses: int = 0
    trouble: str | None = None


class Outgoing:
    """Construct, hand ``bodies`` to the record, run ``run`` on a thread, ``close``.

    ``health`` says what is wrong with the service, or None; ``day`` what a digest tells. Both are asked on the thread.
    """

    def __init__(
        self, targets: Targets, courier: Courier, clock: Clock, health: Callable[[], str | None], day: Callable[[], Day]
    ) -> None:
        self._courier, self._clock, self._digest_at = courier, clock, targets.digest_at
        self._told = [channel for channel in targets.channels if isinstance(channel, MessageChannel)]
        self._watching = [channel for channel in targets.channels if isinstance(channel, LifeSignChannel)]
        self._health, self._day = health, day
        self._lines = {channel.name: _Line() for channel in targets.channels}
        self._news, self._ended, self._flushes = threading.Event(), threading.Event(), False
        self._old_at = float("-inf")
        self._digest_noted = ""

    def bodies(self, job: Job) -> dict[str, str]:
        """What is to be told about a published job, by channel; called inside the transaction that publishes it.

        Never raises: a message that cannot be put into words must not keep a result from being published.
        """
        try:
            told = {channel.name: channel.about_job(job) for channel in self._told}
        except Exception:
            log.exception("nobody is told", job=job.short_id)
            return {}
        bodies = {name: body for name, body in told.items() if body is not None}
        if bodies:
            self._news.set()
        return bodies

    def run(self, messages: Messages) -> None:
        """Tell until closed. Raises ``DatabaseDamaged`` only; other trouble is logged and waited out."""
        for channel in self._watching:
            self._note(channel.name, channel.sign(self._courier, "start"))
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
        for channel in self._watching if failed else ():
            channel.sign(Courier(self._courier.state), "fail", _LAST_WORDS_S)

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
        for channel in self._told:
            self._signs_of_life()
            if self._goes_on and self._clock.monotonic() >= self._lines[channel.name].rest_until:
                more = self._deliver(messages, channel) or more
        self._signs_of_life()
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

    def _deliver(self, messages: Messages, channel: MessageChannel) -> bool:
        """Send one batch; whether there may be more to send at once."""
        batch = messages.due(channel.name, channel.batch)
        if not batch:
            return False
        all_sent = channel.send(self._courier, batch)
        for sent in all_sent:
            answer = sent.outcome
            self._note(channel.name, answer)
            if answer.trouble is None:
                messages.delivered(sent.messages, answer.status)
                self._let_rest(channel)
                channel.log(sent)
            else:
                rest = self._rest_after(channel.name, answer, sent.messages[0].tries)
                messages.failed(sent.messages, answer.trouble, answer.status, rest)
        return all_sent[-1].outcome.was_reached and not channel.rest_s

    def _let_rest(self, channel: MessageChannel) -> None:
        if channel.rest_s:
            self._lines[channel.name].rest_until = self._clock.monotonic() + channel.rest_s

    def _rest_after(self, channel: str, answer: SendOutcome, tries: int) -> float:
        """How long this message waits; a receiver that cannot be reached is left alone for as long, or as it wishes."""
        line = self._lines[channel]
        if answer.was_reached:
            return float(min(_AGAIN_S * 2 ** min(tries, 20), LONGEST_PAUSE_S))
        usual = min(_AGAIN_S * 2 ** min(line.misses - 1, 20), _AWAY_MOST_S)
        rest = float(min(max(usual, answer.wait_s), LONGEST_PAUSE_S))
        line.rest_until = self._clock.monotonic() + rest
        return rest

    def _note(self, channel: str, answer: SendOutcome) -> None:
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
        if not self._told or not self._digest_at:
            return
        about = f"digest.{last_digest(self._clock.now(), self._digest_at)}"
        if about == self._digest_noted:
            return
        if channels := [channel for channel in self._told if not messages.is_noted(channel.name, about)]:
            day = self._day()
            told = {channel.name: channel.about_day(day) for channel in channels}
            if bodies := {name: body for name, body in told.items() if body is not None}:
                messages.note(about, bodies)
        self._digest_noted = about

    def _signs_of_life(self) -> None:
        for channel in self._watching:
            line = self._lines[channel.name]
            if self._clock.monotonic() < line.sign_at or self._ended.is_set():
                continue
            answer = channel.sign(self._courier, "well" if self._health() is None else "fail")
            self._note(channel.name, answer)
            every_s = channel.every_s if answer.trouble is None else min(channel.every_s, _LOOK_EVERY_S)
            line.sign_at = self._clock.monotonic() + every_s

    def _pause(self, messages: Messages) -> float:
        """Until the next message, ping or look at the clock."""
        now, pauses = self._clock.monotonic(), [_LOOK_EVERY_S]
        for channel in self._told:
            if (due := messages.next_due([channel.name])) is not None:
                pauses.append(max(due - self._clock.now(), self._lines[channel.name].rest_until - now))
        pauses += [self._lines[channel.name].sign_at - now for channel in self._watching]
        return max(min(pauses), 0.05)


def last_digest(now: float, at: str) -> date:
    """The day whose digest was due last, by this machine's clock. One whose minute nobody looked at is not left out,
    and neither is one for a minute that the change to summer time skips."""
    wall = datetime.fromtimestamp(now)
    return wall.date() - timedelta(days=wall.strftime("%H:%M") < at)
