"""Which rig a dropped folder names, by the folder it was dropped into, its ``capture.json`` or its ``rig.json``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from meshdrop.models.capture.rig_profile import FILE, RigProfile, Rigs, keys_of_pictures, parse_profile, unknown_rig
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.names import folded, folder_of, last_of, outer_folders
from meshdrop.models.files.problem import Problem
from meshdrop.models.formats.sidecar import Sidecar


@dataclass(frozen=True)
class Claim:
    """The rig a folder names; false when it names none.

    ``file`` is the path of the profile where it lies in the folder itself: then it holds, whatever is stored under its
    name now. ``stated`` has no frames while the profile is unknown or not wholly there.
    """

    name: str = ""
    root: str = ""
    profile: RigProfile | None = None
    file: str | None = None
    begun: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    stated: Sidecar = field(default_factory=Sidecar)

    def __bool__(self) -> bool:
        return bool(self.name)


def find_rig(
    kept: Collection[str], own: Mapping[str, Sidecar], read: Callable[[str], bytes], limits: CaptureLimits, rigs: Rigs
) -> Claim:
    """What the folder with the names ``kept`` says of its rig; ``own`` are its capture.json files as parsed."""
    files = sorted((name for name in kept if last_of(name) == FILE), key=lambda name: (name.count("/"), name))
    named: dict[str, str | None] = {rigs.dropped_for: None} if rigs.dropped_for else {}
    named |= {stated.rig: file for file, stated in own.items() if stated.rig}
    problems: list[Problem] = []
    begun: list[str] = []
    pinned: list[tuple[str, RigProfile]] = []
    for file in files[: limits.max_depth + 1]:
        text = read(file)
        if not text.strip(b"\0"):
            begun.append(file)
            continue
        profile, wrong = parse_profile(text, file, limits)
        problems += wrong
        if profile is not None:
            named.setdefault(profile.name, file)
            pinned += [(file, profile)] if profile.stated.frames is not None else []
    name = next(iter(named), "")
    if not name:
        # Nothing that could be read names a rig: a damaged rig.json is still no capture of the standard one.
        unread = files[0] if problems or begun else None
        return Claim("?", folder_of(unread), begun=tuple(begun), problems=tuple(problems)) if unread else Claim()
    if len(named) > 1:
        listed = " and ".join(named)
        problems.append(Problem("rig", None, f"The folder names two rigs: {listed}.", "Keep the right one."))
    if pinned:
        file, profile = pinned[0]
        return Claim(profile.name, folder_of(file), profile, file, tuple(begun), tuple(problems), profile.stated)
    if name not in rigs.texts:
        problems.append(unknown_rig(name, rigs.texts, named[name]))
        return Claim(name, "", begun=tuple(begun), problems=tuple(problems))
    profile, wrong = parse_profile(rigs.texts[name], FILE, limits)
    if wrong or profile is None or profile.stated.frames is None:
        why = wrong[0].message if wrong else "it holds no cameras"
        message = f"The stored profile of the rig {name} cannot be used: {why}"
        problems.append(Problem("rig", None, message, f"Store it again: meshdrop rig add {name} --from FILE."))
        return Claim(name, "", begun=tuple(begun), problems=tuple(problems))
    return Claim(name, _root(kept, profile), profile, None, tuple(begun), tuple(problems), profile.stated)


def _root(kept: Collection[str], profile: RigProfile) -> str:
    """The folder in which most of the rig's pictures are found; the outermost of those."""
    cameras = keys_of_pictures(profile.stated)
    found: dict[str, set[int]] = {"": set()}
    for name in kept:
        for root in outer_folders(name):
            inner = name[len(root) :]
            seen = (cameras.get(key, ()) for key in (inner.casefold(), folded(inner)))
            found.setdefault(root, set()).update(*seen)
    return max(sorted(found, key=lambda root: (root.count("/"), root)), key=lambda root: len(found[root]))
