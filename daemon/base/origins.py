"""Where each setting comes from: the default, a line of the file, or a variable of the environment."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from meshdrop.daemon.base.settings import Settings, config_file, load, text_of
from meshdrop.models.contract.registry import CODE_VARIABLES

_PREFIX = "MESHDROP_"
#: Variables that begin like settings and are none: the compose file's, the models', and those for tests.
_OTHERS = frozenset(
    {
        "scans",
        "run",
        "state",
        "crash_at",
        "crash_by",
        "crash_log",
        "seed",
        "damages",
        *(variable.removeprefix("MESHDROP_").lower() for variable in CODE_VARIABLES),
    }
)
_MASK = "********"

Key = tuple[str, ...]


@dataclass(frozen=True)
class Origin:
    """One setting: its dotted name, its value as TOML would have it (secrets masked), and where it was given."""

    name: str
    value: str
    origin: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"name": self.name, "value": self.value, "origin": self.origin}


def origins(root: Path | None = None, config: Path | None = None) -> list[Origin]:
    """Every setting in the order in which they are declared; tables with a line for each of their keys.

    Raises ``ConfigurationError`` as ``load`` does.
    """
    settings = load(root, config)
    file = config or config_file(settings.root)
    lines = lines_of(file)
    found = []
    for name in Settings.model_fields:
        value = getattr(settings, name)
        for key, leaf in _leaves((name,), value):
            found.append(Origin(".".join(key), _shown(leaf), _origin(key, file, lines, root)))
    return found


def unknown_variables() -> list[str]:
    """A sentence for each variable of the environment that begins like a setting and is none: nobody reads it."""
    return [
        f"{variable} is no setting" + (f": is {near} meant?" if (near := meant_by(variable)) else "")
        for variable in sorted(os.environ)
        if is_stray(variable)
    ]


def is_stray(variable: str) -> bool:
    """Whether a variable begins like a setting and nobody reads it. Case does not count, and what stands behind two
    underscores is inside a table."""
    return variable.upper().startswith(_PREFIX) and _named(variable) not in {*Settings.model_fields, *_OTHERS}


def meant_by(variable: str) -> str | None:
    """The variable of the setting that a stray one most looks like, if there is one."""
    near = get_close_matches(_named(variable), Settings.model_fields, 1)
    return f"{_PREFIX}{near[0].upper()}" if near else None


def _named(variable: str) -> str:
    return variable.upper().removeprefix(_PREFIX).partition("__")[0].lower()


def lines_of(file: Path) -> dict[Key, int]:
    """The line, from 1, on which each key of a TOML file is given; nothing when there is no such file.

    A statement ends where what was read so far is valid TOML with more in it than before.
    """
    try:
        text = text_of(file).splitlines(keepends=True)
    except OSError:
        return {}
    found: dict[Key, int] = {}
    begun = None
    for number, line in enumerate(text, 1):
        if begun is None and line.strip() and not line.lstrip().startswith("#"):
            begun = number
        try:
            values = tomllib.loads("".join(text[:number]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a value of several lines
        for key, _ in _leaves((), values):
            found.setdefault(key, begun or number)
        begun = None
    return found


def _leaves(key: Key, value: Any) -> Iterator[tuple[Key, Any]]:
    """The values that are no tables, with their way; a table without content counts as a value below the top."""
    if isinstance(value, Mapping) and (value or not key):
        for name, inner in value.items():
            yield from _leaves((*key, name), inner)
    else:
        yield key, value


def _origin(key: Key, file: Path, lines: Mapping[Key, int], root: Path | None) -> str:
    if key == ("root",):
        given = "MESHDROP_ROOT" if "MESHDROP_ROOT" in os.environ else "the folder you stand in"
        return "--root" if root is not None else given
    if (variable := _variable(key)) is not None:
        return f"environment {variable}"
    # A list or an inline table stands on the line of the key that holds it.
    for length in range(len(key), 0, -1):
        if (line := lines.get(key[:length])) is not None:
            return f"{file}:{line}"
    return "default"


def _variable(key: Key) -> str | None:
    """The variable that gives this value: its own, or the one of a table around it whose JSON has it."""
    by_name = {name.upper(): name for name in os.environ}
    for length in range(len(key), 0, -1):
        name = by_name.get(_PREFIX + "__".join(key[:length]).upper())
        if name is None:
            continue
        if length == len(key):
            return name
        try:
            table = json.loads(os.environ[name])
        except ValueError:
            continue
        if key[length:] in dict(_leaves((), table)):
            return name
    return None


def _shown(value: Any) -> str:
    """A value as TOML writes it; a path or an address as a text, nothing as ``none``."""
    if value is None:
        return "none"
    if isinstance(value, SecretStr):
        return _MASK
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_shown(one) for one in value) + "]"
    if isinstance(value, bool | int | float | dict):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False)
