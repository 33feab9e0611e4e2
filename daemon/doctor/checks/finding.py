"""One line of the doctor's report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Result = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Finding:
    """What one check found. ``says`` is the fact, ``why`` what it leads to, ``fix`` the command or step that cures it.

    ``warn`` means that the service works, but less well than it could; ``fail`` that it, or a model, cannot work;
    ``skip`` that another line must be cured before this one can be looked at, so that one fault makes one line.
    ``why`` may be empty on ok lines and ``fix`` always is; warn and fail have both.
    """

    name: str
    result: Result
    says: str
    why: str = ""
    fix: str = ""
    #: The heading under which the line stands; given by whoever puts the checks together.
    group: str = ""

    def __post_init__(self) -> None:
        if self.is_trouble and not (self.fix and self.why):
            raise ValueError(f"{self.name}: a line that is not ok says what it leads to and what cures it")
        if self.fix and not self.is_trouble:
            raise ValueError(f"{self.name}: where nothing is wrong there is nothing to cure")

    @property
    def is_trouble(self) -> bool:
        """Whether a person should do something."""
        return self.result in ("warn", "fail")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)
