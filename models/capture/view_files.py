"""Which files a capture has: those of the standard rig by their names, or those that a file of cameras lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from meshdrop.models.capture import canonical
from meshdrop.models.capture.canonical import Role, as_png
from meshdrop.models.capture.expectation import Kind, ViewFiles
from meshdrop.models.capture.stated_paths import FoundFile, StatedPaths
from meshdrop.models.files.names import listing
from meshdrop.models.files.pictures import suffixes
from meshdrop.models.files.problem import Problem
from meshdrop.models.formats import camera_formats
from meshdrop.models.formats.sidecar import CANONICAL_NAMES, Sidecar, StatedFrame


@dataclass(frozen=True)
class CaptureFiles:
    """The files of a capture in the reading order: images, depth, masks. ``problems`` are what no waiting can cure.

    ``moved`` tells that some were found by the end of their path only: the right ones may still come. ``assumed``:
    nothing says that these are the standard rig's but their number.
    """

    kind: Kind
    views: tuple[ViewFiles, ...] = ()
    required: tuple[str, ...] = ()
    depth_stated: bool = False
    problems: tuple[Problem, ...] = ()
    moved: bool = False
    assumed: bool = False


def _plan(
    kind: Kind, views: tuple[ViewFiles, ...], depth_stated: bool, problems: Iterable[Problem], *, moved: bool = False
) -> CaptureFiles:
    images = [view.image for view in views]
    depths = [view.depth for view in views if view.depth is not None]
    masks = [view.mask for view in views if view.mask is not None]
    return CaptureFiles(kind, views, (*images, *depths, *masks), depth_stated, tuple(problems), moved)


def canonical_plan(stated: Sidecar, local: Collection[str], root: str, *, foreign: bool, asked: bool) -> CaptureFiles:
    """The views of the standard rig; ``foreign`` tells that the cameras are stated elsewhere, ``asked`` that they are
    said to be the rig's: without that, photographs that merely have a number are nobody's views.
    """
    found = canonical.by_place(local)
    if found and not asked and canonical.is_numbered_only(found):
        return _unknown(local, root, foreign)
    # Without a PNG, pictures of another format show what is meant, and the PNGs in their place are awaited; a number in
    # a phone's name (IMG_0001.HEIC) means nothing.
    meant = found or canonical.by_place(as_png(short) for short in local if canonical.speaks(short))
    elsewhere = any(short.casefold().startswith(canonical.UNCLAIMED_FOLDERS) for short in local)
    if foreign or not meant or (elsewhere and not canonical.is_wanted("image", None, meant)):
        return _unknown(local, root, foreign)
    wanted = stated.views or CANONICAL_NAMES
    roles: list[Role] = ["image"]
    roles += ["depth"] if canonical.is_wanted("depth", stated.depth, meant) else []
    roles += ["mask"] if canonical.is_wanted("mask", stated.mask, meant) else []
    styles = {role: canonical.style(role, meant) for role in roles}
    paths = {
        (role, view): root + (meant[role, view][0] if (role, view) in meant else canonical.styled(styles[role], view))
        for role in roles
        for view in wanted
    }
    views = tuple(
        ViewFiles(view, paths["image", view], paths.get(("depth", view)), paths.get(("mask", view))) for view in wanted
    )
    depth_stated = stated.depth is not None or "depth" in roles
    problems = [*canonical.twins(found, root), *canonical.extras(stated, local, root, found)]
    return replace(
        _plan("canonical", views, depth_stated, problems), assumed=not asked and not canonical.is_said(meant)
    )


def _unknown(local: Collection[str], root: str, foreign: bool) -> CaptureFiles:
    """Pictures without a plan: they wait for the file that states their cameras."""
    pictures = any(name.casefold().endswith(".png") for name in local)
    awaited = () if foreign or not pictures else (root + camera_formats.TRANSFORMS[0],)
    return CaptureFiles("unknown", required=awaited)


def framed_plan(stated: Sidecar, local: Collection[str], root: str) -> CaptureFiles:
    """The frames that the sidecar lists, with each path matched to the file that it means."""
    frames = stated.frames or ()
    paths = StatedPaths(local)
    wanted = {"image": True, "depth": stated.depth is not False, "mask": stated.mask is not False}
    found: dict[Role, list[FoundFile | None]] = {
        role: [None if not wanted[role] or path is None else paths.find(path, role) for path in stated_ones]
        for role, stated_ones in _paths(frames).items()
    }
    _part(found, frames)

    def place(role: Role, index: int) -> str | None:
        one = found[role][index]
        return None if one is None else root + one.name

    views = tuple(
        ViewFiles(name, place("image", index) or "", place("depth", index), place("mask", index))
        for index, name in enumerate(_view_names(frames))
    )
    has_depth = any(view.depth is not None for view in views)
    problems = (*_frame_problems(stated, views), *_unclear(found, root), *_not_read(found, root))
    moved = any(one is not None and one.elsewhere for ones in found.values() for one in ones)
    return _plan("frames", views, stated.depth is not None or has_depth, problems, moved=moved)


def _paths(frames: Iterable[StatedFrame]) -> dict[Role, list[str | None]]:
    return {
        "image": [frame.image for frame in frames],
        "depth": [frame.depth for frame in frames],
        "mask": [frame.mask for frame in frames],
    }


def _part(found: Mapping[Role, list[FoundFile | None]], frames: Iterable[StatedFrame]) -> None:
    """A file that the ends of two paths lead to is neither's."""
    claims = Counter(one.name for ones in found.values() for one in ones if one is not None and one.there)
    for role, paths in _paths(frames).items():
        for index, (one, path) in enumerate(zip(found[role], paths, strict=True)):
            if one is not None and path is not None and one.elsewhere and claims[one.name] > 1:
                found[role][index] = FoundFile(path, False)


