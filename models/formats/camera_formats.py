"""The formats of cameras that are read, in the order in which they win where several lie in one folder."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from meshdrop.models.axes.conventions import CONVENTIONS
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.names import is_rendered_pass, outer_folders
from meshdrop.models.formats import bop, colmap, polycam
from meshdrop.models.formats.formats import Cameras, Folder
from meshdrop.models.formats.sidecar import StatedFrame, most_sidecar_bytes, parse_sidecar

#: nerfstudio and instant-ngp, then Blender's NeRF-synthetic.
TRANSFORMS = ("transforms.json", "transforms_train.json")


@dataclass(frozen=True)
class Format:
    """One way in which people write cameras down.

    ``roots(names)`` are the folders that hold a capture of this format, by names alone; ``read(folder)`` is asked only
    about those, and gives one answer whether or not all of it has arrived.
    """

    name: str
    roots: Callable[[Collection[str]], set[str]]
    read: Callable[[Folder], Cameras]


def most_bytes(file: str, limits: CaptureLimits) -> int:
    """How many bytes of a file of cameras are read at most; a longer one is refused."""
    return colmap.most_bytes(file, limits) or most_sidecar_bytes(file, limits)


def find(names: Collection[str]) -> dict[str, Format]:
    """Each folder that holds cameras, with the format that is read there; none of them lies in another."""
    found: dict[str, Format] = {}
    for one in FORMATS:
        for root in one.roots(names):
            found.setdefault(root, one)
    return {root: one for root, one in found.items() if not any(outer in found for outer in outer_folders(root))}


def _transforms_roots(names: Collection[str]) -> set[str]:
    found = set()
    for name in names:
        last = name.rpartition("/")[2]
        if last.casefold() in TRANSFORMS:
            found.add(name[: len(name) - len(last)])
    return found


def _read_transforms(folder: Folder) -> Cameras:
    by_fold = {name.casefold(): name for name in sorted(folder.names, reverse=True)}
    file = next(by_fold[name] for name in TRANSFORMS if name in by_fold)
    content = folder.content(file)
    if not content.strip(b"\0"):
        return Cameras("transforms", (file,), begun=(file,))
    stated, problems = parse_sidecar(content, folder.root + file, folder.limits)
    stated = replace(stated, format_up=stated.format_up or CONVENTIONS["transforms"].up)
    return Cameras("transforms", (file,), stated, problems, notes=_notes(folder, stated.frames or ()))


def _notes(folder: Folder, frames: Collection[StatedFrame]) -> tuple[str, ...]:
    """Blender's depth and normals lie beside its pictures under names of their own, and no sidecar names them."""
    if any(frame.depth for frame in frames):
        return ()
    beside = sorted(name for name in folder.names if is_rendered_pass(name))
    if not beside:
        return ()
    more = f" and {len(beside) - 1} more" if len(beside) > 1 else ""
    return (
        f"{folder.root}{beside[0]}{more}: no frame names it as its depth, so it is not used. Blender's 8-bit depth and "
        "normal pictures are no measurement.",
    )


FORMATS = (
    Format("transforms", _transforms_roots, _read_transforms),
    Format("bop", bop.roots, bop.read),
    Format("polycam", polycam.roots, polycam.read),
    Format("colmap", colmap.roots, colmap.read),
)
