"""Keeping secrets out of what leaves this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from meshdrop.daemon.base.settings import Settings

REMOVED = "<removed>"
#: An address of another machine may carry its password anywhere: before the @, in the path, behind the question mark.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>\\,;)\]}]+")
#: Addresses that belong to nobody in particular.
_HARMLESS = re.compile(r"(?:file|unix|sqlite):|https?://(?:127\.0\.0\.1|localhost|\[::1\]|github\.com)(?:[:/]|$)")
#: `key = value` and `"key": "value"` in text that nobody has parsed.
_PAIR = re.compile(
    r"(?i)([\w.-]*(?:token|secret|passw(?:or)?d|api_?key|authorization)[\w.-]*\"?\s*[:=]\s*)"
    r"(\"[^\"]*\"|'[^']*'|(?:bearer\s+|basic\s+)?[^\s,;]+)"
)
#: `pass=...` among the options of a mount, and a login as programs take it (`-U joe%word`, `-u joe:word`).
_LOGIN = re.compile(r"((?<![\w-])(?:pass|pwd|pw)=|(?<!\S)(?:-[uU]|--user)[ =]?[^\s:%]+[:%])[^\s,;]+")
_TELLING = re.compile(r"(?i)token|secret|passw|api_?key|_url")
#: What is shorter would tear words apart, and protects nobody.
_SHORTEST = 4


def secrets_of(settings: Settings | None, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Every secret that these settings hold or name a file of, and those in the environment; the longest first."""
    found = {value for name, value in environ.items() if _TELLING.search(name) and not name.endswith("_FILE")}
    if settings is not None:
        for name in type(settings).model_fields:
            found |= set(_texts(getattr(settings, name), is_file=name.endswith("_file")))
    return tuple(sorted((text for text in found if len(text) >= _SHORTEST), key=len, reverse=True))


def _texts(value: object, *, is_file: bool) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _texts(one, is_file=is_file)
    elif is_file and isinstance(value, Path):
        with suppress(OSError):
            for line in value.read_text(encoding="utf-8", errors="replace").splitlines():
                yield line.strip()


def scrubbed(text: str, secrets: tuple[str, ...]) -> str:
    """The text without these secrets, and without anything that looks like an address or a password."""
    for secret in secrets:
        text = text.replace(secret, REMOVED)
    text = _ADDRESS.sub(lambda found: found.group() if _HARMLESS.match(found.group()) else REMOVED, text)
    text = _PAIR.sub(lambda found: found.group(1) + REMOVED, text)
    return _LOGIN.sub(lambda found: found.group(1) + REMOVED, text)
