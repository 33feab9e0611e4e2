"""Which files make a capture complete: from the names in a folder and the bytes of its sidecar. No pixel is read.

Standard library only: the daemon's settle rule asks this at every scan. ``docs/capture-format.md`` shows the layouts.

A folder that is still being copied looks broken in many ways, so the caller judges ``problems`` only after the
folder has been quiet for the settle window; ``missing`` and ``blockers`` say what is still awaited.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from models.limits import CaptureLimits
from models.problem import Problem, printable
from models.sidecar import CANONICAL_NAMES, Frame, Options, Sidecar, merge_sidecars, parse_sidecar, read_options

__all__ = [
    "CANONICAL_NAMES", "Expectation", "Options", "Problem", "Sidecar", "ViewFiles",
    "expect", "is_blocker", "is_litter", "read_options",
]  # fmt: skip

Kind = Literal["canonical", "frames", "unknown"]
Role = Literal["image", "depth", "mask"]

OWN_SIDECAR = "capture.json"
#: Sidecars of others, in the order of preference.
FOREIGN_SIDECARS = ("transforms.json", "transforms_train.json")

#: Folders of the canonical layout and what their pictures are. ``images/`` is left to ``transforms.json``: taking it
#: as canonical would read a half-copied nerfstudio folder with the wrong cameras.
ROLE_FOLDERS: Mapping[str, Role] = {
    "views": "image", "view": "image", "rgb": "image", "color": "image", "colour": "image",
    "depth": "depth", "depths": "depth",
    "masks": "mask", "mask": "mask",
}  # fmt: skip
UNCLAIMED_FOLDERS = ("images/", "image/", "train/")
#: What cameras and scanners write beside PNG, and what to call it.
OTHER_PICTURES: Mapping[str, str] = {
    "jpg": "a JPEG", "jpeg": "a JPEG", "tif": "a TIFF", "tiff": "a TIFF", "bmp": "a BMP", "webp": "a WebP picture",
    "exr": "an OpenEXR picture", "gif": "a GIF", "heic": "an HEIC picture", "npy": "a NumPy array",
    "raw": "a raw picture", "dng": "a raw picture", "cr2": "a raw picture", "nef": "a raw picture",
}  # fmt: skip
#: Folders that hold pictures and so never are a capture's root.
PICTURE_FOLDERS = frozenset({*ROLE_FOLDERS, "images", "image", "train", "test", "val"})
#: Words in a file name that say what the picture is.
ROLE_WORDS: Mapping[str, Role] = {
    "view": "image", "rgb": "image", "rgba": "image", "color": "image", "colour": "image", "image": "image",
    "img": "image", "photo": "image",
    "depth": "depth", "z": "depth",
    "mask": "mask", "alpha": "mask", "matte": "mask",
}  # fmt: skip
DEFAULT_STYLES: Mapping[Role, str] = {
    "image": "views/view_{number}.png", "depth": "depth/depth_{number}.png", "mask": "masks/mask_{number}.png",
}  # fmt: skip

#: What the daemon wrote into a folder that comes back from ``outbox/`` or ``failed/``.
OWN_FILES = frozenset({"why.txt", "failure.json", "report.html", "report.json", "receipt.json", "log.txt"})
OWN_FOLDERS = frozenset({"previews", "fusion", "nvdiffrec", "reconviagen", "results", "logs"})
RETURNED_FOLDER = "capture/"

LITTER_NAMES = frozenset({".ds_store", "thumbs.db", "desktop.ini", "ehthumbs.db", ".localized", "icon\r"})
LITTER_FOLDERS = frozenset({
    "@eadir", "__macosx", "#recycle", "@recycle", ".snapshot", ".snapshots", "lost+found", "$recycle.bin",
    "system volume information", ".trashes", ".spotlight-v100", ".fseventsd", ".git",
})  # fmt: skip

_BLOCKER_SUFFIXES = (
    ".part", ".partial", ".filepart", ".tmp", ".temp", ".crdownload", ".download", ".uploading", ".copying",
    ".inprogress", ".lock", ".lck",
)  # fmt: skip
_BLOCKER_PREFIXES = ("~syncthing~", ".syncthing.", ".goutputstream-", ".fuse_hidden", ".~lock.", ".~tmp~", "~$")
_BLOCKER_FOLDER = re.compile(r"(?i).*[-_.]lock")
#: rsync writes ``.front.png.Ab12Cd`` and renames it at the end.
_RSYNC = re.compile(r"\..+\.[A-Za-z0-9]{6}")
_KNOWN_SUFFIXES = (".png", ".json")

_WORDS = re.compile(r"[a-z]+|[0-9]+")


@dataclass(frozen=True)
class ViewFiles:
    """One view's files, posix paths relative to the dropped folder."""

    name: str
    image: str
    depth: str | None
    mask: str | None


