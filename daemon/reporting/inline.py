"""What travels inside report.html beside its text: pictures, meshes, scripts, and the policy that admits just these.

A page may carry 25 MB of mesh for each model, and the service is small. So the template writes a mark where something
travels, and the content is read from its file when the page is written, piece by piece. A mark is a number between
two NUL characters: no text of a stranger can hold one, because what does not print is written as an escape.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup, escape

from meshdrop.models.files import walk

TEMPLATES = Path(__file__).parent / "templates"
#: model-viewer as published; version and origin stand in NOTICE.md beside it.
VIEWER = Path(__file__).parent / "vendor" / "model-viewer"
MARK = "\0"
#: Read at once: a multiple of three, so that the pieces' base64 joins to the whole's.
_PIECE = 3 << 17
#: A comment for developers' tools, at the end of the published file; they would look for another file.
_SOURCE_MAP = b"//# sourceMappingURL="


VIEWER_MARK = "viewer"


@dataclass
class Cargo:
    """The files that travel inside one page, in order of their numbers."""

    files: list[Path] = field(default_factory=list)

    def base64(self, file: Path) -> Markup:
        """A mark for the file's content as base64."""
        self.files.append(file)
        return Markup(f"{MARK}{len(self.files) - 1}{MARK}")

    def page(self, text: str) -> Iterator[bytes]:
        """The page in pieces, with every mark replaced by what it stands for."""
        for index, part in enumerate(text.split(MARK)):
            if index % 2 == 0:
                yield part.encode()
            elif part == VIEWER_MARK:
                yield viewer_script()
            else:
                yield from _encoded(self.files[int(part)])


def _encoded(file: Path) -> Iterator[bytes]:
    with open(walk.reach(file, walk.FILE), "rb") as stream:  # what a worker left may be a link by now
        while piece := stream.read(_PIECE):
            yield base64.b64encode(piece)


def viewer_script() -> bytes:
    """The viewer's program, without the comment that sends developers' tools to another file."""
    script = (VIEWER / "model-viewer-umd.min.js").read_bytes()
    return script[: script.rindex(_SOURCE_MAP)]


@functools.cache
def _viewer_hashes() -> tuple[str, str]:
    """Of the viewer's program, and of the one style that it puts into its own part of the page."""
    script = viewer_script()
    (style,) = re.findall(rb"<style>(.*?)</style>", script, re.DOTALL)
    return _hash(script), _hash(style)


def _hash(content: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


@dataclass(frozen=True)
class Programs:
    """The page's style and scripts as they stand in it; ``first`` and ``own`` are empty on a page without any."""

    style: Markup
    first: Markup
    own: Markup
    viewer: bool

    @classmethod
    def of(cls, *, moving: bool, viewer: bool) -> Programs:
        """Those for a page with something that moves, and with a 3D view or none."""

        def read(name: str) -> Markup:
            return Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # our own files: not to be escaped

        if not moving:
            return cls(read("report.css"), Markup(""), Markup(""), viewer)
        return cls(read("report.css"), read("report_first.js"), read("report.js"), viewer)

    @property
    def viewer_mark(self) -> Markup:
        """Where the viewer's program goes."""
        return Markup(f"{MARK}{VIEWER_MARK}{MARK}")

    @property
    def viewer_licence(self) -> Markup:
        """The licence that has to travel with the viewer's program."""
        return escape((VIEWER / "LICENSE").read_text(encoding="utf-8"))

    @property
    def policy(self) -> str:
        """The Content-Security-Policy: nothing from anywhere, and of what is inside only what is ours, by its hash.

        ``blob:`` is where the page's script puts a mesh, and where the viewer finds it and puts its textures.
        """
        styles, scripts = [_hash(self.style.encode())], []
        if self.own:
            scripts += [_hash(self.first.encode()), _hash(self.own.encode())]
        if self.viewer:
            script, style = _viewer_hashes()
            scripts.append(script)
            styles.append(style)
        blob = " blob:" if self.viewer else ""
        rules = [
            "default-src 'none'",
            f"img-src data:{blob}",
            f"style-src {' '.join(styles)}",
            *([f"script-src {' '.join(scripts)}"] if scripts else []),
            *(["connect-src blob:"] if self.viewer else []),
            "base-uri 'none'",
            "form-action 'none'",
        ]
        return "; ".join(rules)
