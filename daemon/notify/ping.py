"""A dead man's switch: an address that is called while all is well; whoever is behind it raises the alarm when not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from meshdrop.daemon.notify import http_send
from meshdrop.daemon.notify.addresses import Addresses, host_of
from meshdrop.daemon.notify.channel import LifeSignChannel, Word

if TYPE_CHECKING:
    from meshdrop.daemon.notify.courier import Courier, SendOutcome


@dataclass(frozen=True)
class Ping(LifeSignChannel):
    """Called every ``every_s`` seconds."""

    url: str = field(repr=False)
    every_s: float = 300.0

    kind = "ping"
    setting = "ping_url"
    name = kind
    called = kind

    @classmethod
    def read(cls, given: Addresses) -> Sequence[Ping]:
        """One at most."""
        url = given.http(cls.setting)
        return [] if url is None else [cls(url, given.settings.ping_every_s)]

    @classmethod
    def counted(cls, count: int) -> str:
        """There is one."""
        return "a ping"

    @property
    def host(self) -> tuple[str, int]:
        """Of its address."""
        return host_of(self.url)

    def sign(self, courier: Courier, word: Word, limit_s: float | None = None) -> SendOutcome:
        """GET the address itself while all is well, else one below it."""
        url = self.url if word == "well" else below(self.url, word)
        part = {"method": "GET", "url": url, "headers": http_send.HEADERS, "body": None}
        return courier.send(http_send.__name__, [part], limit_s or http_send.LIMIT_S)[0]

    def try_out(self, courier: Courier) -> SendOutcome:
        """As while all is well."""
        return self.sign(courier, "well")


def below(url: str, word: str) -> str:
    """``word`` added to the path of an address, whatever question stands behind that."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{word}"))
