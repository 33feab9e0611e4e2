"""The canonical layout: six views of the standard rig, told apart by the names of folders and files. Standard library
only. ``docs/capture-format.md`` shows the names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from meshdrop.models.files.names import folded
from meshdrop.models.files.pictures import KINDS, kind_of
from meshdrop.models.files.problem import Problem
from meshdrop.models.formats.sidecar import CANONICAL_NAMES, Sidecar

Role = Literal["image", "depth", "mask"]

#: Folders of the canonical layout and what their pictures are. ``images/`` is left to ``transforms.json``: taking it
#: as canonical would read a half-copied nerfstudio folder with the wrong cameras.
ROLE_FOLDERS: Mapping[str, Role] = {
    "views": "image",
    "view": "image",
    "rgb": "image",
    "color": "image",
    "colour": "image",
    "depth": "depth",
    "depths": "depth",
    "masks": "mask",
    "mask": "mask",
}
UNCLAIMED_FOLDERS = ("images/", "image/", "train/")
#: What cameras and scanners write beside PNG, and what to call it where it is not what is due.
OTHER_PICTURES: Mapping[str, str] = {
    "jpg": "a JPEG",
    "jpeg": "a JPEG",
    "tif": "a TIFF",
    "tiff": "a TIFF",
    "bmp": "a BMP",
    "webp": "a WebP picture",
    "avif": "an AVIF picture",
    "exr": "an OpenEXR picture",
    "gif": "a GIF",
    "heic": "an HEIC picture",
    "heif": "an HEIC picture",
    "npy": "a NumPy array",
    "raw": "a raw picture",
    "dng": "a raw picture",
    "cr2": "a raw picture",
    "nef": "a raw picture",
    "arw": "a raw picture",
}
#: Folders that hold pictures and so never are a capture's root.
PICTURE_FOLDERS = frozenset({*ROLE_FOLDERS, "images", "image", "train", "test", "val"})
#: Words in a file name that say what the picture is.
ROLE_WORDS: Mapping[str, Role] = {
    "view": "image",
    "rgb": "image",
    "rgba": "image",
    "color": "image",
    "colour": "image",
    "image": "image",
    "img": "image",
    "photo": "image",
    "depth": "depth",
    "z": "depth",
    "mask": "mask",
    "alpha": "mask",
    "matte": "mask",
}
DEFAULT_STYLES: Mapping[Role, str] = {
    "image": "views/view_{number}.png",
    "depth": "depth/depth_{number}.png",
    "mask": "masks/mask_{number}.png",
}

_WORDS = re.compile(r"[a-z]+|[0-9]+")


@dataclass(frozen=True)
class Place:
    """Where a picture would belong: ``sure`` when its own folder says what it is, not just a number in its name."""

    root: str
    view: str
    sure: bool


def fullest(pictures: Iterable[Place]) -> set[str]:
    """The outermost folders with a picture of every view; else the one folder with most of them."""
    counts = Counter(root for root, _ in {(picture.root, picture.view) for picture in pictures})
    full = {root for root, count in counts.items() if count == len(CANONICAL_NAMES)}
    outermost = {root for root in full if not any(root != other and root.startswith(other) for other in full)}
    return outermost or set(sorted(counts, key=lambda root: (-counts[root], root.count("/"), root))[:1])


def picture_place(name: str) -> Place | None:
    """The root that a picture speaks for by its canonical name: ``scan/views/front.png`` for ``scan/``."""
    folders = name.split("/")[:-1]
    for level in range(len(folders) + 1):
        root = "".join(f"{folder}/" for folder in folders[:level])
        key = canonical_role(name[len(root) :]) or canonical_role(as_png(name[len(root) :]))
        if key is not None:
            return Place(root, key[1], sure=key[0] == "image" and level < len(folders))
        if level < len(folders) and folders[level].casefold() in PICTURE_FOLDERS:
            return None
    return None


def as_png(name: str) -> str:
    """The name that a picture of another format would have as PNG; other names stay."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.png" if dot and suffix.casefold() in OTHER_PICTURES else name


