"""People who are told of failures and once a day of everything, by mail, chat, or whatever apprise knows."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.notify import apprise_send
from meshdrop.daemon.notify.addresses import Addresses
from meshdrop.daemon.notify.channel import MessageChannel, Sent
from meshdrop.daemon.notify.wording import Day, Note, digest, failure_note, is_failure, together

if TYPE_CHECKING:
    from meshdrop.daemon.notify.courier import Courier, SendOutcome
    from meshdrop.db.messages import Message
    from meshdrop.db.records import Job

log = get_logger()

_APPRISE = (
    "the package apprise is not installed here, and notify_urls needs it: make notify (a service: install "
    "requirements-notify.lock, see docs/operations.md)"
)
_TRIAL = Note("Meshdrop: a test", "Messages about failed captures will come like this one.")


@dataclass(frozen=True)
class People(MessageChannel):
    """One address of ``notify_urls``, by its place in the list."""

    url: str = field(repr=False)
    number: int = 1

    kind = "notify"
    setting = "notify_urls"
    #: All that waits becomes one message, so that not even the failures of a day on which nobody could be told make a
    #: flood; and one at most comes in a minute.
    batch = 5000
    rest_s = 60.0

    @property
    def name(self) -> str:
        """Stays the same for an address, wherever it stands in the list."""
        return f"{self.kind}.{hashlib.sha256(self.url.encode()).hexdigest()[:8]}"

    @property
    def called(self) -> str:
        """Addresses are secrets."""
        return f"number {self.number} of notify_urls"

    @classmethod
    def read(cls, given: Addresses) -> Sequence[People]:
        """Each address once."""
        urls = dict.fromkeys(given.several(cls.setting))
        if urls and importlib.util.find_spec("apprise") is None:
            given.problems.append(_APPRISE)
        return [cls(url, number) for number, url in enumerate(urls, 1)]

    @classmethod
    def counted(cls, count: int) -> str:
        """However many."""
        return f"{count} notifications"

    def complaint(self) -> str | None:
        """Imports apprise: twenty megabytes that no service needs."""
        from apprise import Apprise  # noqa: PLC0415

        if Apprise.instantiate(self.url) is not None:
            return None
        return f"notify_urls: apprise does not understand number {self.number}"

    def about_job(self, job: Job) -> str | None:
        """Failures only, and none that somebody asked for."""
        return failure_note(job).to_text() if is_failure(job) else None

    def about_day(self, day: Day) -> str:
        """The digest."""
        return digest(day).to_text()

    def send(self, courier: Courier, messages: Sequence[Message]) -> list[Sent]:
        """All in one."""
        return [Sent(messages, self._tell(courier, together(messages)))]

    def log(self, sent: Sent) -> None:
        """How many were sent as one."""
        log.info("notification sent", channel=self.name, messages=len(sent.messages))

    def try_out(self, courier: Courier) -> SendOutcome:
        """A note like any other."""
        return self._tell(courier, _TRIAL)

    def _tell(self, courier: Courier, note: Note) -> SendOutcome:
        part = {"url": self.url, "title": note.title, "text": note.text}
        return courier.send(apprise_send.__name__, [part], apprise_send.LIMIT_S)[0]
