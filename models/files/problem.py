"""What can be wrong with a capture, as values. Standard library only: the daemon reads this file too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

#: A shorter file name may be a word of the sentence.
_SHORTEST_STEM = 3


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


@dataclass
class Findings:
    """What was found out about a capture so far, while it is read.

    ``problems`` are the capture's, ``odd`` those of single views by their names, which may be done without;
    ``warnings`` are sentences for the operator.
    """

    problems: list[Problem] = field(default_factory=list)
    odd: dict[str, list[Problem]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def report(self, code: str, file: str | None, message: str, fix: str) -> None:
        """One more problem of the capture."""
        self.problems.append(Problem(code, file, message, fix))

    def raise_if_any(self) -> None:
        """Raises ``CaptureError`` with the capture's problems, if it has any."""
        if self.problems:
            raise CaptureError(self.problems)


def told_once(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems with equal ones of many files as one: the first, with the number and the first names of the others.

    Equal are sentences that differ in names and numbers only.
    """
    alike: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        alike.setdefault((problem.code, _pattern(problem, problem.message), _pattern(problem, problem.fix)), []).append(
            problem
        )
    return tuple(_as_one(group) for group in alike.values())


def _pattern(problem: Problem, sentence: str) -> str:
    """A sentence without what is of one file: its name, other paths and names in front of it, numbers."""
    last = (problem.file or "").rpartition("/")[2]
    for name in (problem.file, last):
        sentence = sentence.replace(name, "@") if name else sentence
    stem = last.rpartition(".")[0]
    if len(stem) > _SHORTEST_STEM:
        sentence = re.sub(rf"\b{re.escape(stem)}\b", "@", sentence)
    return re.sub(r"[0-9]+", "#", re.sub(r"^(View|Picture) [^ :]+:", r"\1 @:", sentence))


def _as_one(group: list[Problem]) -> Problem:
    first, others = group[0], group[1:]
    if not others:
        return first
    files = list(dict.fromkeys(other.file for other in others if other.file and other.file != first.file))
    names = f": {', '.join(files[:3])}{f' and {len(files) - 3} more' if len(files) > 3 else ''}" if files else ""
    return replace(first, message=f"{first.message} The same of {len(others)} more{names}.")


def printable(name: str | None) -> str:
    """A file name that is safe to show: control characters, direction marks and undecodable bytes become escapes."""
    if name is None:
        return ""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)