def place_of(name: str) -> tuple[Role, str] | str:
    """What a file is there for: (role, view) where its name says so, else its name without suffix or case."""
    return canonical_role(as_png(name)) or folded(name.rpartition(".")[0])


def other_pictures(local: Iterable[str]) -> dict[tuple[Role, str] | str, str]:
    """Pictures of formats that Meshdrop does not read, by their place."""
    return {place_of(name): name for name in sorted(local, reverse=True) if as_png(name) != name}


def canonical_role(name: str) -> tuple[Role, str] | None:
    """(role, view name) of a picture in the canonical layout, or None: ``depth/depth_03.png`` is (depth, left)."""
    folder, _, last = name.rpartition("/")
    stem = last.rpartition(".")[0]
    kind = kind_of(name)
    if kind is None or (folder and folder.casefold() not in ROLE_FOLDERS):
        return None
    words = _WORDS.findall(stem.casefold())
    if "".join(words) != re.sub(r"[-_. ]", "", stem.casefold()):
        return None
    views = [word for word in words if word in CANONICAL_NAMES or word.isdigit()]
    roles = {ROLE_WORDS[word] for word in words if word in ROLE_WORDS}
    if folder:
        roles = _role_in_folder(ROLE_FOLDERS[folder.casefold()], roles)
    others = [word for word in words if word not in views and word not in ROLE_WORDS]
    if len(views) != 1 or others or len(roles) > 1:
        return None
    role: Role = roles.pop() if roles else "image"
    if role not in kind.roles:
        return None
    word = views[0]
    if not word.isdigit():
        return role, word
    return (role, CANONICAL_NAMES[int(word)]) if len(word) <= 4 and int(word) < len(CANONICAL_NAMES) else None


def _role_in_folder(role: Role, named: set[Role]) -> set[Role]:
    """The folder decides; ``depth/view_00.png`` is depth, but ``views/depth_00.png`` is a contradiction."""
    return {role} if named <= {role, "image"} else named | {role}


def by_place(shorts: Iterable[str]) -> dict[tuple[Role, str], list[str]]:
    """Names by what they are a picture of, of the first kind that is there for it: a PNG beside its JPEG is taken. More
    than one for a place is for the caller to judge.
    """
    found: dict[tuple[Role, str], list[str]] = {}
    for short in sorted(shorts):
        key = canonical_role(short)
        if key is not None:
            found.setdefault(key, []).append(short)
    return {key: [name for name in names if _rank(name) == min(map(_rank, names))] for key, names in found.items()}


def _rank(name: str) -> int:
    kind = kind_of(name)
    return len(KINDS) if kind is None else KINDS.index(kind)


def speaks(name: str) -> bool:
    """Whether a path says by a word what it is of: by its folder (``views/1.jpg``) or its name (``front.jpg``)."""
    folder, _, last = name.rpartition("/")
    return folder.casefold() in ROLE_FOLDERS or bool(set(_WORDS.findall(last.casefold())) & set(CANONICAL_NAMES))


def is_numbered_only(found: Mapping[tuple[Role, str], Collection[str]]) -> bool:
    """Whether nothing but loose photographs with a number each was found: any camera names its pictures so."""
    shorts = [short for names in found.values() for short in names]
    words = {word for short in shorts for word in _WORDS.findall(short.rpartition(".")[0].casefold())}
    named = {word for word in words if not word.isdigit()}
    return not any("/" in short for short in shorts) and named <= {"img", "image", "photo"}


def is_said(found: Mapping[tuple[Role, str], Collection[str]]) -> bool:
    """Whether folders or names say that these are views of the rig: ``views/``, or ``front`` in a name. A number alone
    says it of nothing: any camera counts its pictures.
    """
    shorts = [short for (role, _), names in found.items() if role == "image" for short in names]
    in_views = any(short.rpartition("/")[0].casefold() in ("views", "view") for short in shorts)
    return in_views or any(set(_WORDS.findall(short.casefold())) & {*CANONICAL_NAMES, "view"} for short in shorts)


