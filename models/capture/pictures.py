"""The files of a capture's views: read within its limits, judged and decoded."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping

from meshdrop.models.capture.decoding import NotInstalled, Pixels
from meshdrop.models.capture.expectation import ViewFiles
from meshdrop.models.capture.turning import ViewPictures
from meshdrop.models.files.folder import CaptureFolder
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.names import listing
from meshdrop.models.files.pictures import PictureKind, judge_of
from meshdrop.models.files.png import Kind
from meshdrop.models.files.problem import CaptureError, Findings, Problem
from meshdrop.models.files.structure import PictureInfo

#: What is counted together, in words.
TOGETHER: Mapping[Kind, str] = {"image": "the photographs have", "depth": "depth has", "mask": "the masks have"}


class PictureReader:
    """Reads the pictures of one capture, which together may have so many bytes and pixels."""

    def __init__(self, folder: CaptureFolder, limits: CaptureLimits, found: Findings) -> None:
        self._folder = folder
        self._limits = limits
        self._found = found
        self._bytes_left = limits.max_capture_bytes
        self._pixels_left = dict.fromkeys(TOGETHER, limits.max_capture_pixels)
        self._converted: dict[str, list[str]] = {}
        self._lacking: set[str] = set()

    def read(self, files: ViewFiles, missing: Collection[str | None]) -> ViewPictures | None:
        """One view's pictures, or None after reporting what is wrong with them; ``missing`` was reported before.

        Raises ``CaptureError`` when the capture passes its limits.
        """
        before = len(self._found.problems)
        image = self._pixels(files.image, "image", missing)
        depth = self._pixels(files.depth, "depth", missing)
        mask = self._pixels(files.mask, "mask", missing)
        absent = any(name in missing for name in (files.image, files.depth, files.mask))
        if image is None or len(self._found.problems) > before or absent:
            return None
        return ViewPictures(files, image, depth, mask)

    def say_what_was_converted(self) -> None:
        """A warning for each way in which pictures became what models work with."""
        for phrase, names in self._converted.items():
            told = f"{len(names)} picture{'s' if len(names) > 1 else ''}: {phrase} ({listing(names)})."
            self._found.warnings.append(told)

    def _pixels(self, name: str | None, kind: Kind, missing: Collection[str | None]) -> Pixels | None:
        """The decoded pixels of one picture, or None after reporting why not."""
        content = None if name is None or name in missing else self._content(name)
        if name is None or content is None:
            return None
        judge = judge_of(name, kind)
        verdict = judge.check(content, kind, self._limits, name)
        if isinstance(verdict, Problem):
            self._found.problems.append(verdict)
            return None
        self._count_pixels(name, kind, verdict)
        return self._decoded(name, judge, content, verdict, kind)

    def _content(self, name: str) -> bytes | None:
        problems = self._found.problems
        try:
            content = self._folder.read(name, self._limits.max_file_bytes)
        except CaptureError as error:
            known = {(problem.code, problem.file) for problem in problems}  # the listing may have said so
            problems += [problem for problem in error.problems if (problem.code, problem.file) not in known]
            return None
        self._bytes_left -= len(content)
        if self._bytes_left < 0:
            message = f"With this file the capture passes {self._limits.max_capture_bytes:,} bytes."
            fix = "Send fewer or smaller pictures, or raise the limit in the settings."
            self._found.report("too_big", name, message, fix)
            self._found.raise_if_any()
        return content

    def _count_pixels(self, name: str, kind: Kind, info: PictureInfo) -> None:
        """A few kilobytes can hold a picture of the largest size: many of them together must not fill the memory."""
        self._pixels_left[kind] -= info.width * info.height
        if self._pixels_left[kind] < 0:
            most = f"{self._limits.max_capture_pixels / 1e6:g} million"
            message = f"With this picture {TOGETHER[kind]} more than {most} pixels together."
            self._found.report("too_big", name, message, "Send fewer views, or smaller pictures.")
            self._found.raise_if_any()

    def _decoded(self, name: str, judge: PictureKind, content: bytes, info: PictureInfo, kind: Kind) -> Pixels | None:
        try:
            pixels = _decoder(judge)(content, info, kind)
        except NotInstalled as lacking:
            if judge.name not in self._lacking:
                self._found.report("picture", name, f"The {judge.name} is not read. {lacking}", lacking.fix)
            self._lacking.add(judge.name)
            return None
        except Exception as error:  # whatever a decoder stumbles over, the file is to blame
            message = f"The {judge.name} cannot be decoded ({error})."
            self._found.report(judge.undecodable, name, message, "Copy the file again.")
            return None
        for phrase in pixels.told:
            self._converted.setdefault(phrase, []).append(name)
        return pixels


def _decoder(kind: PictureKind) -> Callable[[bytes, PictureInfo, Kind], Pixels]:
    place, _, name = kind.decode.partition(":")
    found: Callable[[bytes, PictureInfo, Kind], Pixels] = getattr(importlib.import_module(place), name)
    return found
