"""What the judges of pictures share that have neither checksums nor an end mark: TIFF, WebP, AVIF, HEIC, EXR, NPY.

Each of them walks its container by a few short reads, of a file that may still be arriving or of one in memory, and
says by an error what is wrong. Standard library only, and no pixel is decoded.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.png import Kind
from meshdrop.models.files.problem import Problem
from meshdrop.models.files.wholeness import HOLE, State

COPY_AGAIN = "Copy the file again."
#: So many zeros at the end of compressed pixels are room that a copy program has reserved.
_RESERVED = 64


class FlawError(Exception):
    """A picture cannot be used: (code, what is wrong, what to do)."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(message)
        self.code, self.message, self.fix = code, message, fix


class UnfinishedError(FlawError):
    """The file stops before it is whole: more of it may be on its way."""

    def __init__(self, what: str = "The file stops in the middle.") -> None:
        super().__init__("picture", what, COPY_AGAIN)


@dataclass(frozen=True)
class FileBytes:
    """A file's bytes by place: ``at`` (start, length) gives fewer where it ends."""

    size: int
    at: Callable[[int, int], bytes]

    @staticmethod
    def of(content: bytes) -> FileBytes:
        """Of a file in memory."""
        return FileBytes(len(content), lambda start, length: content[start : start + length])

    @staticmethod
    def opened(descriptor: int) -> FileBytes:
        """Of an open file, whose position is left alone. ``at`` raises ``OSError``."""
        return FileBytes(os.fstat(descriptor).st_size, lambda start, length: os.pread(descriptor, length, start))

    def exactly(self, start: int, length: int) -> bytes:
        """These bytes; raises ``UnfinishedError`` where the file ends before."""
        if start + length > self.size:
            raise UnfinishedError()
        return self.at(start, length)


class PictureInfo(Protocol):
    """What every judge says of a sound picture, in pixels; its decoder may know it to have more."""

    @property
    def width(self) -> int:
        """Columns."""
        ...

    @property
    def height(self) -> int:
        """Rows."""
        ...

    @property
    def orientation(self) -> int:
        """EXIF's number of the turn that brings the stored picture upright, 1 to 8; 1 is none."""
        ...


#: Looks at a container for a picture of one role, or of none in particular, and raises ``FlawError``.
Walk = Callable[[FileBytes, Kind | None, CaptureLimits], PictureInfo]

#: While a file may be arriving its size in pixels is nobody's business.
_ANY_SIZE = CaptureLimits(min_side=1, max_side=1 << 31, max_pixels=1 << 62)


@dataclass(frozen=True)
class Judge:
    """What ``pictures.PictureKind`` asks, answered by a walk. ``compressed``: its pixels are never long zeros."""

    walk: Walk
    compressed: bool

    def is_complete(self, file: int) -> bool:
        """Whether an open file is written as far as its structure says; raises ``OSError``."""
        return not self._is_unfinished(FileBytes.opened(file))

    def is_awaited(self, descriptor: int, limits: CaptureLimits) -> bool:
        """Whether more of it may be coming; nobody waits for the rest of a picture that is too large in any case."""
        return self._is_unfinished(FileBytes.opened(descriptor), limits)

    def _is_unfinished(self, source: FileBytes, limits: CaptureLimits = _ANY_SIZE) -> bool:
        try:
            self._look(source, None, limits)
        except UnfinishedError:
            return True
        except FlawError:
            return False
        return False

    def _look(self, source: FileBytes, role: Kind | None, limits: CaptureLimits) -> PictureInfo:
        if not source.at(0, 16).strip(b"\0"):
            raise UnfinishedError("The file is empty or starts with zeros.")
        found = self.walk(source, role, limits)
        if self.compressed and not source.at(max(0, source.size - _RESERVED), _RESERVED).strip(b"\0"):
            raise UnfinishedError("The file ends in zeros.")
        return found

    def state(self, content: bytes, limits: CaptureLimits) -> State:
        """Whether all of it is there, as far as it can be told."""
        try:
            self._look(FileBytes.of(content), None, limits)
        except UnfinishedError:
            return "hole"
        except FlawError:
            return "damaged"
        return "hole" if self.compressed and HOLE in content else "whole"

    def check(self, content: bytes, role: Kind, limits: CaptureLimits, file: str | None) -> PictureInfo | Problem:
        """What a decoder is protected by. Never raises on content."""
        if len(content) > limits.max_file_bytes:
            message = f"The file is {len(content):,} bytes; the limit is {limits.max_file_bytes:,}."
            return Problem("too_big", file, message, "Send a smaller picture, or raise the limit in the settings.")
        try:
            return self._look(FileBytes.of(content), role, limits)
        except FlawError as flaw:
            return Problem(flaw.code, file, flaw.message, flaw.fix)


def begins(head: bytes, *signatures: bytes) -> bool:
    """Whether a file begins with one of these; raises ``UnfinishedError`` where only a part of it has been written."""
    if any(head.startswith(signature) for signature in signatures):
        return True
    written = head.rstrip(b"\0")
    if any(len(written) < len(signature) and signature.startswith(written) for signature in signatures):
        raise UnfinishedError("The file is empty or starts with zeros.")
    return False


def check_size(width: int, height: int, limits: CaptureLimits) -> None:
    """Raises ``FlawError`` for a picture that is too small or too large, before anything of it is decoded."""
    short, long = sorted((width, height))
    if short < limits.min_side or long > limits.max_side or width * height > limits.max_pixels:
        raise FlawError(
            "dims",
            f"The picture is {width} x {height} pixels; sides may have {limits.min_side} to {limits.max_side:,} and "
            f"the whole {limits.max_pixels / 1e6:g} million.",
            "Send the picture in another size.",
        )
