"""Rig profiles: the cameras of a rig, stored once, and the pictures of one capture put in their places.

A profile is the text of ``rig.json``: the keys of ``capture.json``, with ``schema`` and the name under ``rig``. The
service puts it into each job's own copy of the capture, so that a profile that is changed later changes no queued job.
Standard library only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.names import folded, is_rendered_pass
from meshdrop.models.files.pictures import suffixes
from meshdrop.models.files.png import Kind
from meshdrop.models.files.problem import Problem
from meshdrop.models.formats.json_table import Complaints, load_object, short
from meshdrop.models.formats.sidecar import PHOTOGRAPHS, RIG_NAME, Sidecar, StatedFrame, state

FILE = "rig.json"
SCHEMA = "meshdrop.rig/1"
#: Where pictures may lie that a profile names elsewhere: ``000.png`` of ``images/`` is found in ``views/`` too.
_FOLDERS: Mapping[str, tuple[str, ...]] = {
    "image": ("views/", "view/", "images/", "image/", "rgb/", "color/", "colour/", ""),
    "depth": ("depth/", "depths/"),
    "mask": ("masks/", "mask/"),
}
_FIX = "Store the rig again: meshdrop rig add NAME --from FILE."


@dataclass(frozen=True)
class Rigs:
    """The stored profiles' texts by name, and the rig that a folder was dropped for ("" for none)."""

    texts: Mapping[str, bytes] = field(default_factory=dict)
    dropped_for: str = ""


NO_RIGS = Rigs()


def rig_of(folder: str) -> str:
    """The rig that a folder of the inbox was dropped for, by its path there: ``rig1`` for ``@rig1/chair``, or ""."""
    return folder[1:].partition("/")[0].casefold() if folder.startswith("@") else ""


@dataclass(frozen=True)
class RigProfile:
    """A rig's cameras. ``text`` is the file as it is stored; ``frames`` is None in one that only names a stored rig."""

    name: str
    stated: Sidecar
    text: bytes

    @property
    def version(self) -> str:
        """Twelve digits of the SHA-256 of its text: it changes with any word in it."""
        return hashlib.sha256(self.text).hexdigest()[:12]


def parse_profile(text: bytes, file: str, limits: CaptureLimits) -> tuple[RigProfile | None, tuple[Problem, ...]]:
    """A profile, or what is wrong with it. Never raises on content."""
    complaints = Complaints(file)
    table = load_object(text, complaints, limits.max_cameras_bytes)
    if table is None:
        return None, complaints.told()
    name = table.get("rig")
    if table.get("schema") != SCHEMA or not isinstance(name, str) or not RIG_NAME.fullmatch(name):
        complaints.add(
            "rig", f"The file is no rig profile: schema {short(table.get('schema'))}, rig {short(name)}.", _FIX
        )
        return None, complaints.told()
    stated = state(_cameras_of(table), complaints, limits)
    return RigProfile(name, stated, text), complaints.told()


def _cameras_of(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in ("schema", "rig")}


def unknown_rig(name: str, known: Collection[str], file: str | None) -> Problem:
    """No profile of this name is stored: which there are, and how one is added."""
    there = f"there are: {', '.join(sorted(known))}" if known else "none is stored yet"
    message = f"No rig called {name} is stored; {there}."
    return Problem("rig", file, message, f"Correct the name, or store the rig: meshdrop rig add {name} --from FILE.")


def placed(stated: Sidecar, names: Collection[str], wants: Mapping[str, bool | None]) -> Sidecar:
    """The profile's statement with each path as it is on disk; ``names`` are posix paths below the capture's root.

    A file is found under its own path, or under its view's name in a folder of its kind. Depth and masks are wanted as
    soon as one of them is there; ``wants`` ("depth", "mask") overrules that.
    """
    finder = _Finder(names)
    frames = stated.frames or ()
    images = finder.all("image", [frame.image for frame in frames], frames)
    depths = _others(finder, "depth", frames, [frame.depth for frame in frames], wants.get("depth"))
    masks = _others(finder, "mask", frames, [frame.mask for frame in frames], wants.get("mask"))
    return replace(
        stated,
        frames=tuple(
            replace(frame, image=image, depth=depth, mask=mask)
            for frame, image, depth, mask in zip(frames, images, depths, masks, strict=True)
        ),
    )


