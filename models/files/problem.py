"""What can be wrong with a capture, as values. Standard library only: the daemon reads this file too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a capture.

    ``code`` is for programs (the table is in ``docs/capture-format.md``). ``file`` is relative to the dropped
    folder, posix, or None when no single file is to blame. ``message`` says in one sentence what is wrong,
    ``fix`` in one sentence what a person does about it.
    """

    code: str
    file: str | None
    message: str
    fix: str

    def __str__(self) -> str:
        sentence = f"{printable(self.message)} {printable(self.fix)}"
        return f"{printable(self.file)}: {sentence}" if self.file else sentence

    def to_json(self) -> dict[str, str | None]:
        """The four fields as plain JSON values; undecodable bytes in the file name are escaped."""
        fields = asdict(self)
        return {key: None if text is None else printable(text) for key, text in fields.items()}


class CaptureError(Exception):
    """A capture cannot be used. ``problems`` holds every reason that was found, never none."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def printable(name: str | None) -> str:
    """A file name that is safe to show: control characters, direction marks and undecodable bytes become escapes."""
    if name is None:
        return ""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)
