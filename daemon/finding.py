"""One line of the doctor's report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Result = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """What one check found. ``says`` is the fact, ``why`` what it leads to, ``fix`` the command or step that cures it.

    ``warn`` means that the service works, but less well than it could; ``fail`` that it, or a model, cannot work.
    ``why`` may be empty on ok lines; ``fix`` is empty on them and never on others.
    """

    name: str
    result: Result
    says: str
    why: str = ""
    fix: str = ""

    def __post_init__(self) -> None:
        if (self.result == "ok") == bool(self.fix):
            raise ValueError(f"{self.name}: a line that is not ok says what cures it, and no other line does")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)
