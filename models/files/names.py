"""What the names in a dropped folder mean before anything is known of its layout: litter, copies that are under way,
our own earlier output. Standard library only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator

from meshdrop.models.files.pictures import suffixes
from meshdrop.models.files.problem import printable

#: What the daemon wrote into a folder that comes back from ``outbox/`` or ``failed/``.
OWN_FILES = frozenset({"why.txt", "failure.json", "report.html", "report.json", "receipt.json", "log.txt"})
#: The models that come with Meshdrop, in the order in which they are told of; a folder of its name holds the results of
#: each. Named down here, where dropped folders are read: ``models.contract.registry`` finds the rest by it.
MODELS = ("fusion", "nvdiffrec", "reconviagen")
OWN_FOLDERS = frozenset({"previews", "results", "logs", *MODELS})
#: What lies beside a model's folder, while it is made and when it is delivered.
_TAKEN = OWN_FILES | OWN_FOLDERS - {*MODELS} | {"capture", "measure", "attempt.json"}
_LONGEST_NAME = 100
RETURNED_FOLDER = "capture/"
RECEIPT = "receipt.json"

LITTER_NAMES = frozenset({".ds_store", "thumbs.db", "desktop.ini", "ehthumbs.db", ".localized", "icon\r"})
LITTER_FOLDERS = frozenset(
    {
        "@eadir",
        "__macosx",
        "#recycle",
        "@recycle",
        ".snapshot",
        ".snapshots",
        "lost+found",
        "$recycle.bin",
        "system volume information",
        ".trashes",
        ".spotlight-v100",
        ".fseventsd",
        ".git",
    }
)

_BLOCKER_SUFFIXES = (
    ".part",
    ".partial",
    ".filepart",
    ".tmp",
    ".temp",
    ".crdownload",
    ".download",
    ".uploading",
    ".copying",
    ".inprogress",
    ".lock",
    ".lck",
)
_BLOCKER_PREFIXES = ("~syncthing~", ".syncthing.", ".goutputstream-", ".fuse_hidden", ".~lock.", ".~tmp~", "~$")
_BLOCKER_FOLDER = re.compile(r"(?i).*[-_.]lock")
#: rsync writes ``.front.png.Ab12Cd`` and renames it at the end.
_RSYNC = re.compile(r"\..+\.[A-Za-z0-9]{6}")
_PICTURES = {*suffixes("image"), *suffixes("depth")}
_KNOWN_SUFFIXES = (*(f".{suffix}" for suffix in sorted(_PICTURES)), ".json", ".bin", ".txt")
#: A sensor's doubts and thumbnails, called like the picture behind that.
_BESIDE = ("conf_", "confidence_", "thumb_")
#: ``r_0_depth_0001.png`` and ``r_0_normal_0001.png``, as in NeRF-synthetic.
_PASSES = ("_depth_", "_depth.", "_normal_", "_normal.")


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


def may_name_a_model(name: str) -> bool:
    """Whether a model's results may lie in a folder of this name: one folder, not hidden, that holds nothing else."""
    plain = name.isprintable() and "/" not in name and name[:1] not in ("", ".") and len(name) <= _LONGEST_NAME
    return plain and name.casefold() not in _TAKEN and not is_blocker(f"{name}/mesh.glb") and not is_litter(name)


def is_own_output(name: str, custom: Collection[str] = ()) -> bool:
    """Whether a relative path is something that an earlier delivery wrote, not part of a capture.

    ``custom``: the models of somebody's own; what their folders are called says that only of a folder that came back
    from us, since captures may have folders of such names too.
    """
    first, slash, _ = name.partition("/")
    if slash and custom and first.casefold() in {model.casefold() for model in custom}:
        return True
    return first.casefold() in (OWN_FOLDERS if slash else OWN_FILES) or (not slash and first.endswith(".log"))


def sort_names(
    names: Collection[str], custom: Collection[str] = ()
) -> tuple[frozenset[str], tuple[str, ...], tuple[str, ...]]:
    """Names that may belong to a capture, names to pass over, names that block; the last two sorted.

    ``custom``: the models of somebody's own, whose old results a folder with a receipt of ours may hold.
    """
    kept, ignored, blockers = set(), [], []
    there = frozenset(custom) if RECEIPT in names else frozenset()
    for name in names:
        if is_blocker(name):
            blockers.append(name)
        elif is_litter(name) or is_own_output(name, there):
            ignored.append(name)
        else:
            kept.add(name)
    return frozenset(kept), tuple(sorted(ignored)), tuple(sorted(blockers))


def listing(names: Collection[str], most: int = 3) -> str:
    """Some names for a sentence, and how many more there are."""
    shown = ", ".join(printable(name) for name in sorted(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def is_rendered_pass(name: str) -> bool:
    """Whether a picture is one of those that programs write beside photographs and that hold nothing to be read:
    Blender's depth or normals, 8-bit; a sensor's doubts; thumbnails."""
    last = last_of(name)
    return last.startswith(_BESIDE) or any(part in last for part in _PASSES)


def folded(name: str) -> str:
    """The key under which macOS, Windows and Linux spellings of one name meet."""
    return unicodedata.normalize("NFC", name).casefold()


def folder_of(name: str) -> str:
    """The folder of a path, with its slash; "" for the top."""
    return name[: name.rfind("/") + 1]


def outer_folders(name: str) -> Iterator[str]:
    """The folders around a path, the outermost first, each with its slash; "" is the first of them."""
    if name:
        yield ""
    yield from (name[: place + 1] for place, letter in enumerate(name[:-1]) if letter == "/")


def last_of(name: str) -> str:
    """The file name of a path, in lower case."""
    return name.rpartition("/")[2].casefold()
