"""Depth or masks that lie beside pictures, found by the pictures' names. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable

from meshdrop.models.files.names import folded
from meshdrop.models.files.pictures import suffixes
from meshdrop.models.files.png import Kind

#: What programs put behind a picture's name, before the ending: nothing, or what the file is.
_WORDS: dict[Kind, tuple[str, ...]] = {"mask": ("", "_mask", "-mask", ".mask"), "depth": ("", "_depth", "-depth")}


class FilesBeside:
    """The files of ``place`` (a folder with its slash), by whatever names programs give them.

    For ``a.jpg``: ``a.jpg.png``, as COLMAP has it, ``a.png`` or ``a_mask.png``, with every ending that may hold
    ``role``, in any case, and in either form of Unicode: macOS takes letters apart (NFD), others do not.
    """

    def __init__(self, names: Iterable[str], place: str, role: Kind) -> None:
        self._place, self._role = place, role
        inside = sorted((name for name in names if name.startswith(place)), reverse=True)
        self._names = frozenset(inside)
        self._folded = {folded(name[len(place) :]): name for name in inside}

    def of(self, picture: str) -> str:
        """The file that belongs to a picture, relative to where ``place`` is; ``a.png`` where there is none yet."""
        stem = picture.rpartition(".")[0]
        for name in (picture, *(f"{stem}{word}" for word in _WORDS[self._role])):
            for ending in suffixes(self._role):
                exact = f"{self._place}{name}.{ending}"
                found = exact if exact in self._names else self._folded.get(folded(f"{name}.{ending}"))
                if found is not None:
                    return found
        return f"{self._place}{stem}.png"