def _unclear(found: Mapping[Role, list[FoundFile | None]], root: str) -> Iterable[Problem]:
    """One problem for all paths of which each could mean several files."""
    unclear = [one for ones in found.values() for one in ones if one is not None and one.twins]
    if unclear:
        first, more = unclear[0], len(unclear) - 1
        others = f" (and so of {more} more path{'s' if more > 1 else ''})" if more else ""
        message = f"Several files could be meant by {first.name}: {listing([root + n for n in first.twins])}{others}."
        yield Problem("set", root + first.twins[0], message, "Keep one of them, or state its whole path.")


def _not_read(found: Mapping[Role, list[FoundFile | None]], root: str) -> Iterable[Problem]:
    """One problem for all files of a role that are of a kind which is not read for it."""
    for role, ones in found.items():
        endings = suffixes(role)
        odd = [one.name for one in ones if one is not None and one.there and not one.name.casefold().endswith(endings)]
        if odd:
            what = {"image": "photographs", "depth": "depth", "mask": "masks"}[role]
            read = ", ".join(f".{ending}" for ending in endings)
            message = f"{listing([root + name for name in odd])}: {what} are read from {read}."
            yield Problem("not_png", root + odd[0], message, "Convert them to PNG; the stated paths may stay.")


def _frame_problems(stated: Sidecar, views: tuple[ViewFiles, ...]) -> Iterable[Problem]:
    seen: set[str] = set()
    for view in views:
        for path in (view.image, view.depth, view.mask):
            if path is not None and path in seen:
                yield Problem("set", path, f"The sidecar names {path} twice.", "Give every view files of its own.")
            seen.add(path or "")
    for role, wanted in (("depth", stated.depth), ("mask", stated.mask)):
        lacking = [view.name for view in views if getattr(view, role) is None]
        if wanted and lacking:
            key = "depth_file_path" if role == "depth" else "mask_path"
            yield Problem(
                "sidecar",
                None,
                f'"{role}" is true, but frame {lacking[0]} has no {key}.',
                f'Add {key} to every frame, or set "{role}" to false.',
            )


def _view_names(frames: tuple[StatedFrame, ...]) -> list[str]:
    """File stems; whole paths where two stems are equal."""
    stems = [frame.image.rpartition("/")[2].rpartition(".")[0] for frame in frames]
    if len(set(stems)) == len(stems):
        return stems
    return [frame.image.rpartition(".")[0].replace("/", "_") for frame in frames]
