"""Do the folders keep out of each other's way? The service refuses to start where they do not.

Links are followed: what counts is where a folder really lies.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from meshdrop.daemon.base.places import Places


@dataclass(frozen=True)
class Clash:
    """Two folders that must not lie as they do: what is so, what it leads to, and what a person does."""

    says: str
    why: str
    fix: str


def clash(places: Places) -> Clash | None:
    """The first pair of folders in each other's way; None when all is well. Looks at names and links only."""
    return _public_in_public(places) or _private_in_public(places) or _public_in_private(places) or _private(places)


def _public_in_public(places: Places) -> Clash | None:
    for one, other in combinations(places.public(), 2):
        if _lies_in(one, other) or _lies_in(other, one):
            same = f"{one} and {other} are the same folder"
            inner, outer = (one, other) if _lies_in(one, other) else (other, one)
            return Clash(
                same if _real(one) == _real(other) else f"{inner} lies inside {outer}",
                "results would be taken for captures, or captures for results",
                f"make each a folder of its own; ls -ld {places.root}/* shows which one is a link",
            )
    return None


def _private_in_public(places: Places) -> Clash | None:
    settings = (
        (places.spool, "spool_dir"),
        (places.state, "state_dir"),
        (places.cache, "cache_dir"),
        (places.weights, "weights_dir"),
    )
    for private, setting in settings:
        for public in places.public():
            if _lies_in(private, public):
                same = _real(private) == _real(public)
                return Clash(
                    f"{setting} is {public} itself" if same else f"{private} lies inside {public}",
                    "people at the share could delete or change captures that were accepted",
                    f"move it with the setting {setting}, to a folder that nobody exports",
                )
    return None


def _public_in_private(places: Places) -> Clash | None:
    for private, setting in ((places.spool, "spool_dir"), (places.state, "state_dir")):
        for public in places.public():
            if _lies_in(public, private):
                return Clash(
                    f"{public} lies inside {private}, which is private",
                    "people at the share could not reach it, or could delete captures that were accepted",
                    f"set {setting} to a folder of its own, or make {public.name} one where it is a link",
                )
    return None


def _private(places: Places) -> Clash | None:
    """What the service clears away in one must not be the other."""
    if not _lies_in(places.state, places.spool) and not _lies_in(places.spool, places.state / "work"):
        return None
    same = _real(places.state) == _real(places.spool)
    inner, outer = sorted((places.state, places.spool), key=lambda folder: len(_real(folder).parts), reverse=True)
    return Clash(
        f"spool and state are both {places.spool}" if same else f"{inner} lies inside {outer}",
        "the locks of both are one file, and what is put in order in one would be lost in the other",
        "set spool_dir and state_dir to two folders beside each other",
    )


def _lies_in(inner: Path, outer: Path) -> bool:
    """Whether one folder is the other, or lies in it."""
    real, around = _real(inner), _real(outer)
    return real == around or around in real.parents


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