def strangers(images: Collection[str], others: Collection[str | None], names: Iterable[str]) -> list[str]:
    """Photographs beside ``images`` that no camera took; ``others`` are depth and masks, which may lie there too."""
    folders = {image.rpartition("/")[0] for image in images}
    return sorted(
        name
        for name in names
        if name.rpartition("/")[0] in folders
        and name not in images
        and name not in others
        and _suffix(name) in PHOTOGRAPHS
        and not is_rendered_pass(name)
    )


def keys_of_pictures(stated: Sidecar) -> dict[str, set[int]]:
    """Under which paths below the capture's root, without regard to case, a picture may lie: of which cameras it is,
    by their numbers."""
    found: dict[str, set[int]] = {}
    for number, frame in enumerate(stated.frames or ()):
        for key in (*_keys("image", frame.image, frame), folded(frame.image)):
            found.setdefault(key, set()).add(number)
    return found


def twins(stated: Sidecar, names: Collection[str]) -> tuple[str, str] | None:
    """Two files of which each could be the picture of one camera of the rig, if there are such."""
    finder = _Finder(names)
    for frame in stated.frames or ():
        found = finder.everywhere("image", frame.image, frame)
        if len(found) > 1:
            return found[0], found[1]
    return None


def _others(
    finder: _Finder, role: Kind, frames: Collection[StatedFrame], stated: list[str | None], wanted: bool | None
) -> list[str] | list[None]:
    if wanted is False:
        return [None] * len(frames)
    usual = [f"{_FOLDERS[role][0]}{_view(frame)}.png" for frame in frames]
    found = finder.all(role, [path or other for path, other in zip(stated, usual, strict=True)], frames)
    there = any(path in finder.names for path in found)
    return found if there or wanted else [None] * len(frames)


class _Finder:
    """Finds files by path or by view, without regard to case."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = frozenset(names)
        self._folded = {name.casefold(): name for name in sorted(names, reverse=True)}

    def all(self, role: Kind, paths: Collection[str], frames: Iterable[StatedFrame]) -> list[str]:
        """Each view's file; one that is missing is expected where the others were found."""
        found = [self._one(role, path, frame) for path, frame in zip(paths, frames, strict=True)]
        elsewhere = (
            there.rpartition("/")[0]
            for there, path in zip(found, paths, strict=True)
            if there and there.casefold() != path.casefold()
        )
        moved = next(elsewhere, None)
        return [there or _moved(path, moved) for there, path in zip(found, paths, strict=True)]

    def _one(self, role: Kind, path: str, frame: StatedFrame) -> str | None:
        return next(iter(self.everywhere(role, path, frame)), None)

    def everywhere(self, role: Kind, path: str, frame: StatedFrame) -> list[str]:
        """All files that could be meant by ``path``: itself, then its view's name in the folders of its kind."""
        return [self._folded[key] for key in _keys(role, path, frame) if key in self._folded]


def _keys(role: Kind, path: str, frame: StatedFrame) -> Collection[str]:
    stems = dict.fromkeys((path.rpartition("/")[2].rpartition(".")[0], _view(frame)))
    endings = suffixes(role)
    places = (f"{folder}{stem}.{ending}" for folder in _FOLDERS[role] for stem in stems for ending in endings)
    return dict.fromkeys(place.casefold() for place in (path, *places))


def _moved(path: str, folder: str | None) -> str:
    last = path.rpartition("/")[2]
    return path if folder is None else f"{folder}/{last}" if folder else last


def _view(frame: StatedFrame) -> str:
    return frame.image.rpartition("/")[2].rpartition(".")[0]


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].casefold()
