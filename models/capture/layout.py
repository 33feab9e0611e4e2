"""Which files make a capture complete: from the names in a folder and the bytes of its sidecars. No pixel is read.

Standard library only: the daemon's settle rule asks this at every scan. ``docs/capture-format.md`` shows the layouts.

A folder that is still being copied looks broken in many ways, so the caller judges ``problems`` only after the
folder has been quiet for the settle window; ``missing`` and ``blockers`` say what is still awaited.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from meshdrop.models.capture import canonical
from meshdrop.models.capture.canonical import PICTURE_FOLDERS, as_png, other_pictures, place_of
from meshdrop.models.capture.expectation import Expectation, Kind, ViewFiles
from meshdrop.models.capture.rig_claims import find_rig
from meshdrop.models.capture.rig_profile import NO_RIGS, Rigs, placed, strangers, twins
from meshdrop.models.capture.view_files import CaptureFiles, canonical_plan, framed_plan
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.names import (
    RETURNED_FOLDER,
    folder_of,
    is_blocker,
    is_litter,
    is_own_output,
    last_of,
    listing,
    sort_names,
)
from meshdrop.models.files.problem import Problem
from meshdrop.models.formats import camera_formats
from meshdrop.models.formats.camera_formats import most_bytes
from meshdrop.models.formats.formats import Cameras, Folder
from meshdrop.models.formats.poseless import why_no_capture
from meshdrop.models.formats.sidecar import (
    CANONICAL_NAMES,
    OWN_SIDECAR,
    STANDARD_RIG,
    Options,
    Sidecar,
    merge_sidecars,
    parse_sidecar,
    read_options,
    says_no_focal,
)

__all__ = [
    "CANONICAL_NAMES",
    "PICTURE_FOLDERS",
    "Expectation",
    "Options",
    "Problem",
    "Sidecar",
    "ViewFiles",
    "expect",
    "is_blocker",
    "is_litter",
    "is_own_output",
    "most_bytes",
    "read_options",
]


def expect(
    names: Collection[str], read: Callable[[str], bytes], limits: CaptureLimits, rigs: Rigs = NO_RIGS
) -> Expectation:
    """What the folder with these ``names`` should hold.

    ``names`` are the relative posix paths of its files (``os.fsdecode``; directories need not be listed). ``read``
    returns the bytes of one of them and may raise ``OSError``, which passes through; it should read no more than
    ``most_bytes(name) + 1`` bytes, and more is refused here in any case. ``rigs`` are the stored profiles.
    """
    kept, ignored, blockers = sort_names(names, limits.custom_models)
    too_many = _too_many(names, kept, limits)
    if too_many:
        return Expectation("unknown", "", (), (), (), False, blockers, ignored, too_many)
    found = _Capture(kept, _Once(read), limits, rigs)
    plan = found.plan()
    required = (*plan.required, *found.sidecars)
    absent = tuple(path for path in required if path not in kept)
    root, asked = found.root, frozenset(required)
    # A sidecar that is there in part is a file whose copy has begun: it is awaited, like a file that is not there.
    others = other_pictures(found.local)
    only_ours = all(last_of(name) == OWN_SIDECAR for name in found.sidecars)
    unknown = plan.kind == "unknown" and only_ours and not (found.problems or found.begun)
    expectation = Expectation(
        kind=plan.kind,
        root=root,
        views=plan.views,
        required=required,
        missing=(*absent, *found.begun),
        depth_stated=plan.depth_stated,
        blockers=blockers,
        ignored=tuple(sorted({*ignored, *(name for name in kept if name not in asked)})),
        problems=(*found.problems, *plan.problems, *_too_deep(plan.kind, kept, root, asked, limits)),
        sidecars=found.sidecars,
        stated=found.stated,
        begun=found.begun,
        in_place={path: root + others[key] for path in absent if (key := place_of(path[len(root) :])) in others},
        layout=found.layout if plan.kind == "frames" else plan.kind,
        notes=(*found.notes, *_unused(plan, kept)),
        rig=found.rig,
        pinned=found.pinned,
        open_ended=found.open_ended or plan.moved,
        no_cameras=why_no_capture(kept) if unknown else None,
        spare=found.spare,
        assumed=plan.assumed,
        most_views=len(plan.views) if found.by_order else found.stated.max_views or limits.max_views,
    )
    return expectation if expectation.missing else expectation.thinned()


class _Once:
    """Reads each file once."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        self._read = read
        self._content: dict[str, bytes] = {}

    def __call__(self, name: str) -> bytes:
        if name not in self._content:
            self._content[name] = self._read(name)
        return self._content[name]


_Parsed = tuple[Sidecar, tuple[Problem, ...]] | None