@dataclass(frozen=True)
class Expectation:
    """What a folder's names and sidecar promise, and what of it is not there yet.

    ``root`` is "" or the subfolder (with its slash) that the capture sits in. ``views``, ``required`` (images, depth,
    masks, sidecars: the reading order) and ``missing`` hold paths relative to the dropped folder. Of the missing,
    ``begun`` are sidecars that are there, but empty or zeros so far, and ``in_place`` maps a path to a picture of
    another format that lies where the PNG should be. ``blockers`` are names that mean "still being copied".
    ``ignored`` is litter, our own earlier output, and files no rule asks for. ``problems`` are what no waiting can
    cure.
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

    @property
    def complete(self) -> bool:
        """Whether every file of the set is there and nothing says that more is coming."""
        return self.kind != "unknown" and not self.missing and not self.blockers and not self.problems

    def waiting_for(self) -> str:
        """One plain phrase for the status page: ``5 of 12 files, waiting for depth/depth_05.png``; "" if nothing."""
        if self.kind == "unknown" and not self.required:
            return "no capture recognised yet"
        if self.blockers:
            return f"still being copied: {_listing(self.blockers)}"
        if not self.missing:
            return ""
        there = len(self.required) - len(self.missing)
        return f"{there} of {len(self.required)} files, waiting for {_listing(self.missing)}{self._why_not()}"

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
        return (
            *(_blocked(name) for name in self.blockers),
            *(self._absent(name) for name in self.missing if name not in lasting),
        )

    def _absent(self, name: str) -> Problem:
        if name in self.begun:
            message = "The file is empty or holds only zeros: its copy did not finish."
            return Problem("set", name, message, "Copy it again, or delete it if it is not needed.")
        other = self.in_place.get(name)
        if other is None:
            return Problem("set", name, "The file is missing.", "Copy it into the folder.")
        message = f"The file is {_what(other)}; {name} is due here, and Meshdrop reads PNG only."
        return Problem("not_png", other, message, "Save it as PNG, from the original rather than from a lossy copy.")


def expect(names: Collection[str], read: Callable[[str], bytes], limits: CaptureLimits) -> Expectation:
    """What the folder with these ``names`` should hold.

    ``names`` are the relative posix paths of its files (``os.fsdecode``; directories need not be listed). ``read``
    returns the bytes of one of them and may raise ``OSError``, which passes through; it should read no more than
    ``limits.max_sidecar_bytes + 1`` bytes, and more is refused here in any case.
    """
    kept, ignored, blockers = _sort_names(names)
    too_many = _too_many(names, kept, limits)
    if too_many:
        return Expectation("unknown", "", (), (), (), False, blockers, ignored, too_many)
    sidecar = _SidecarReader(read, limits)
    root, nested = _find_root(kept, sidecar.camera_roots(kept))
    own, foreign = _find_sidecars(kept, root)
    # An empty sidecar is a file whose copy has begun: it is awaited, like a file that is not there.
    stated, problems, begun = sidecar.merged(own, foreign)
    local = {name[len(root) :]: name for name in kept if name.startswith(root)}
    local = {short: name for short, name in local.items() if name not in (*own, *foreign)}
    others = _other_pictures(local)
    framed = stated.frames is not None
    plan = _framed(stated, local, root) if framed else _canonical(stated, local, root, bool(foreign))
    sidecars = (*own, *foreign)
    required = (*plan.required, *sidecars)
    absent = tuple(path for path in plan.required if path not in kept)
    return Expectation(
        kind=plan.kind,
        root=root,
        views=plan.views,
        required=required,
        missing=(*absent, *begun),
        depth_stated=plan.depth_stated,
        blockers=blockers,
        ignored=tuple(sorted({*ignored, *(name for name in kept if name not in required)})),
        problems=(*nested, *problems, *plan.problems, *_too_deep(kept, plan, limits)),
        sidecars=sidecars,
        stated=stated,
        begun=begun,
        in_place={path: root + others[key] for path in absent if (key := _place(path[len(root) :])) in others},
    )


# -- names ---------------------------------------------------------------------------------------------------------


def is_litter(name: str) -> bool:
    """Whether a path is an operating system's or NAS's droppings, or a hidden file: never part of a capture."""
    *folders, last = name.split("/")
    if any(folder.casefold() in LITTER_FOLDERS for folder in folders):
        return True
    folded = last.casefold()
    return folded in LITTER_NAMES or folded in LITTER_FOLDERS or folded.endswith(":zone.identifier") or last[:1] == "."


def is_blocker(name: str) -> bool:
    """Whether a path is a copy program's temporary or lock name: while it is there, more bytes are coming."""
    *folders, last = name.split("/")
    if any(folder.casefold() in LITTER_FOLDERS for folder in folders):
        return False
    if any(_BLOCKER_FOLDER.fullmatch(folder) or folder.startswith(_BLOCKER_PREFIXES) for folder in folders):
        return True
    folded = last.casefold()
    if folded.startswith("._"):
        return False
    rsync = _RSYNC.fullmatch(last) is not None and folded[:-7].endswith(_KNOWN_SUFFIXES)
    return folded.endswith(_BLOCKER_SUFFIXES) or last.startswith(_BLOCKER_PREFIXES) or rsync


