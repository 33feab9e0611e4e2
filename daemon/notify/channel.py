"""What a way to tell somebody outside is: a class in a file of its own, and a line of the table in ``channels.py``.

An instance is one receiver. It holds an address, and whoever knows that can write there: no text of a channel shows it,
not its name, its ``repr``, its complaint, nor what it logs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from meshdrop.daemon.notify.addresses import Addresses
    from meshdrop.daemon.notify.courier import Courier, SendOutcome
    from meshdrop.daemon.notify.wording import Day
    from meshdrop.db.messages import Message
    from meshdrop.db.records import Job


class Channel(ABC):
    """One receiver, and how it is told. Either a ``MessageChannel`` or a ``LifeSignChannel``."""

    #: What the names of all its receivers begin with; metrics count them together under it.
    kind: ClassVar[str]
    #: The setting that holds its address, or several.
    setting: ClassVar[str]
    #: Settings beside it that are secret too. Like the address, each may be given in a file: ``NAME_file``.
    secrets: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """Under which its messages stand in the record: ``kind``, or ``kind.`` and what tells its receivers apart."""

    @property
    @abstractmethod
    def called(self) -> str:
        """What `meshdrop notify` calls it."""

    @classmethod
    @abstractmethod
    def read(cls, given: Addresses) -> Sequence[Channel]:
        """The receivers that the settings name; what is wrong goes into ``given.problems``."""

    @classmethod
    @abstractmethod
    def counted(cls, count: int) -> str:
        """So many of them, for the doctor's line."""

    @property
    def host(self) -> tuple[str, int] | None:
        """The host and port to which `doctor --deep` may open a connection; None where that proves nothing."""
        return None

    def complaint(self) -> str | None:
        """What `config validate` finds wrong with the address, where that takes a library which no service loads."""
        return None

    @abstractmethod
    def try_out(self, courier: Courier) -> SendOutcome:
        """Send a test."""


@dataclass(frozen=True)
class Sent:
    """Messages that were sent as one, and what came of it."""

    messages: Sequence[Message]
    outcome: SendOutcome


class MessageChannel(Channel):
    """A receiver of messages, which wait in the record until it has them."""

    #: How many messages are taken from the record at once.
    batch: ClassVar[int]
    #: For how long it is left alone when it has got one; what gathers meanwhile comes next.
    rest_s: ClassVar[float] = 0.0

    def about_job(self, job: Job) -> str | None:
        """What it is told about a job that was published, as the record keeps it; None: nothing."""
        return None

    def about_day(self, day: Day) -> str | None:
        """The same about a day, at ``digest_at``."""
        return None

    @abstractmethod
    def send(self, courier: Courier, messages: Sequence[Message]) -> list[Sent]:
        """Send what is due, at least the first of it. What is missing in the answer was not tried."""

    @abstractmethod
    def log(self, sent: Sent) -> None:
        """One line about messages that have arrived."""


Word = Literal["start", "well", "fail"]


class LifeSignChannel(Channel):
    """A receiver that raises the alarm when it hears nothing."""

    #: In seconds, how often it wants to hear.
    every_s: float

    @abstractmethod
    def sign(self, courier: Courier, word: Word, limit_s: float | None = None) -> SendOutcome:
        """Say that the service starts, is well, or has failed."""