class _Capture:
    """Where in the folder the capture sits, and what its sidecars state together.

    Cameras come from one place: a rig that is named, a file of somebody's format, our own sidecar, or, where there is
    nothing of the kind, the standard rig.
    """

    def __init__(self, kept: frozenset[str], read: _Once, limits: CaptureLimits, rigs: Rigs) -> None:
        self._kept, self._read, self._limits = kept, read, limits
        self._parsed = {name: self._own(name) for name in self._own_files()}
        homes = camera_formats.find(kept)
        ours = {name: value[0] for name, value in self._parsed.items() if value}
        framed = {folder_of(name) for name, stated in ours.items() if stated.frames is not None}
        self._claim = find_rig(kept, ours, read, limits, rigs)
        self.rig, self.pinned = self._claim.profile, self._claim.file is not None
        if self._claim:
            self.root = self._claim.root
            self.problems = (*self._claim.problems, *_stated_twice(self._claim.name, homes, framed))
        else:
            self.root, self.problems = _find_root(kept, {*homes, *framed})
        self.local = {name[len(self.root) :] for name in kept if name.startswith(self.root)}
        cameras = self._cameras(homes)
        self.layout, self.notes, self.open_ended = cameras.layout, cameras.notes, cameras.open_ended
        self.by_order = cameras.by_order
        self.spare = tuple(self.root + name for name in cameras.spare)
        self._merge(self._mine(), cameras)
        self.local -= {name[len(self.root) :] for name in self.sidecars}
        if self._claim and self.stated.frames is not None:
            self._put_in_place()

    def _own_files(self) -> list[str]:
        """Our sidecars, as many as a capture can have with one too many."""
        found = sorted(name for name in self._kept if last_of(name) == OWN_SIDECAR)
        return sorted(found, key=lambda name: name.count("/"))[: self._limits.max_depth + 1]

    def _own(self, name: str) -> _Parsed:
        """What it states; None for an empty file, whose copy has only begun."""
        content = self._read(name)
        return parse_sidecar(content, name, self._limits) if content.strip(b"\0") else None

    def _mine(self) -> tuple[str, ...]:
        """Our sidecars that count: in the root, and laid on top of a folder that came back."""
        by_fold = {name.casefold(): name for name in self._parsed}
        places = dict.fromkeys((f"{self.root}{OWN_SIDECAR}".casefold(), OWN_SIDECAR))
        return tuple(by_fold[place] for place in places if place in by_fold)

    def _cameras(self, homes: Mapping[str, camera_formats.Format]) -> Cameras:
        """What a rig, or somebody's format, states; nothing where there is neither."""
        claim = self._claim
        if claim:
            inside = tuple(file[len(claim.root) :] for file in (claim.file,) if file)
            return Cameras("rig", inside, claim.stated)
        if self.root not in homes:
            return Cameras("transforms", ())
        folder = Folder(self.root, frozenset(self.local), lambda short: self._read(self.root + short), self._limits)
        found = homes[self.root].read(folder)
        self.problems = (*self.problems, *found.problems)
        return found

    def _merge(self, mine: tuple[str, ...], cameras: Cameras) -> None:
        """What ours and theirs state together, and where they quarrel."""
        files = tuple(self.root + name for name in cameras.files)
        problems = [problem for name in mine if (value := self._parsed[name]) for problem in value[1]]
        ours = [value[0] for name in mine if (value := self._parsed[name])]
        self.sidecars = (*mine, *files)
        self.begun = tuple(name for name in mine if self._parsed[name] is None)
        self.begun += self._claim.begun or tuple(self.root + name for name in cameras.begun)
        there = set(files) <= {*self._kept, *self.spare}
        if not (self.begun or problems or self.problems) and there:
            problems += _quarrels(mine, ours, files, cameras.stated)
        self.problems = (*self.problems, *problems)
        if self._claim or files:
            self.stated = merge_sidecars(ours[0], cameras.stated) if ours else cameras.stated
        else:
            self.stated = ours[0] if ours else Sidecar()
        lacking = cameras.unless_stated
        if lacking is not None and any(says_no_focal(frame.intrinsics) for frame in self.stated.frames or ()):
            self.problems = (*self.problems, lacking)
            self.stated = replace(self.stated, frames=())

    def _put_in_place(self) -> None:
        """A rig's pictures may lie elsewhere than in the profile's own capture."""
        both = twins(self.stated, self.local)
        self.stated = placed(self.stated, self.local, {"depth": self.stated.depth, "mask": self.stated.mask})
        frames = self.stated.frames or ()
        others = {path for frame in frames for path in (frame.depth, frame.mask)}
        more = strangers({frame.image for frame in frames}, others, self.local)
        if both is not None:
            one, other = (self.root + name for name in both)
            message = f"Two files could be the picture of one camera: {one} and {other}."
            self.problems = (*self.problems, Problem("set", other, message, "Keep one of them."))
        elif more:
            message = f"{self.root}{more[0]} is no view of the rig {self._claim.name}, which has {len(frames)} cameras."
            fix = "Remove it, or store the rig anew with all its cameras."
            self.problems = (*self.problems, Problem("set", self.root + more[0], message, fix))

    def plan(self) -> CaptureFiles:
        """Which files the capture has."""
        if self.stated.frames is not None:
            return framed_plan(self.stated, self.local, self.root)
        stated_elsewhere = bool(self._claim) or any(last_of(name) != OWN_SIDECAR for name in self.sidecars)
        asked = self.stated.standard_rig or self._limits.default_rig == STANDARD_RIG
        return canonical_plan(self.stated, self.local, self.root, foreign=stated_elsewhere, asked=asked)


