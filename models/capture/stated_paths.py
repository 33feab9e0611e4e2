"""The file of the capture that a stated path means. Standard library only.

Paths are written on other machines, in other folders, and for pictures that were converted since: what counts is where
they lead to among the files that are there. No path leads anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from meshdrop.models.capture.canonical import ROLE_FOLDERS, Role
from meshdrop.models.files.names import folded, is_rendered_pass
from meshdrop.models.files.pictures import suffixes

#: Folders beside pictures that hold something else of the same names.
_OTHER_FOLDERS = frozenset({"confidence", "conf", "normal", "normals", "mask_visib", "thumbs", "thumbnails"})


@dataclass(frozen=True)
class FoundFile:
    """What a path means: ``name`` as the file is called, or the path itself where there is none.

    ``elsewhere`` tells that it was found by its end only, in another folder. ``twins`` are several files of which each
    could be meant; ``name`` is the path then.
    """

    name: str
    there: bool
    elsewhere: bool = False
    twins: tuple[str, ...] = ()


class StatedPaths:
    """Finds files by the paths that are stated for them; ``names`` are those of the capture's folder.

    The path as it is comes first, then without regard to case and form of its letters, then with another ending, and
    last the longest end of it that leads to one file.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._whole: dict[str, list[str]] = {}
        self._stems: dict[str, list[str]] = {}
        self._ends: dict[str, list[str]] = {}
        #: Whoever names thousands of files alike is answered as fast as others.
        self._known: dict[tuple[str, str, Role], tuple[str, ...]] = {}
        self._levels = max((name.count("/") for name in self._names), default=0)
        for name in sorted(self._names):
            key = folded(name)
            self._whole.setdefault(key, []).append(name)
            self._stems.setdefault(_stem(key), []).append(name)
            for end in _ends(_stem(key), self._levels):
                self._ends.setdefault(end, []).append(name)

    def find(self, path: str, role: Role) -> FoundFile:
        """The file that ``path`` means as a picture of ``role``."""
        key = folded(path)
        same = [path] if path in self._names else self._whole.get(key, [])
        if same and _is_read(same[0], role):
            return _one(path, same)
        if other := self._read("", _stem(key), role):
            return _one(path, other)
        found = self._by_end(path, key, role)
        return _one(path, same) if same and not found.there else found

    def _read(self, last: str, stem: str, role: Role) -> tuple[str, ...]:
        """The files of a stem that are read as ``role``; with ``last`` those whose path ends with it, if they may lie
        in other folders: of several the ones that are called ``last`` with their ending.
        """
        known = (last, stem, role)
        if stem not in (self._ends if last else self._stems):
            return ()
        if known not in self._known:
            if last:
                found = [name for name in self._ends.get(stem, ()) if _fits(name, role, shared="/" in stem)]
                found = [name for name in found if folded(name).rpartition("/")[2] == last] or found
            else:
                found = [name for name in self._stems.get(stem, ()) if _is_read(name, role)]
            self._known[known] = tuple(found)
        return self._known[known]

    def _by_end(self, path: str, key: str, role: Role) -> FoundFile:
        """The file whose folders agree longest with those of the path, from the last one upwards."""
        last = key.rpartition("/")[2]
        best = next((found for end in _ends(_stem(key), self._levels) if (found := self._read(last, end, role))), ())
        return _one(path, best, elsewhere=True) if best else FoundFile(path, False)


def _one(path: str, names: Sequence[str], *, elsewhere: bool = False) -> FoundFile:
    if len(names) > 1:
        return FoundFile(path, False, elsewhere, tuple(names))
    return FoundFile(names[0], True, elsewhere)


def _stem(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return folder + slash + (last.rpartition(".")[0] or last)


def _is_read(name: str, role: Role) -> bool:
    return name.rpartition(".")[2].casefold() in suffixes(role)


def _ends(stem: str, levels: int) -> Iterator[str]:
    """What a path ends with, from ``levels`` folders and its last part down to that part alone."""
    parts = stem.rsplit("/", levels + 1)[-levels - 1 :]
    yield from ("/".join(parts[first:]) for first in range(len(parts)))


def _fits(name: str, role: Role, *, shared: bool) -> bool:
    return _is_read(name, role) and not is_rendered_pass(name) and _speaks_for(name, role, shared=shared)


def _speaks_for(name: str, role: Role, *, shared: bool) -> bool:
    """Whether a file in another folder can be a picture of ``role``: depth and masks are often called like pictures.

    ``shared`` tells that its folder is called as the stated one.
    """
    folders = [folder.casefold() for folder in name.split("/")[:-1]]
    roles = {ROLE_FOLDERS[folder] for folder in folders if folder in ROLE_FOLDERS}
    if role == "image":
        return not roles & {"depth", "mask"} and not _OTHER_FOLDERS & set(folders)
    return role in roles if roles else shared
