"""What checksums tell of a capture without decoding it: the rig's own list, and those inside every PNG.

The list is ``SHA256SUMS`` as sha256sum(1) writes it, in the folder it speaks of. PNG chunks carry a CRC-32 each (PNG
specification, W3C, third edition, section 5.3).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Generator, Iterator
from io import BufferedReader
from pathlib import Path

from meshdrop.daemon.inbox.settle import Snapshot
from meshdrop.models.files import walk
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.pictures import PictureKind
from meshdrop.models.files.wholeness import State

_NAMES = frozenset({"sha256sums", "sha256sums.txt"})
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)")
_LIST_MAX = 1 << 18
_CHUNK = 1 << 20


def find_manifest(snapshot: Snapshot) -> str | None:
    """The list's path, relative to the dropped folder: beside the capture or at the top."""
    places = ("", snapshot.expectation.root)
    for fact in snapshot.facts:
        folder, _, name = fact.path.rpartition("/")
        if name.lower() in _NAMES and fact.kind == "file" and (folder and folder + "/") in places:
            return fact.path
    return None


def contradictions(
    folder: Path, snapshot: Snapshot, manifest: str, limits: CaptureLimits
) -> Generator[None, None, tuple[str, ...]]:
    """Files that are not what ``manifest`` says; the manifest itself when it cannot be understood or leaves a file of
    the set out. Empty when every file of the set is listed and everything listed is there with its SHA-256.

    Reads every listed file of the set, and others while they are no more than may go into a result; a pause after
    each. Raises ``OSError`` when one cannot be read.
    """
    required = frozenset(snapshot.expectation.required)
    listed = _parse(_content(folder / manifest, _LIST_MAX), manifest.rpartition("/")[0])
    if listed is None or not listed.keys() >= required:
        return (manifest,)
    there = {fact.path: fact for fact in snapshot.facts if fact.kind == "file"}
    wrong = [name for name in listed if name not in there]
    wrong += [name for name in required if name in there and there[name].size > limits.max_file_bytes]
    if wrong:  # names and sizes cost nothing; only when they agree are the contents read
        return tuple(wrong)
    left = limits.max_extra_bytes
    for name, digest in listed.items():
        if name not in required:
            left -= there[name].size
            if left < 0:
                continue
        if _sha256(folder / name, there[name].size) != digest:
            wrong.append(name)
        yield
    return tuple(wrong)


def picture_state(path: str, kind: PictureKind, limits: CaptureLimits) -> State:
    """Whether a file that ends like a picture is one throughout. One with too many bytes counts as whole: it is refused
    for that. Raises ``OSError`` when it cannot be read.
    """
    with _plain(path) as file:
        content = file.read(limits.max_file_bytes + 1)
    return "whole" if len(content) > limits.max_file_bytes else kind.state(content, limits)


def _parse(content: bytes, folder: str) -> dict[str, str] | None:
    """Path (relative to the dropped folder) -> SHA-256; None when the list is not whole or not in this format."""
    listed = {}
    for line in os.fsdecode(content).splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        path = found[2].replace("\\", "/")
        listed[f"{folder}/{path}" if folder else path] = found[1].lower()
    return listed or None


def _content(path: Path, most: int) -> bytes:
    """A list that is longer than any capture's counts as not understood."""
    with _plain(path) as file:
        content = file.read(most + 1)
    return content if len(content) <= most else b""


def _sha256(path: Path, most: int) -> str | None:
    """None for a file that has more bytes by now: whoever lets it grow for ever must not keep us reading for ever."""
    digest, left = hashlib.sha256(), most
    with _plain(path) as file:
        while chunk := file.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                return None
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def _plain(path: str | Path) -> Iterator[BufferedReader]:
    """A plain file, open; neither follows a link nor waits for a pipe's other end."""
    with open(walk.reach(path, walk.FILE), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a plain file any more", str(path))
        yield file