def is_own_output(name: str) -> bool:
    """Whether a relative path is something that an earlier delivery wrote, not part of a capture."""
    first, slash, _ = name.partition("/")
    return first.casefold() in (OWN_FOLDERS if slash else OWN_FILES) or (not slash and first.endswith(".log"))


def _sort_names(names: Iterable[str]) -> tuple[frozenset[str], tuple[str, ...], tuple[str, ...]]:
    """Names that may belong to a capture, names to pass over, names that block; the last two sorted."""
    kept, ignored, blockers = set(), [], []
    for name in names:
        if is_blocker(name):
            blockers.append(name)
        elif is_litter(name) or is_own_output(name):
            ignored.append(name)
        else:
            kept.add(name)
    return frozenset(kept), tuple(sorted(ignored)), tuple(sorted(blockers))


def _listing(names: Collection[str], most: int = 3) -> str:
    shown = ", ".join(printable(name) for name in sorted(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _blocked(name: str) -> Problem:
    return Problem("set", name, "This is a copy program's temporary or lock file: the copy has not finished.",
                   "Wait for it, copy the folder again, or delete the file.")  # fmt: skip


def _what(name: str) -> str:
    return OTHER_PICTURES[name.rpartition(".")[2].casefold()]


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


def _too_deep(kept: Iterable[str], plan: _Plan, limits: CaptureLimits) -> tuple[Problem, ...]:
    """A capture may hide one level down; a folder that came back from us wears one level more."""
    for name in sorted(kept):
        levels = name.count("/") - name.startswith(RETURNED_FOLDER)
        if levels > limits.max_depth and name not in plan.required:
            return (
                Problem(
                    "depth",
                    name,
                    f"The file is {levels} folders deep; a capture has at most {limits.max_depth}.",
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
    places = {name: place for name in kept if (place := _picture_place(name)) and not place.root.startswith(owned)}
    # What is not PNG is evidence only while there is nothing better.
    pictures = [place for name, place in places.items() if _as_png(name) == name] or list(places.values())
    sure = {*camera_roots, *(place.root for place in pictures if place.sure)}
    roots = sorted(sure or _fullest(pictures))
    if not roots:
        return min((_folder_of(name) for name in kept if _last(name) == OWN_SIDECAR), default=""), ()
    if len(roots) == 1:
        return roots[0], ()
    if RETURNED_FOLDER in roots and "" not in roots:
        return RETURNED_FOLDER, ()
    shown = _listing([root or "the top folder" for root in roots])
    problem = Problem(
        "set",
        None,
        f"The folder holds more than one capture: {shown}.",
        "Drop each capture as a folder of its own.",
    )
    return roots[0], (problem,)


@dataclass(frozen=True)
class _Place:
    """Where a picture would belong: ``sure`` when its own folder says what it is, not just a number in its name."""

    root: str
    view: str
    sure: bool


def _fullest(pictures: Iterable[_Place]) -> set[str]:
    """The outermost folders with a picture of every view; else the one folder with most of them."""
    counts = Counter(root for root, _ in {(picture.root, picture.view) for picture in pictures})
    full = {root for root, count in counts.items() if count == len(CANONICAL_NAMES)}
    outermost = {root for root in full if not any(root != other and root.startswith(other) for other in full)}
    return outermost or set(sorted(counts, key=lambda root: (-counts[root], root.count("/"), root))[:1])


def _folder_of(name: str) -> str:
    return name[: name.rfind("/") + 1]


def _last(name: str) -> str:
    return name.rpartition("/")[2].casefold()


def _picture_place(name: str) -> _Place | None:
    """The root that a picture speaks for by its canonical name: ``scan/views/front.png`` for ``scan/``."""
    folders = name.split("/")[:-1]
    for level in range(len(folders) + 1):
        root = "".join(f"{folder}/" for folder in folders[:level])
        key = _canonical_role(name[len(root) :]) or _canonical_role(_as_png(name[len(root) :]))
        if key is not None:
            return _Place(root, key[1], sure=key[0] == "image" and level < len(folders))
        if level < len(folders) and folders[level].casefold() in PICTURE_FOLDERS:
            return None
    return None


def _as_png(name: str) -> str:
    """The name that a picture of another format would have as PNG; other names stay."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.png" if dot and suffix.casefold() in OTHER_PICTURES else name


def _place(name: str) -> tuple[Role, str] | str:
    """What a file is there for: (role, view) where its name says so, else its name without suffix or case."""
    return _canonical_role(_as_png(name)) or _fold(name.rpartition(".")[0])


def _other_pictures(local: Iterable[str]) -> dict[tuple[Role, str] | str, str]:
    """Pictures of formats that Meshdrop does not read, by their place."""
    return {_place(name): name for name in sorted(local, reverse=True) if _as_png(name) != name}


def _find_sidecars(kept: Collection[str], root: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Paths of our sidecars (in the root; on top of a returned folder too) and of the first foreign one."""
    by_fold = {name.casefold(): name for name in sorted(kept, reverse=True)}
    places = dict.fromkeys([(root + OWN_SIDECAR).casefold(), OWN_SIDECAR])
    own = tuple(by_fold[place] for place in places if place in by_fold)
    foreign = [by_fold[key] for name in FOREIGN_SIDECARS if (key := (root + name).casefold()) in by_fold]
    return own, tuple(foreign[:1])


class _SidecarReader:
    """Reads and parses each sidecar once."""

    def __init__(self, read: Callable[[str], bytes], limits: CaptureLimits) -> None:
        self._read = read
        self._limits = limits
        self._parsed: dict[str, tuple[Sidecar, tuple[Problem, ...]] | None] = {}

    def parsed(self, name: str) -> tuple[Sidecar, tuple[Problem, ...]] | None:
        """The sidecar and its problems; None for an empty file, whose copy has only begun."""
        if name not in self._parsed:
            content = self._read(name)
            begun = not content.strip(b"\0")
            self._parsed[name] = None if begun else parse_sidecar(content, name, self._limits)
        return self._parsed[name]

    def camera_roots(self, kept: Iterable[str]) -> tuple[str, ...]:
        """Folders whose sidecar states cameras; a foreign sidecar does so by its name."""
        roots = {_folder_of(name) for name in kept if _last(name) in FOREIGN_SIDECARS}
        for name in sorted(kept):
            if _last(name) == OWN_SIDECAR and _folder_of(name) not in roots and len(roots) < self._limits.max_depth:
                parsed = self.parsed(name)
                roots |= {_folder_of(name)} if parsed is not None and parsed[0].frames is not None else set()
        return tuple(sorted(roots))

    def merged(
        self, own: tuple[str, ...], foreign: tuple[str, ...]
    ) -> tuple[Sidecar, tuple[Problem, ...], tuple[str, ...]]:
        """What all sidecars state together, their problems, and the paths of those not written yet."""
        parsed = {name: self.parsed(name) for name in (*own, *foreign)}
        begun = tuple(name for name, value in parsed.items() if value is None)
        stated = {name: value[0] if value else Sidecar() for name, value in parsed.items()}
        found = [problem for value in parsed.values() if value for problem in value[1]]
        found += _sidecar_quarrels(own, foreign, stated, silent=begun or bool(found))
        if own and foreign:
            return merge_sidecars(stated[own[0]], stated[foreign[0]]), tuple(found), begun
        return next(iter(stated.values()), Sidecar()), tuple(found), begun


def _sidecar_quarrels(
    own: tuple[str, ...], foreign: tuple[str, ...], stated: Mapping[str, Sidecar], silent: object
) -> Iterable[Problem]:
    """Sidecars that contradict each other; silent while one of them is unreadable anyway."""
    if silent:
        return
    if len(own) > 1:
        yield Problem("sidecar", own[1], f"There are two sidecars: {own[0]} and {own[1]}.", "Keep the right one.")
    if foreign and stated[foreign[0]].frames is None:
        yield Problem("sidecar", foreign[0], 'The file has no "frames".', "Export it again with its camera poses.")
    if own and foreign and stated[own[0]].frames is not None:
        yield Problem(
            "sidecar",
            own[0],
            f"Cameras are stated twice: in {own[0]} and in {foreign[0]}.",
            f'Delete one of them, or leave "frames" out of {own[0]}.',
        )


# -- the two kinds of capture --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    kind: Kind
    views: tuple[ViewFiles, ...] = ()
    required: tuple[str, ...] = ()
    depth_stated: bool = False
    problems: tuple[Problem, ...] = ()


def _plan(kind: Kind, views: tuple[ViewFiles, ...], depth_stated: bool, problems: Iterable[Problem]) -> _Plan:
    images = [view.image for view in views]
    depths = [view.depth for view in views if view.depth is not None]
    masks = [view.mask for view in views if view.mask is not None]
    return _Plan(kind, views, (*images, *depths, *masks), depth_stated, tuple(problems))


def _canonical_role(name: str) -> tuple[Role, str] | None:
    """(role, view name) of a picture in the canonical layout, or None: ``depth/depth_03.png`` is (depth, left)."""
    folder, _, last = name.rpartition("/")
    stem, dot, suffix = last.rpartition(".")
    if not dot or suffix.casefold() != "png" or (folder and folder.casefold() not in ROLE_FOLDERS):
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
    word = views[0]
    if not word.isdigit():
        return role, word
    return (role, CANONICAL_NAMES[int(word)]) if len(word) <= 4 and int(word) < len(CANONICAL_NAMES) else None


def _role_in_folder(role: Role, named: set[Role]) -> set[Role]:
    """The folder decides; ``depth/view_00.png`` is depth, but ``views/depth_00.png`` is a contradiction."""
    return {role} if named <= {role, "image"} else named | {role}


def _canonical(stated: Sidecar, local: Mapping[str, str], root: str, foreign: bool) -> _Plan:
    found = _by_place(local)
    # Without a PNG, pictures of another format show what is meant: the PNGs in their place are awaited.
    meant = found or _by_place(_as_png(short) for short in local)
    pictures_elsewhere = any(short.casefold().startswith(UNCLAIMED_FOLDERS) for short in local)
    if foreign or not meant or (pictures_elsewhere and not _is_wanted("image", None, meant)):
        return _unknown(local, root, foreign)
    wanted = stated.views or CANONICAL_NAMES
    roles: list[Role] = ["image"]
    roles += ["depth"] if _is_wanted("depth", stated.depth, meant) else []
    roles += ["mask"] if _is_wanted("mask", stated.mask, meant) else []
    styles = {role: _style(role, meant) for role in roles}
    paths = {
        (role, view): root + (meant[role, view][0] if (role, view) in meant else _styled(styles[role], view))
        for role in roles
        for view in wanted
    }
    views = tuple(
        ViewFiles(view, paths["image", view], paths.get(("depth", view)), paths.get(("mask", view))) for view in wanted
    )
    depth_stated = stated.depth is not None or "depth" in roles
    return _plan("canonical", views, depth_stated, [*_twins(found, root), *_extras(stated, local, root, found)])


def _by_place(shorts: Iterable[str]) -> dict[tuple[Role, str], list[str]]:
    """Names by what they are a picture of; more than one for a place is for the caller to judge."""
    found: dict[tuple[Role, str], list[str]] = {}
    for short in sorted(shorts):
        key = _canonical_role(short)
        if key is not None:
            found.setdefault(key, []).append(short)
    return found


def _is_wanted(role: Role, stated: bool | None, found: Mapping[tuple[Role, str], object]) -> bool:
    return any(key[0] == role for key in found) if stated is None else stated


def _unknown(local: Mapping[str, str], root: str, foreign: bool) -> _Plan:
    """Pictures without a plan: they wait for the file that states their cameras."""
    pictures = any(name.casefold().endswith(".png") for name in local)
    awaited = () if foreign or not pictures else (root + FOREIGN_SIDECARS[0],)
    return _Plan("unknown", required=awaited)


def _twins(found: Mapping[tuple[Role, str], list[str]], root: str) -> Iterable[Problem]:
    for (role, view), shorts in found.items():
        if len(shorts) > 1:
            yield Problem(
                "set",
                root + shorts[1],
                f"Two files claim to be the {role} of the {view} view: {root}{shorts[0]} and {root}{shorts[1]}.",
                "Keep one of them (00 front, 01 back, 02 right, 03 left, 04 top, 05 bottom).",
            )


def _extras(
    stated: Sidecar, local: Mapping[str, str], root: str, found: Mapping[tuple[Role, str], list[str]]
) -> Iterable[Problem]:
    """Pictures in a canonical folder that no view claims: a seventh view means that the rig is not canonical."""
    claimed = {short for shorts in found.values() for short in shorts}
    for short in sorted(local):
        folder = short.rpartition("/")[0].casefold()
        if folder in ROLE_FOLDERS and short.casefold().endswith(".png") and short not in claimed:
            yield Problem(
                "set",
                root + short,
                f"{root}{short} is no view of the canonical rig, which has {', '.join(CANONICAL_NAMES)} (00 to 05).",
                "Remove it, or state the cameras of all views in capture.json or transforms.json.",
            )
            return
    surplus = [shorts[0] for (_, view), shorts in found.items() if stated.views and view not in stated.views]
    if surplus:
        yield Problem(
            "set",
            root + surplus[0],
            f"{root}{surplus[0]} is there, but \"views\" does not list its view.",
            "Remove the file, or add the view to \"views\" in capture.json.",
        )


def _style(role: Role, found: Mapping[tuple[Role, str], list[str]]) -> str:
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


def _styled(style: str, view: str) -> str:
    number = CANONICAL_NAMES.index(view)
    return style.replace("{name}", view).replace("{number}", f"{number:02d}").replace("{digit}", str(number))


def _framed(stated: Sidecar, local: Mapping[str, str], root: str) -> _Plan:
    """The frames that the sidecar lists, with each path matched to the name on disk."""
    frames = stated.frames or ()
    resolver = {_fold(short): short for short in sorted(local, reverse=True)}

    def place(path: str | None) -> str | None:
        return None if path is None else root + (path if path in local else resolver.get(_fold(path), path))

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
                f"\"{role}\" is true, but frame {lacking[0]} has no {key}.",
                f"Add {key} to every frame, or set \"{role}\" to false.",
            )


def _view_names(frames: tuple[Frame, ...]) -> list[str]:
    """File stems; whole paths where two stems are equal."""
    stems = [frame.image.rpartition("/")[2].rpartition(".")[0] for frame in frames]
    if len(set(stems)) == len(stems):
        return stems
    return [frame.image.rpartition(".")[0].replace("/", "_") for frame in frames]


def _fold(name: str) -> str:
    """The key under which macOS, Windows and Linux spellings of one name meet."""
    return unicodedata.normalize("NFC", name).casefold()
