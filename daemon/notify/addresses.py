"""Addresses and keys of those outside, from the settings or from files, checked whole.

All of them are secrets: whoever knows a webhook's or a chat's address can write there. They are never logged, and the
record has none of them.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from meshdrop.daemon.base.settings import Settings

_FILE_MAX = 65_536
_PORTS = {"https": 443, "http": 80}


class Addresses:
    """Takes a secret from its setting or from its file, and collects what is wrong."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.problems: list[str] = []

    def one(self, name: str) -> str | None:
        """The value of a setting, or the only line of the file that its ``_file`` names."""
        given: SecretStr | None = getattr(self.settings, name)
        lines = self._lines(name, given is not None)
        if lines is None:
            return given.get_secret_value() if given is not None else None
        if len(lines) != 1:
            self.problems.append(f"{name}_file: it must hold one line, and has {len(lines)}")
            return None
        return lines[0]

    def several(self, name: str) -> list[str]:
        """The same for a list: one a line."""
        given: tuple[SecretStr, ...] = getattr(self.settings, name)
        lines = self._lines(name, bool(given))
        return [one.get_secret_value() for one in given] if lines is None else lines

    def http(self, name: str) -> str | None:
        """An http or https address."""
        url = self.one(name)
        if url is not None and (trouble := _trouble_with(url)) is not None:
            self.problems.append(f"{name}: {trouble}")
        return url

    def _lines(self, name: str, is_given: bool) -> list[str] | None:
        file: Path | None = getattr(self.settings, f"{name}_file")
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


def host_of(url: str) -> tuple[str, int]:
    """The host and port of an http or https address."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _PORTS[parts.scheme]


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
