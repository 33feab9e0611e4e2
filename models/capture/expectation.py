"""What a capture's folder should hold, as a value: asked for by the settle rule, and by whoever reads the capture."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from meshdrop.models.capture.canonical import OTHER_PICTURES
from meshdrop.models.capture.rig_profile import RigProfile
from meshdrop.models.files.jpeg import is_jpeg_name
from meshdrop.models.files.names import listing
from meshdrop.models.files.problem import Problem, printable
from meshdrop.models.formats.sidecar import Sidecar

Kind = Literal["canonical", "frames", "unknown"]

_THINNED = (
    "There are more frames than a mesh needs: {most} of them are used, evenly spread (max_views says how many, in "
    "capture.json or among the settings)."
)


@dataclass(frozen=True)
class ViewFiles:
    """One view's files, posix paths relative to the dropped folder."""

    name: str
    image: str
    depth: str | None
    mask: str | None


@dataclass(frozen=True)
class Expectation:
    """What a folder's names and sidecars promise, and what of it is not there yet.

    ``root`` is "" or the subfolder (with its slash) that the capture sits in. ``views``, ``required`` (images, depth,
    masks, sidecars: the reading order) and ``missing`` hold paths relative to the dropped folder. Of the missing,
    ``begun`` are sidecars that are there in part, and ``in_place`` maps a path to a picture of another format that
    lies where the PNG should be. ``blockers`` are names that mean "still being copied". ``ignored`` is litter, our own
    earlier output, and files no rule asks for; ``notes`` are sentences about some of those. ``problems`` are what no
    waiting can cure. ``layout`` names the format; ``rig`` is the profile whose cameras are used, and ``pinned`` tells
    that it lies in the folder itself. ``open_ended``: nothing says how many files there will be. ``most_views`` is how
    many views of a longer sequence are used, ``spare`` what of the missing can be done without. ``assumed``:
    that the views are the standard rig's is told by nothing but their number.
    """

    kind: Kind
    root: str
    views: tuple[ViewFiles, ...]
    required: tuple[str, ...]
    missing: tuple[str, ...]
    depth_stated: bool
    blockers: tuple[str, ...]
    ignored: tuple[str, ...]
    problems: tuple[Problem, ...]
    sidecars: tuple[str, ...] = ()
    stated: Sidecar = field(default_factory=Sidecar)
    begun: tuple[str, ...] = ()
    in_place: Mapping[str, str] = field(default_factory=dict)
    layout: str = "unknown"
    notes: tuple[str, ...] = ()
    rig: RigProfile | None = None
    pinned: bool = False
    open_ended: bool = False
    no_cameras: Problem | None = None
    most_views: int = 200
    spare: tuple[str, ...] = ()
    assumed: bool = False

    def settled(self, fewest: int = 3) -> Expectation:
        """What is taken when nobody waits any longer: frames whose picture never came are left out, and that is said.

        Itself where nothing is left out, where fewer than ``fewest`` would remain, and of a stored rig, all of whose
        cameras must have their picture.
        """
        spare = frozenset(self.missing).intersection(self.spare)
        if spare and self.kind == "frames":
            return replace(
                self,
                required=tuple(name for name in self.required if name not in spare),
                missing=tuple(name for name in self.missing if name not in spare),
                sidecars=tuple(name for name in self.sidecars if name not in spare),
            ).settled(fewest)
        missing = frozenset(self.missing)
        there = [index for index, view in enumerate(self.views) if view.image not in missing]
        absent = [view.image[len(self.root) :] for view in self.views if view.image in missing]
        if self.kind != "frames" or self.rig is not None or not absent or len(there) < fewest:
            return self
        has, is_ = ("has", "is") if len(absent) == 1 else ("have", "are")
        note = f"{len(absent)} of {len(self.views)} frames {has} no picture here and {is_} left out: {listing(absent)}."
        if len(there) == self.most_views:  # of a sequence that was thinned before it was copied
            note = _THINNED.format(most=self.most_views)
        return self._only(there, note).thinned()

    def thinned(self) -> Expectation:
        """With at most ``most_views`` views of a sequence, evenly spread."""
        count, most = len(self.views), self.most_views
        if self.kind != "frames" or self.rig is not None or count <= most:
            return self
        keep = [round(index * (count - 1) / (most - 1)) for index in range(most)]
        return self._only(keep, _THINNED.format(most=most))

    def without(self, names: Collection[str]) -> Expectation:
        """With all views but these."""
        return self._only([index for index, view in enumerate(self.views) if view.name not in names])

    def _only(self, keep: Collection[int], *notes: str) -> Expectation:
        frames = self.stated.frames or ()
        views, kept = tuple(self.views[index] for index in keep), tuple(frames[index] for index in keep if frames)
        gone = {self.root + frame.source for frame in frames if frame.source is not None}
        gone -= {self.root + frame.source for frame in kept if frame.source is not None}
        images = tuple(view.image for view in views)
        depths = tuple(view.depth for view in views if view.depth is not None)
        masks = tuple(view.mask for view in views if view.mask is not None)
        sidecars = tuple(name for name in self.sidecars if name not in gone)
        required = (*images, *depths, *masks, *sidecars)
        asked = frozenset(required)
        return replace(
            self,
            views=views,
            required=required,
            missing=tuple(name for name in self.missing if name in asked),
            sidecars=sidecars,
            stated=replace(self.stated, frames=kept or None),
            notes=(*self.notes, *notes),
        )

    @property
    def complete(self) -> bool:
        """Whether every file of the set is there and nothing says that more is coming."""
        return self.kind != "unknown" and not self.missing and not self.blockers and not self.problems

    def waiting_for(self) -> str:
        """One plain phrase for the status page: ``5 of 12 files, waiting for depth/depth_05.png``; "" if nothing."""
        if self.blockers:
            return f"still being copied: {listing(self.blockers)}"
        if self.no_cameras is not None:
            return self.no_cameras.message
        if self.kind == "unknown" and not self.required:
            return "no capture recognised yet"
        if not self.missing:
            return ""
        there = len(self.required) - len(self.missing)
        return f"{there} of {len(self.required)} files, waiting for {listing(self.missing)}{self._why_not()}"

    def _why_not(self) -> str:
        """What a person could mistake for the first awaited file."""
        first = min(self.missing)
        if first in self.begun:
            return " (its content has not arrived)"
        other = self.in_place.get(first)
        return f" ({printable(other)} is {_what(other)}: save it as PNG)" if other else ""

    def awaited(self) -> tuple[Problem, ...]:
        """A problem for each file that is still awaited, for when nobody waits any longer."""
        lasting = {problem.file for problem in self.problems}
        images = frozenset(view.image for view in self.views) if self.kind == "frames" else frozenset()
        if self.no_cameras is not None:
            return (*(_blocked(name) for name in self.blockers), self.no_cameras)
        return (
            *(_blocked(name) for name in self.blockers),
            *(self._absent(name, images) for name in self.missing if name not in lasting),
        )

    def _absent(self, name: str, images: frozenset[str]) -> Problem:
        if name in self.begun:
            text = " (the last line of a text must end)" if name.casefold().endswith(".txt") else ""
            message = f"The file is empty, holds only zeros or stops in the middle{text}: its copy did not finish."
            return Problem("set", name, message, "Copy it again, or delete it if it is not needed.")
        other = self.in_place.get(name)
        if other is None:
            return Problem("set", name, "The file is missing.", "Copy it into the folder.")
        message = f"The file is {_what(other)}; {name} is due here."
        fix = "Save it as PNG, from the original rather than from a lossy copy."
        if is_jpeg_name(other) and name in images:
            fix = "Write its name with its ending into the file of cameras, or save the original as PNG."
        return Problem("not_png", other, message, fix)


def _blocked(name: str) -> Problem:
    return Problem(
        "set",
        name,
        "This is a copy program's temporary or lock file: the copy has not finished.",
        "Wait for it, copy the folder again, or delete the file.",
    )


def _what(name: str) -> str:
    return OTHER_PICTURES[name.rpartition(".")[2].casefold()]