def is_wanted(role: Role, stated: bool | None, found: Mapping[tuple[Role, str], object]) -> bool:
    """Whether files of a role belong to the capture: as the sidecar states it, else if any is there."""
    return any(key[0] == role for key in found) if stated is None else stated


def twins(found: Mapping[tuple[Role, str], list[str]], root: str) -> Iterable[Problem]:
    """A problem for each file that two names in the folder claim to be."""
    for (role, view), shorts in found.items():
        if len(shorts) > 1:
            yield Problem(
                "set",
                root + shorts[1],
                f"Two files claim to be the {role} of the {view} view: {root}{shorts[0]} and {root}{shorts[1]}.",
                "Keep one of them (00 front, 01 back, 02 right, 03 left, 04 top, 05 bottom).",
            )


def extras(
    stated: Sidecar, local: Iterable[str], root: str, found: Mapping[tuple[Role, str], list[str]]
) -> Iterable[Problem]:
    """Pictures in a canonical folder that no view claims: a seventh view means that the rig is not canonical. Only
    those of a kind that the views are of too: others are somebody's previews.
    """
    claimed = {short for shorts in found.values() for short in shorts}
    kinds = {_rank(short) for short in claimed} | {_rank(".png")}
    local = [short for short in local if kind_of(short) is not None and _rank(short) in kinds]
    for short in sorted(local):
        folder = short.rpartition("/")[0].casefold()
        if folder in ROLE_FOLDERS and canonical_role(as_png(short)) is None and short not in claimed:
            yield Problem(
                "set",
                root + short,
                f"{root}{short} is no view of the canonical rig, which has {', '.join(CANONICAL_NAMES)} (00 to 05).",
                "Remove it, or state the cameras of all views in capture.json or transforms.json.",
            )
            return
    loose = any("/" not in shorts[0] for (role, _), shorts in found.items() if role == "image")
    beyond = [short for short in sorted(local) if loose and _is_beyond(short)]
    if beyond:
        yield Problem(
            "set",
            root + beyond[0],
            f"{root}{beyond[0]} is a picture more than the six of the canonical rig (00 to 05).",
            "Remove it, or state the cameras of all views in capture.json or transforms.json.",
        )
    surplus = [shorts[0] for (_, view), shorts in found.items() if stated.views and view not in stated.views]
    if surplus:
        yield Problem(
            "set",
            root + surplus[0],
            f'{root}{surplus[0]} is there, but "views" does not list its view.',
            'Remove the file, or add the view to "views" in capture.json.',
        )


def _is_beyond(short: str) -> bool:
    """Whether a loose picture has a name like those of the six views, with a number above theirs."""
    first = re.sub("[0-9]+", "0", short)
    return "/" not in short and canonical_role(short) is None and canonical_role(first) is not None


def style(role: Role, found: Mapping[tuple[Role, str], list[str]]) -> str:
    """A pattern for this role's missing files, after the ones that are there: ``depth/depth_{number}.png``."""
    for own in (role, "image"):
        for (kind, view), shorts in found.items():
            if kind != own:
                continue
            folder, slash, last = shorts[0].rpartition("/")
            named = re.search(view, last, re.IGNORECASE)
            if own == role and named:
                return folder + slash + last[: named.start()] + "{name}" + last[named.end() :]
            number = re.search(r"[0-9]+", last)
            if own == role and number:
                pattern = "{number}" if len(number.group()) > 1 else "{digit}"
                return folder + slash + last[: number.start()] + pattern + last[number.end() :]
            if named:
                return DEFAULT_STYLES[role].replace("{number}", "{name}")
    return DEFAULT_STYLES[role]


def styled(style: str, view: str) -> str:
    """The name of a view's file in one style: ``{name}``, ``{number}`` (00) or ``{digit}`` (0) filled in."""
    number = CANONICAL_NAMES.index(view)
    return style.replace("{name}", view).replace("{number}", f"{number:02d}").replace("{digit}", str(number))
