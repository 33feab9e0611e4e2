"""What a case is to the runner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from tests.torture.ground import Ground

#: What ``run`` returns when the disturbance did not come about; the promise was checked all the same.
MISSED = "missed"


@dataclass(frozen=True)
class Case(ABC):
    """One disturbance of one run. ``part`` is the line of the result table that it counts for."""

    part: str

    @property
    @abstractmethod
    def id(self) -> str:
        """Unique, readable, and enough to run it again."""

    @abstractmethod
    def run(self, ground: Ground) -> str:
        """Return an empty text or ``MISSED``; raise ``AssertionError`` when the promise is broken."""
