"""Which files a capture has: those of the standard rig by their names, or those that a file of cameras lists."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from meshdrop.models.capture import canonical
from meshdrop.models.capture.canonical import Role, as_png
from meshdrop.models.capture.expectation import Kind, ViewFiles
from meshdrop.models.files.names import folded
from meshdrop.models.files.problem import Problem
from meshdrop.models.formats import camera_formats
from meshdrop.models.formats.sidecar import CANONICAL_NAMES, Sidecar, StatedFrame


@dataclass(frozen=True)
class CaptureFiles:
    """The files of a capture in the reading order: images, depth, masks. ``problems`` are what no waiting can cure."""

    kind: Kind
    views: tuple[ViewFiles, ...] = ()
    required: tuple[str, ...] = ()
    depth_stated: bool = False
    problems: tuple[Problem, ...] = ()


def _plan(kind: Kind, views: tuple[ViewFiles, ...], depth_stated: bool, problems: Iterable[Problem]) -> CaptureFiles:
    images = [view.image for view in views]
    depths = [view.depth for view in views if view.depth is not None]
    masks = [view.mask for view in views if view.mask is not None]
    return CaptureFiles(kind, views, (*images, *depths, *masks), depth_stated, tuple(problems))


def canonical_plan(stated: Sidecar, local: Collection[str], root: str, *, foreign: bool, asked: bool) -> CaptureFiles:
    """The views of the standard rig; ``foreign`` tells that the cameras are stated elsewhere, ``asked`` that our own
    sidecar lies there: without it, photographs that merely have a number are nobody's views.
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
    return _plan("canonical", views, depth_stated, problems)


def _unknown(local: Collection[str], root: str, foreign: bool) -> CaptureFiles:
    """Pictures without a plan: they wait for the file that states their cameras."""
    pictures = any(name.casefold().endswith(".png") for name in local)
    awaited = () if foreign or not pictures else (root + camera_formats.TRANSFORMS[0],)
    return CaptureFiles("unknown", required=awaited)


def framed_plan(stated: Sidecar, local: Collection[str], root: str) -> CaptureFiles:
    """The frames that the sidecar lists, with each path matched to the name on disk."""
    frames = stated.frames or ()
    resolver = {folded(short): short for short in sorted(local, reverse=True)}

    def place(path: str | None) -> str | None:
        return None if path is None else root + (path if path in local else resolver.get(folded(path), path))

    names = _view_names(frames)
    wants_depth, wants_mask = stated.depth is not False, stated.mask is not False
    views = tuple(
        ViewFiles(
            name,
            place(frame.image) or "",
            place(frame.depth) if wants_depth else None,
            place(frame.mask) if wants_mask else None,
        )
        for name, frame in zip(names, frames, strict=True)
    )
    has_depth = any(view.depth is not None for view in views)
    return _plan("frames", views, stated.depth is not None or has_depth, _frame_problems(stated, views))


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
