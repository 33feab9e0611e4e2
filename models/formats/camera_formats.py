"""The formats of cameras that are read, in the order in which they win where several lie in one folder."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from meshdrop.models.axes.conventions import CONVENTIONS
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.names import is_rendered_pass, last_of, outer_folders
from meshdrop.models.files.pictures import suffixes
from meshdrop.models.formats import bop, colmap, llff, polycam, record3d, scanner_app, seven_scenes, tum
from meshdrop.models.formats.formats import Cameras, Folder
from meshdrop.models.formats.sidecar import StatedFrame, most_sidecar_bytes, parse_sidecar

#: nerfstudio and instant-ngp, then Blender's NeRF-synthetic.
TRANSFORMS = ("transforms.json", "transforms_train.json")


@dataclass(frozen=True)
class Format:
    """One way in which people write cameras down.

    ``roots(names)`` are the folders that hold a capture of this format, by names alone; ``read(folder)`` is asked only
    about those, and gives one answer whether or not all of it has arrived. Where pictures lie is part of the format,
    unless they may be ``beside``: then ``read`` finds its files in any folder below the root.
    """

    name: str
    roots: Callable[[Collection[str]], set[str]]
    read: Callable[[Folder], Cameras]
    beside: bool = False


def most_bytes(file: str, limits: CaptureLimits) -> int:
    """How many bytes of a file of cameras are read at most; a longer one is refused."""
    return colmap.most_bytes(file, limits) or most_sidecar_bytes(file, limits)


def find(names: Collection[str]) -> dict[str, Format]:
    """Each folder that holds cameras, with the format that is read there; none of them lies in another."""
    found: dict[str, Format] = {}
    for one in FORMATS:
        for root in one.roots(names):
            found.setdefault(root, one)
    if len(found) == 1:
        ((root, one),) = found.items()
        return {_around_pictures(root, names) if one.beside else root: one}
    return {root: one for root, one in found.items() if not any(outer in found for outer in outer_folders(root))}


def _around_pictures(root: str, names: Collection[str]) -> str:
    """The innermost folder around the only cameras that holds photographs too: they may lie beside each other."""
    pictures = [name for name in names if last_of(name).endswith(suffixes("image"))]
    around = (root, *reversed(tuple(outer_folders(root))))
    return next((folder for folder in around if any(name.startswith(folder) for name in pictures)), root)


def _transforms_roots(names: Collection[str]) -> set[str]:
    found = set()
    for name in names:
        last = name.rpartition("/")[2]
        if last.casefold() in TRANSFORMS:
            found.add(name[: len(name) - len(last)])
    return found


def _read_transforms(folder: Folder) -> Cameras:
    files = [name for name in folder.names if last_of(name) in TRANSFORMS]
    file = min(files, key=lambda name: (name.count("/"), TRANSFORMS.index(last_of(name)), name))
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
    Format("transforms", _transforms_roots, _read_transforms, beside=True),
    Format("bop", bop.roots, bop.read),
    Format("polycam", polycam.roots, polycam.read),
    Format("colmap", colmap.roots, colmap.read, beside=True),
    Format("llff", llff.roots, llff.read, beside=True),
    Format("7-scenes", seven_scenes.roots, seven_scenes.read, beside=True),
    Format("tum", tum.roots, tum.read, beside=True),
    Format("record3d", record3d.roots, record3d.read),
    Format("3d-scanner-app", scanner_app.roots, scanner_app.read),
)
