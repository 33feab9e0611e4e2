"""What the NVIDIA driver says of its cards and of who uses them, asked through its own program, nvidia-smi.

A program and not the driver's library: a card in trouble lets nobody go who asks it, and a program can be left behind.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace

from meshdrop.daemon.host.programs import Asked, ProgramAnswer, start

PROGRAM = "nvidia-smi"
#: Without persistence mode the driver wakes every card first, which takes seconds on machines with several.
LIMIT_S = 4.0
_FIELDS = (
    "index",
    "uuid",
    "name",
    "driver_version",
    "memory.total",
    "memory.free",
    "persistence_mode",
    "compute_mode",
    "display_active",
    "ecc.errors.uncorrected.volatile.total",
)
#: Drivers before 510 do not know this field, and then answer nothing at all.
_NEWER = ("compute_cap",)
_USERS = ("gpu_uuid", "pid", "process_name", "used_memory")
_FORMAT = "--format=csv,noheader,nounits"


@dataclass(frozen=True)
class User:
    """A process that computes on a card; ``mib`` is None where the driver does not tell (in a container)."""

    uuid: str
    pid: int
    name: str
    mib: int | None


@dataclass(frozen=True)
class Card:
    """One card. Memory in MiB; what the driver does not tell is None, and False where it would be a fault."""

    index: int
    uuid: str
    name: str
    driver: str
    total_mib: int | None
    free_mib: int | None
    persistent: bool | None
    compute_mode: str
    display: bool
    uncorrected_errors: int
    capability: tuple[int, int] | None
    users: tuple[User, ...] = ()


class Refused(Exception):
    """The driver's program ended with an error; the message is its first line."""


class SmiQuery:
    """Asks at once and is read later, since the answer may take a second."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._cards = self._ask("gpu", (*_FIELDS, *_NEWER))
        self._users = self._ask("compute-apps", _USERS)

    def cards(self) -> tuple[Card, ...] | None:
        """Every card with its users; None where there is no such program. Raises ``NoAnswer``, ``Refused``."""
        if self._cards is None:
            return None
        told = self._cards.answer(LIMIT_S)
        fields: Sequence[str] = (*_FIELDS, *_NEWER)
        if told.code != 0 and "field" in (told.out + told.complaint).lower():
            again = self._ask("gpu", _FIELDS)
            told, fields = (again.answer(LIMIT_S) if again is not None else told), _FIELDS
        if told.code != 0:
            raise Refused(_first_line(told) or f"{PROGRAM} ended with code {told.code}")
        users = self._users.answer(LIMIT_S) if self._users is not None else ProgramAnswer(1, "", "")
        found = [_user(row) for row in _rows(users.out, len(_USERS))] if users.code == 0 else []
        rows = _rows(told.out, len(fields))
        if not rows and told.out.strip():
            raise Refused(f"an answer that cannot be read: {_first_line(told)}")
        return tuple(_card(dict(zip(fields, row, strict=True)), found) for row in rows)

    def _ask(self, what: str, fields: Sequence[str]) -> Asked | None:
        return start(PROGRAM, f"--query-{what}={','.join(fields)}", _FORMAT, path=self._path)


def visible(cards: Sequence[Card], chosen: str | None, order: str | None = None) -> tuple[Card, ...]:
    """The cards that CUDA shows under this CUDA_VISIBLE_DEVICES (None: not set): it stops at the first odd entry, and
    shows none at all when one is named twice.

    Its numbers are nvidia-smi's only under CUDA_DEVICE_ORDER=PCI_BUS_ID (``order``); else the fastest card comes first,
    as far as that can be told from its age and size. A part of a card (MIG) is shown as a card of unknown memory.
    """
    if order != "PCI_BUS_ID":
        cards = sorted(cards, key=lambda card: (card.capability or (0, 0), card.total_mib or 0), reverse=True)
    if chosen is None:
        return tuple(cards)
    found: list[Card] = []
    for part in chosen.split(","):
        word = part.strip()
        if word.startswith("MIG-") and cards:
            found.append(replace(cards[0], total_mib=None, free_mib=None, users=()))
            continue
        matching = [
            card
            for number, card in enumerate(cards)
            if (word.isdigit() and number == int(word)) or (word.startswith("GPU-") and card.uuid.startswith(word))
        ]
        if len(matching) != 1:
            break
        if matching[0] in found:
            return ()
        found += matching
    return tuple(found)


def _first_line(told: ProgramAnswer) -> str:
    return next((line.strip() for line in (told.out + "\n" + told.complaint).splitlines() if line.strip()), "")


def _rows(text: str, width: int) -> list[list[str]]:
    rows = ([cell.strip() for cell in row] for row in csv.reader(text.splitlines()))
    return [row for row in rows if len(row) == width]


def _card(values: dict[str, str], users: Sequence[User]) -> Card:
    major, _, minor = values.get("compute_cap", "").partition(".")
    capability = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
    persistence = {"enabled": True, "disabled": False}.get(values["persistence_mode"].lower())
    return Card(
        _number(values["index"]) or 0,
        values["uuid"],
        values["name"],
        values["driver_version"],
        _number(values["memory.total"]),
        _number(values["memory.free"]),
        persistence,
        values["compute_mode"],
        values["display_active"].lower() in ("enabled", "yes"),
        _number(values["ecc.errors.uncorrected.volatile.total"]) or 0,
        capability,
        tuple(user for user in users if user.uuid == values["uuid"]),
    )


def _user(row: Sequence[str]) -> User:
    return User(row[0], _number(row[1]) or 0, row[2].rpartition("/")[2], _number(row[3]))


def _number(text: str) -> int | None:
    return int(float(text)) if text.replace(".", "", 1).isdigit() else None
