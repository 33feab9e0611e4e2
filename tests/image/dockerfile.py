"""Reads as much of a Dockerfile as ours uses; what it does not know is an error, never passed over."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

#: What an image says where no ENV does.
IMAGE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Instructions that change no file: what a container is told when it starts.
_ABOUT_THE_RUN = frozenset({"CMD", "ENTRYPOINT", "HEALTHCHECK", "STOPSIGNAL", "USER", "VOLUME"})


@dataclass(frozen=True)
class Step:
    """One instruction; ``words`` are those of COPY, WORKDIR and USER, or the one shell line of RUN.

    ``variables`` are what ARG and ENV had set when it is reached.
    """

    kind: str
    words: tuple[str, ...]
    variables: Mapping[str, str]
    origin: str | None = None


@dataclass
class Stage:
    """One FROM and what follows it. ``base`` is another stage or an image."""

    name: str
    base: str
    steps: list[Step] = field(default_factory=list)
    #: ENV alone: what later stages and the container inherit.
    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()
    user: str = "0:0"
    volumes: tuple[str, ...] = ()


def instructions(text: str) -> list[tuple[str, str]]:
    """(INSTRUCTION, rest) of every line, continued lines joined, comments left out."""
    text = re.sub(r"(?m)^\s*#.*\n", "", text).replace("\\\n", " ")
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        kind, _, rest = line.partition(" ")
        found.append((kind.upper(), rest.strip()))
    return found


def stages(text: str, arguments: Mapping[str, str] | None = None) -> dict[str, Stage]:
    """Every stage by its name, in order, with what each inherits; ``arguments`` are ``--build-arg``."""
    given, found, globally = dict(arguments or {}), dict[str, Stage](), dict[str, str]()
    stage, variables = None, dict[str, str]()
    inherited: dict[str, dict[str, str]] = {}
    for kind, rest in instructions(text):
        if kind == "FROM":
            base, name = re.split(r" AS ", rest, flags=re.IGNORECASE)
            stage = found[name] = Stage(name, expanded(base, globally), environment={"PATH": IMAGE_PATH})
            if (parent := found.get(stage.base)) is not None:
                stage.environment, stage.user = dict(parent.environment), parent.user
                stage.entrypoint, stage.command = parent.entrypoint, parent.command
                stage.healthcheck, stage.volumes = parent.healthcheck, parent.volumes
            variables = inherited[name] = {**inherited.get(stage.base, {}), **stage.environment}
        elif kind == "ARG":
            name, _, value = rest.partition("=")
            default = expanded("".join(shlex.split(value)), variables)
            (globally if stage is None else variables)[name] = given.get(name, default)
        elif stage is None:
            raise ValueError(f"{kind} before the first FROM")
        elif kind == "ENV":
            for pair in shlex.split(rest):
                name, _, value = pair.partition("=")
                variables[name] = stage.environment[name] = expanded(value, variables)
        elif kind in ("RUN", "COPY", "WORKDIR"):
            stage.steps.append(_step(kind, rest, variables))
        elif kind in _ABOUT_THE_RUN:
            _tell(stage, kind, expanded(rest, variables))
        else:
            raise ValueError(f"this reader does not know {kind}")
    return found


def _step(kind: str, rest: str, variables: Mapping[str, str]) -> Step:
    if kind == "RUN":
        return Step(kind, (rest,), dict(variables))
    words = [expanded(word, variables) for word in shlex.split(rest)]
    origin = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
    if words[0].startswith("--"):
        raise ValueError(f"this reader does not know {kind} {words[0]}")
    return Step(kind, tuple(words), dict(variables), origin)


def _tell(stage: Stage, kind: str, rest: str) -> None:
    if kind == "USER":
        stage.user = rest
    elif kind == "VOLUME":
        stage.volumes += tuple(rest.split())
    elif kind == "ENTRYPOINT":
        stage.entrypoint, stage.command = tuple(json.loads(rest)), ()
    elif kind == "CMD":
        stage.command = tuple(json.loads(rest))
    elif kind == "HEALTHCHECK":
        stage.healthcheck = tuple(json.loads(rest.partition(" CMD ")[2]))


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """``$NAME`` and ``${NAME}`` replaced; unknown ones by nothing, as Docker does."""
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: variables.get(found[1] or found[2], ""), text)
