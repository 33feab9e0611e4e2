"""Whom the service tells outside: addresses and keys from the settings or from files, checked whole.

All of them are secrets: whoever knows a webhook's or a chat's address can write there. They are never logged, and the
record has none of them.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.settings import Settings

WEBHOOK = "webhook"
_FILE_MAX = 65_536
_APPRISE = (
    "the package apprise is not installed here, and notify_urls needs it: make notify (a service: install "
    "requirements-notify.lock, see docs/operations.md)"
)


@dataclass(frozen=True)
class Targets:
    """Where messages go. ``notify`` has a channel for each address; ``digest_at`` is HH:MM, or "" for no digest."""

    webhook: str | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    notify: Mapping[str, str] = field(default_factory=dict, repr=False)
    digest_at: str = ""
    ping: str | None = field(default=None, repr=False)
    ping_every_s: float = 300.0

    @property
    def channels(self) -> tuple[str, ...]:
        """Names under which messages are queued; they tell nothing of the addresses."""
        return ((WEBHOOK,) if self.webhook else ()) + tuple(self.notify)

    @property
    def any(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self.channels or self.ping)


class _Reader:
    """Takes a secret from its setting or from its file, and collects what is wrong."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.problems: list[str] = []

    def one(self, name: str) -> str | None:
        """The value of a setting, or the only line of the file that its ``_file`` names."""
        given: SecretStr | None = getattr(self._settings, name)
        lines = self._lines(name, given is not None)
        if lines is None:
            return given.get_secret_value() if given is not None else None
        if len(lines) != 1:
            self.problems.append(f"{name}_file: it must hold one line, and has {len(lines)}")
            return None
        return lines[0]

    def several(self, name: str) -> list[str]:
        """The same for a list: one a line."""
        given: tuple[SecretStr, ...] = getattr(self._settings, name)
        lines = self._lines(name, bool(given))
        return [one.get_secret_value() for one in given] if lines is None else lines

    def address(self, name: str) -> str | None:
        """An http or https address."""
        url = self.one(name)
        if url is not None and (trouble := _trouble_with(url)) is not None:
            self.problems.append(f"{name}: {trouble}")
        return url

    def _lines(self, name: str, is_given: bool) -> list[str] | None:
        file: Path | None = getattr(self._settings, f"{name}_file")
        if file is None:
            return None
        if is_given:
            self.problems.append(f"{name} and {name}_file are both set: give one of them")
        try:
            with file.open("rb") as stream:
                text = stream.read(_FILE_MAX).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(f"{name}_file: {file} cannot be read ({getattr(error, 'strerror', 'no text')})")
            return None
        lines = [line.strip() for line in text.splitlines()]
        return [line for line in lines if line and not line.startswith("#")]


def read_targets(settings: Settings) -> Targets:
    """The targets of these settings; raises ``ConfigurationError`` with every problem at once, without any secret."""
    reader = _Reader(settings)
    webhook, ping = reader.address("webhook_url"), reader.address("ping_url")
    key, notify = reader.one("webhook_secret"), reader.several("notify_urls")
    if notify and importlib.util.find_spec("apprise") is None:
        reader.problems.append(_APPRISE)
    if key is not None and webhook is None:
        reader.problems.append("webhook_secret is set, and webhook_url is not")
    if reader.problems:
        raise ConfigurationError(
            "the settings have problems:\n" + "\n".join(f"  {problem}" for problem in reader.problems),
            "correct them; `meshdrop config show --origin` tells where each setting comes from",
        )
    return Targets(
        webhook,
        None if key is None else key.encode(),
        {_channel(url): url for url in notify},
        settings.digest_at,
        ping,
        settings.ping_every_s,
    )


def not_understood(targets: Targets) -> list[str]:
    """Which addresses of ``notify_urls`` apprise cannot use, by their place in the list. Imports apprise."""
    if not targets.notify:
        return []
    from apprise import Apprise  # noqa: PLC0415 - twenty megabytes that no service needs

    wrong = [place for place, url in enumerate(targets.notify.values(), 1) if Apprise.instantiate(url) is None]
    return [f"notify_urls: apprise does not understand number {place}" for place in wrong]


def _channel(url: str) -> str:
    """A name for an address that stays the same and tells nothing about it."""
    return f"notify.{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def _trouble_with(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises on an odd one
    except ValueError:
        return "this is no address"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "it must begin with https:// (or http://) and name a host"
    if parts.username is not None or parts.password is not None:
        return "a name and password in the address are not sent: use an address with a token, or webhook_secret"
    if not url.isascii() or any(char.isspace() or not char.isprintable() for char in url):
        return "it holds characters that no address has; write them as %XX"
    return None