def _quarrels(mine: tuple[str, ...], ours: list[Sidecar], files: tuple[str, ...], theirs: Sidecar) -> Iterable[Problem]:
    """Sidecars that contradict each other."""
    if len(mine) > 1:
        yield Problem("sidecar", mine[1], f"There are two sidecars: {mine[0]} and {mine[1]}.", "Keep the right one.")
    if files and theirs.frames is None:
        yield Problem("sidecar", files[0], 'The file has no "frames".', "Export it again with its camera poses.")
    if mine and files and ours[0].frames is not None:
        yield Problem(
            "sidecar",
            mine[0],
            f"Cameras are stated twice: in {mine[0]} and in {files[0]}.",
            f'Delete one of them, or leave "frames" out of {mine[0]}.',
        )


def _stated_twice(rig: str, homes: Collection[str], framed: Collection[str]) -> tuple[Problem, ...]:
    if not homes and not framed:
        return ()
    message = f"Cameras are stated twice: by the rig {rig} and by the folder's own files."
    return (Problem("sidecar", None, message, "Leave the cameras out of the folder, or drop it outside of the rig's."),)


def _unused(plan: CaptureFiles, kept: Collection[str]) -> Iterable[str]:
    """Pictures among those of the capture that its cameras say nothing of: COLMAP could not place them, for example."""
    others = {path for view in plan.views for path in (view.depth, view.mask)}
    images = {view.image for view in plan.views}
    taken = {image.rpartition(".")[0] for image in images}  # a JPEG beside its PNG is no other picture
    found = strangers(images, others, kept) if plan.kind == "frames" else []
    if more := [name for name in found if name.rpartition(".")[0] not in taken]:
        yield f"{listing(more)}: no camera is stated for {'it' if len(more) == 1 else 'them'}, so not used."


# -- names ---------------------------------------------------------------------------------------------------------


def _too_many(names: Collection[str], kept: Collection[str], limits: CaptureLimits) -> tuple[Problem, ...]:
    if len(kept) <= limits.max_entries and len(names) <= 10 * limits.max_entries:
        return ()
    return (
        Problem(
            "too_many",
            None,
            f"The folder holds more than {limits.max_entries:,} files, the most that a capture may have.",
            "Drop one capture per folder, without other files.",
        ),
    )


def _too_deep(
    kind: Kind, kept: Iterable[str], root: str, required: Collection[str], limits: CaptureLimits
) -> tuple[Problem, ...]:
    """A capture may hide one level down; a folder that came back from us wears one level more.

    Cameras say which files are theirs: what a program keeps beside them (COLMAP: ``dense/0/stereo/depth_maps/``) may
    lie as deep as is listed at all.
    """
    if kind == "frames":
        return ()
    allowed = limits.max_depth + root.count("/")
    for name in sorted(kept):
        levels = name.count("/") - (name.startswith(RETURNED_FOLDER) and not root.startswith(RETURNED_FOLDER))
        if levels > allowed and name not in required:
            return (
                Problem(
                    "depth",
                    name,
                    f"The file is {levels} folders deep; a capture has at most {allowed}.",
                    "Drop the folder that holds the pictures itself.",
                ),
            )
    return ()


# -- where in the folder the capture sits --------------------------------------------------------------------------


def _find_root(kept: Collection[str], camera_roots: Collection[str]) -> tuple[str, tuple[Problem, ...]]:
    """The subfolder that holds the capture ("" for the folder itself), and a problem when two could be meant.

    A folder whose sidecar states cameras owns everything below it, and so does one with a ``views/`` of its own.
    Pictures that merely have a number in their name (``RAW/IMG_1.png``) speak for their folder only where there is
    neither, and then a folder with all six wins over one with fewer, and over those inside it.
    """
    owned = tuple(camera_roots)
    places = {
        name: place for name in kept if (place := canonical.picture_place(name)) and not place.root.startswith(owned)
    }
    # What is not PNG is evidence only while there is nothing better.
    pictures = [place for name, place in places.items() if as_png(name) == name] or list(places.values())
    sure = {*camera_roots, *(place.root for place in pictures if place.sure)}
    roots = sorted(sure or canonical.fullest(pictures))
    if not roots:
        return min((folder_of(name) for name in kept if last_of(name) == OWN_SIDECAR), default=""), ()
    if len(roots) == 1:
        return roots[0], ()
    if RETURNED_FOLDER in roots and "" not in roots:
        return RETURNED_FOLDER, ()
    shown = listing([root or "the top folder" for root in roots])
    problem = Problem(
        "set", None, f"The folder holds more than one capture: {shown}.", "Drop each capture as a folder of its own."
    )
    return roots[0], (problem,)
