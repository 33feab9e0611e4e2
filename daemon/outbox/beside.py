"""What lies in a folder beside the set: what of it goes into the result, and what is only named there.

A result brings notes and raw photographs along, but a video of gigabytes or the history of a repository would fill the
disk. Ordinary files go before hidden ones and litter, small ones before large ones, so that few are left out; those
stay in the original.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from meshdrop.daemon.outbox.receipts import earlier_results
from meshdrop.models.files.entries import Fact, every_fact
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.names import is_litter
from meshdrop.models.files.problem import printable

#: Files that go along, as many times as a capture may have.
_TIMES = 10
#: Files that are named one by one, and folders that are named with a count.
_NAMED = 20
CLOSED = "the service may not read it"


@dataclass(frozen=True)
class Beside:
    """``taken`` goes into the result; ``left_out`` says of the rest, by file or folder, why it does not."""

    taken: tuple[Fact, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes that go into the result; what a sparse file says that it has, since its copy is none."""
        return sum(fact.size for fact in self.taken)


def lies_beside(folder: Path, of_the_set: Collection[str], limits: CaptureLimits) -> Beside:
    """Sort what lies in ``folder`` and is not ``of_the_set`` (paths relative to it).

    Takes as long as there are files, and memory for the first thousands only. Raises ``OSError``.
    """
    most = _TIMES * limits.max_entries
    found: dict[bool, list[Fact]] = {False: [], True: []}
    left: list[tuple[Fact, str]] = []
    uncounted: Counter[str] = Counter()
    for fact in _candidates(folder, of_the_set, limits):
        group = found[is_litter(fact.path)]
        plain = fact.kind == "file" and fact.links == 1
        if plain and len(group) < most:
            group.append(fact)
        elif not plain and len(left) < most:
            left.append((fact, _odd(fact)))
        else:
            uncounted[os.path.dirname(fact.path)] += 1
    taken: list[Fact] = []
    size = 0
    for fact in (fact for litter in (False, True) for fact in sorted(found[litter], key=lambda one: one.size)):
        if len(taken) >= most:
            left.append((fact, f"a result brings no more than {most:,} files along"))
        elif size + fact.size > limits.max_extra_bytes:
            allowed = f"{limits.max_extra_bytes / 1e6:,.0f} MB (max_extra_mb)"
            left.append((fact, f"{fact.size / 1e6:,.0f} MB: a result brings no more than {allowed} along"))
        else:
            size += fact.size
            taken.append(fact)
    return Beside(tuple(sorted(taken)), _told(left, uncounted))


def most_to_copy(folder: Path, of_the_set: Collection[str], limits: CaptureLimits) -> tuple[int, int]:
    """Bytes and files that may go along, at most; looks at no more files than that may be. Raises ``OSError``."""
    most, size, count = _TIMES * limits.max_entries, 0, 0
    for fact in _candidates(folder, of_the_set, limits):
        if count == most:
            return limits.max_extra_bytes, most
        size, count = size + fact.size, count + 1
    return min(size, limits.max_extra_bytes), count


def _candidates(folder: Path, of_the_set: Collection[str], limits: CaptureLimits) -> Iterator[Fact]:
    """What might go along. Of a folder that came back from us (it carries our receipt) the old results stay behind."""
    is_earlier, wanted = earlier_results(folder, limits.custom_models), frozenset(of_the_set)
    for fact in every_fact(folder):
        if fact.path not in wanted and (is_earlier is None or not is_earlier(fact)):
            yield fact


def _odd(fact: Fact) -> str:
    words = {"deep": "a folder deeper than a result goes", "closed": CLOSED}
    return words.get(fact.kind, "not a plain file of its own")


def _told(left: Iterable[tuple[Fact, str]], uncounted: Counter[str]) -> dict[str, str]:
    """The largest by name, then how many there are in each folder, so that nothing is left out without a word."""
    by_size = sorted(left, key=lambda one: (-one[0].size, one[0].path))
    uncounted.update(os.path.dirname(fact.path) for fact, _ in by_size[_NAMED:])
    told = {f"capture/{printable(fact.path)}": why for fact, why in by_size[:_NAMED]}
    folders = uncounted.most_common(_NAMED)
    told |= {f"capture/{printable(name)}/".replace("//", "/"): _files(count) for name, count in folders}
    if (more := uncounted.total() - sum(count for _, count in folders)) > 0:
        told["capture/..."] = f"{_files(more)} in other folders"
    return told


def _files(count: int) -> str:
    return f"{count:,} more file{'s' if count > 1 else ''}"
