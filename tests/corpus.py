"""Fifty-seven kinds of bad input, each with the one outcome that it must have.

``CASES`` holds those that are a folder in the inbox; the numbers are those of the table in ``TITLES``, and a number may
have several folders. What needs a hand at the right moment (a file that grows, a share that vanishes) is listed in
``tests/acceptance/test_corpus.py`` by the same numbers. Nothing broken is stored: each is made from a good capture.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import socket
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from meshdrop.models.formats.cameras import CANONICAL_VIEWS, canonical_camera
from samples.broken import (
    BACK,
    BY_NAME,
    DEPTHS,
    FRONT,
    FRONT_DEPTH,
    VIEWS,
    chunks_of,
    half_size,
    header_says,
    joined,
    repaint,
    rewrite,
    state,
)
from tests import pictures

TITLES: Mapping[int, str] = {
    1: "an empty file",
    2: "cut in the middle of the pixels",
    3: "no end chunk",
    4: "the right size, all zeros",
    5: "a good header, then zeros",
    6: "pixels with a wrong checksum",
    7: "a header with a wrong checksum",
    8: "too few rows",
    9: "more pixels than the header says",
    10: "a filter that does not exist",
    11: "0 x 0 and 2^31 - 1 squared",
    12: "12,000 pixels squared",
    13: "30,000 pixels squared",
    14: "200 MB of compressed metadata",
    15: "100,000 chunks",
    16: "JPEG, TIFF and GIF named .png",
    17: "PostScript named .png",
    18: "programs and pickles named .png",
    19: "animated, 1-bit, interlaced",
    20: "something behind the picture",
    21: "chunks that cannot be",
    22: "depth that is no depth",
    23: "pictures that show nothing",
    24: "six identical views, and views of differing sizes",
    25: "views and depth maps that do not add up",
    26: "random damage",
    27: "a link to a file elsewhere",
    28: "a link in place of the folder",
    29: "a link to itself, a link to nowhere",
    30: "a hard link to a file elsewhere",
    31: "a pipe, a socket and a device",
    32: "a sparse terabyte",
    33: "100,000 files",
    34: "folders 1,000 deep",
    35: "names that a shell would run",
    36: "names that a terminal would obey",
    37: "names and texts that a browser would run",
    38: "Latin-1, NFC and NFD",
    39: "a name of 255 bytes",
    40: "names that Windows cannot have",
    41: "what operating systems leave behind",
    42: "what copy programs leave behind",
    43: "no right to read it",
    44: "a file that grows for ever",
    45: "a file swapped for a link while it is read",
    46: "a file rewritten while it is read",
    47: "a folder that goes away",
    48: "the same name again",
    49: "the same bytes under two names",
    50: "the place in outbox/ is taken",
    51: "the sentinel goes away",
    52: "odd times",
    53: "sidecars that no parser should swallow",
    54: "sidecars that reach too far",
    55: "cameras that cannot be",
    56: "a flood of bad captures before a good one",
    57: "pictures of other kinds than PNG",
}

Outcome = Literal["waits", "refused", "accepted", "held"]
Break = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """One folder of the inbox.

    ``breaks`` edits a copy of a good capture in place. ``code``: of the problem that it is refused for, at once or when
    nobody waits any longer. ``says``: part of the sentence on the status page while it waits. ``job_code``: what kind
    of failure the whole job is.
    """

    number: int
    name: bytes
    outcome: Outcome
    breaks: Break
    code: str = ""
    says: str = ""
    job_code: str = "capture"


# -- makers -----------------------------------------------------------------------------------------------------------


def nothing(folder: Path) -> None:
    """The capture stays as good as it is."""


def becomes(content: bytes) -> Callable[[bytes], bytes]:
    return lambda _: content


def with_chunk(name: bytes, *bodies: bytes) -> Callable[[bytes], bytes]:
    """The picture with chunks behind its header."""

    def change(content: bytes) -> bytes:
        first, *rest = chunks_of(content)
        return joined([first, *((name, body) for body in bodies), *rest])

    return change


def pixels_of(content: bytes) -> bytes:
    return zlib.decompress(b"".join(body for name, body in chunks_of(content) if name == b"IDAT"))


def with_pixels(content: bytes, pixels: bytes) -> bytes:
    return joined([chunks_of(content)[0], (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")])


def wrong_filter(content: bytes) -> bytes:
    return with_pixels(content, b"\5" + pixels_of(content)[1:])


def wrong_header_checksum(content: bytes) -> bytes:
    return content[:29] + bytes([content[29] ^ 1]) + content[30:]


def impossible_length(content: bytes) -> bytes:
    return content[:33] + b"\xff\xff\xff\xff" + content[37:]


def header_then_zeros(content: bytes) -> bytes:
    return content[:33] + bytes(len(content) - 33)


def zeros_stream(size: int) -> bytes:
    """A valid zlib stream of ``size`` zero bytes, made in milliseconds: one packed megabyte, repeated."""
    block = zlib.compressobj(9, zlib.DEFLATED, -15)
    megabyte = block.compress(bytes(1 << 20)) + block.flush(zlib.Z_FULL_FLUSH)
    whole, rest = divmod(size, 1 << 20)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    tail = last.compress(bytes(rest)) + last.flush()
    checksum = (size % 65521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\xda" + megabyte * whole + tail + struct.pack(">I", checksum)


def bomb(side: int) -> Callable[[bytes], bytes]:
    """A genuine black picture of ``side`` pixels squared."""

    def change(content: bytes) -> bytes:
        header = struct.pack(">II", side, side) + b"\x08\x02\0\0\0"
        return joined([(b"IHDR", header), (b"IDAT", zeros_stream(side * (1 + 3 * side))), (b"IEND", b"")])

    return change


def saved_as(kind: str, mode: str = "RGB", **options: Any) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        saved = io.BytesIO()
        with Image.open(io.BytesIO(content)) as image:
            image.convert(mode).save(saved, format=kind, **options)
        return saved.getvalue()

    return change


def animated(content: bytes) -> bytes:
    saved = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        image.save(saved, format="PNG", save_all=True, append_images=[image.transpose(Image.Transpose.ROTATE_90)])
    return saved.getvalue()


def interlaced(content: bytes) -> bytes:
    first, *rest = chunks_of(content)
    return joined([(b"IHDR", first[1][:12] + b"\1"), *rest])


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self._marker), "w")


def marker_of(folder: Path) -> Path:
    """What a loader that runs what it reads would create: beside the root that the folder is on its way to."""
    return folder.parents[1] / "marker"


def pickled(folder: Path) -> bytes:
    return pickle.dumps(Touch(marker_of(folder)))


def torch_file(folder: Path) -> bytes:
    """What ``torch.save`` writes: a zip archive with a pickle in it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(folder))
    return packed.getvalue()


def object_array(folder: Path) -> bytes:
    saved = io.BytesIO()
    np.save(saved, np.array([Touch(marker_of(folder))], dtype=object), allow_pickle=True)
    return saved.getvalue()


def postscript(folder: Path) -> bytes:
    run = f"({marker_of(folder)}) (w) file closefile\n%pipe%touch {marker_of(folder)}\n"
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n" + run.encode() + b"showpage\n"


def loads_as(make: Callable[[Path], bytes], name: str = FRONT) -> Break:
    return lambda folder: (folder / name).write_bytes(make(folder))


def saturated(pixels: np.ndarray) -> np.ndarray:
    return np.full_like(pixels, 65535)


def colourful(depth: np.ndarray) -> np.ndarray:
    return np.repeat((depth >> 5).astype(np.uint8)[..., None], 3, axis=2)


def smaller_front(folder: Path) -> None:
    for name in (FRONT, FRONT_DEPTH):
        repaint(name, half_size)(folder)


def of_other_kinds(folder: Path) -> None:
    """Every view another kind of photograph, depth of three kinds, and a JPEG with something behind its end."""
    kinds = (("tif", "TIFF"), ("webp", "WEBP"), ("avif", "AVIF"), ("jpg", "JPEG"), ("jpeg", "JPEG"))
    for number, view in enumerate(VIEWS):
        with Image.open(folder / view) as image:
            pixels = np.asarray(image.convert("RGB"))
        (folder / view).unlink()
        ending, kind = kinds[number] if number < len(kinds) else ("heic", "")
        content = pictures.saved(kind, pixels) if kind else pictures.heic(pixels)
        content += b"MotionPhoto" * 99 if ending == "jpeg" else b""
        (folder / view).with_suffix(f".{ending}").write_bytes(content)
    for number, name in enumerate(DEPTHS):
        with Image.open(folder / name) as image:
            counts = np.asarray(image).astype(np.uint16)
        (folder / name).unlink()
        ending, make = (("npy", pictures.npy), ("exr", pictures.exr), ("tif", tiff_of))[number % 3]
        (folder / name).with_suffix(f".{ending}").write_bytes(make(counts.astype(np.float32)))


def tiff_of(values: np.ndarray) -> bytes:
    return pictures.saved("TIFF", values)


def instead(name: str, ending: str, content: Callable[[], bytes]) -> Break:
    """A file of another kind in the place of a PNG."""

    def replaced(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).with_suffix(f".{ending}").write_bytes(content())

    return replaced


def enormous_tiff() -> bytes:
    """100,000 x 100,000 pixels in one strip that deflate would fill with ten gigabytes of zeros."""
    stream = zlib.compress(bytes(10_000_000))
    values = {256: 100_000, 257: 100_000, 258: 8, 259: 8, 262: 1, 273: 200, 277: 1, 278: 100_000, 279: len(stream)}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(values)) + table + bytes(4)).ljust(200, b"\0") + stream


def circle_tiff() -> bytes:
    """A directory that names itself as the next one."""
    content = bytearray(pictures.saved("TIFF"))
    place = int.from_bytes(content[4:8], "little")
    after = place + 2 + 12 * int.from_bytes(content[place : place + 2], "little")
    content[after : after + 4] = content[4:8]
    return bytes(content)


def enormous_array() -> bytes:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999, 99999), }".ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(9999)


def moving_webp() -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(pictures.NOISE)
    image.save(stream, "WEBP", save_all=True, append_images=[image.rotate(180)])
    return stream.getvalue()


def remove(*names: str) -> Break:
    def removed(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return removed


def link(target: str) -> Break:
    """The front view as a symbolic link."""

    def apply(folder: Path) -> None:
        (folder / FRONT).unlink()
        (folder / FRONT).symlink_to(target)

    return apply


def all_of(*breaks: Break) -> Break:
    return lambda folder: [one(folder) for one in breaks]


def add(files: Mapping[str, bytes]) -> Break:
    def apply(folder: Path) -> None:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    return apply


def hard_link(folder: Path) -> None:
    (folder / FRONT).unlink()
    os.link(canary_of(folder) / "twin.png", folder / FRONT)


def canary_of(folder: Path) -> Path:
    """A folder of somebody else's, beside the root; see ``make_canary``."""
    return folder.parents[1] / "canary"


def listening(folder: Path) -> None:
    """A socket with a picture's name; its path through ``/proc`` is short enough for the kernel."""
    (folder / FRONT).unlink()
    here = os.open((folder / FRONT).parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{here}/{Path(FRONT).name}")
    os.close(here)


def device(folder: Path) -> None:
    """/dev/zero under a picture's name: a reader without care reads for ever. Only root can make one."""
    (folder / FRONT).unlink()
    try:
        os.mknod(folder / FRONT, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        os.mkfifo(folder / FRONT)


def terabyte(folder: Path) -> None:
    with open(folder / FRONT, "r+b") as file:
        file.truncate(1 << 40)
        file.seek(-12, os.SEEK_END)
        file.write(bytes.fromhex("0000000049454e44ae426082"))


def many_files(folder: Path) -> None:
    (folder / "more").mkdir()
    for number in range(100_000):
        os.close(os.open(folder / f"more/{number}", os.O_CREAT | os.O_WRONLY))


def deep(folder: Path) -> None:
    here = os.open(folder, os.O_RDONLY)
    for _ in range(1000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def without_rights(name: str) -> Break:
    return lambda folder: os.chmod(folder / name, 0)


def at_times(*seconds: float) -> Break:
    """Each file with one of these modification times."""

    def apply(folder: Path) -> None:
        for index, file in enumerate(sorted(folder.rglob("*.png"))):
            os.utime(file, (0, seconds[index % len(seconds)]))

    return apply


def sidecar(content: bytes) -> Break:
    return lambda folder: (folder / "capture.json").write_bytes(content)


def framed(change: Callable[[dict[str, Any]], object]) -> Break:
    """The same capture with its cameras in a transforms.json, changed."""

    def apply(folder: Path) -> None:
        (folder / "capture.json").unlink()
        (folder / "views").rename(folder / "images")
        with Image.open(folder / "images/view_00.png") as image:
            width, height = image.size
        cameras = [canonical_camera(view, width, height) for view in CANONICAL_VIEWS]
        stated: dict[str, Any] = {
            "fl_x": cameras[0].fx,
            "w": width,
            "h": height,
            "integer_depth_scale": 0.001,
            "frames": [
                {
                    "file_path": f"images/view_{number:02d}.png",
                    "depth_file_path": f"depth/depth_{number:02d}.png",
                    "transform_matrix": camera.c2w.tolist(),
                }
                for number, camera in enumerate(cameras)
            ],
        }
        change(stated)
        (folder / "transforms.json").write_text(json.dumps(stated), encoding="utf-8")

    return apply


def first_frame(**values: Any) -> Break:
    return framed(lambda stated: stated["frames"][0].update(values))


def every_picture(path: str) -> Break:
    """Each frame's picture at a path of somebody else's."""
    return framed(lambda stated: [frame.update(file_path=path.format(n)) for n, frame in enumerate(stated["frames"])])


def first_pose(matrix: Any) -> Break:
    return first_frame(transform_matrix=matrix)


# -- the cases --------------------------------------------------------------------------------------------------------

REST = [[0, 0, 1, 0], [0, 0, 0, 1]]
SCRIPT = b"<script>fetch('//evil')</script>"
TEXT = b"Comment\0" + SCRIPT
SCRIPTED = rewrite(FRONT, with_chunk(b"tEXt", TEXT))
UMLAUT = "sch\u00f6n"


def _picture(number: int, slug: str, code: str, change: Callable[[bytes], bytes], name: str = FRONT) -> Case:
    return Case(number, f"{number:02d}-{slug}".encode(), "refused", rewrite(name, change), code)


def _awaited(number: int, slug: str, change: Callable[[bytes], bytes]) -> Case:
    return _waits(number, slug, "incomplete", "view_00.png is not complete yet", rewrite(FRONT, change))


def _refused(number: int, slug: str, code: str, breaks: Break) -> Case:
    return Case(number, f"{number:02d}-{slug}".encode(), "refused", breaks, code)


def _waits(number: int, slug: str, code: str, says: str, breaks: Break) -> Case:
    return Case(number, f"{number:02d}-{slug}".encode(), "waits", breaks, code, says, "incomplete")


def _named(number: int, *names: bytes, breaks: Break = nothing) -> tuple[Case, ...]:
    return tuple(Case(number, name, "accepted", breaks) for name in names)


CASES: tuple[Case, ...] = (
    _awaited(1, "empty", becomes(b"")),
    _awaited(2, "cut-in-the-pixels", lambda content: content[: len(content) // 2]),
    _awaited(3, "no-end", lambda content: content[:-12]),
    _awaited(4, "zeros", lambda content: bytes(len(content))),
    _awaited(5, "header-then-zeros", header_then_zeros),
    _refused(6, "bit-flip", "png_crc", BY_NAME["bit-flip"].breaks),
    _picture(7, "header-checksum", "png_crc", wrong_header_checksum),
    _refused(8, "rows-missing", "idat_short", BY_NAME["rows-missing"].breaks),
    _refused(9, "rows-too-many", "idat_long", BY_NAME["rows-too-many"].breaks),
    _picture(10, "filter", "png_decode", wrong_filter),
    _picture(11, "no-size", "dims", lambda content: header_says(content, 0, 0)),
    _picture(11, "largest-size", "dims", lambda content: header_says(content, 0x7FFFFFFF, 0x7FFFFFFF)),
    _picture(12, "bomb-12000", "dims", bomb(12_000)),
    _picture(13, "bomb-30000", "dims", bomb(30_000)),
    # One megabyte of metadata is allowed, counted as it would unpack.
    _picture(14, "text-bomb", "ancillary", with_chunk(b"zTXt", b"a\0\0" + zeros_stream(200_000_000))),
    _picture(14, "international-bomb", "ancillary", with_chunk(b"iTXt", b"a\0\1\0\0\0" + zeros_stream(200_000_000))),
    _picture(14, "profile-bomb", "ancillary", with_chunk(b"iCCP", b"a\0\0" + zeros_stream(200_000_000))),
    _picture(15, "texts", "chunks", with_chunk(b"tEXt", *[b"a\0b"] * 100_000)),
    *(_picture(16, kind.lower(), "not_png", saved_as(kind)) for kind in ("JPEG", "TIFF", "GIF")),
    _refused(17, "postscript", "not_png", loads_as(postscript)),
    _refused(18, "pickle", "not_png", loads_as(pickled)),
    _refused(18, "torch", "not_png", loads_as(torch_file)),
    _refused(18, "npy", "not_png", loads_as(object_array)),
    _picture(18, "elf", "not_png", becomes(b"\x7fELF\2\1\1" + bytes(500))),
    _picture(19, "animated", "pixel_format", animated),
    _picture(19, "one-bit", "pixel_format", saved_as("PNG", "1")),
    _picture(19, "interlaced", "pixel_format", interlaced),
    _refused(20, "zip-behind", "trailing", BY_NAME["zip-behind"].breaks),
    _picture(20, "page-behind", "trailing", lambda content: content + b"<html>" + SCRIPT),
    _picture(20, "megabyte-behind", "trailing", lambda content: content + bytes(range(256)) * 4096),
    _picture(21, "two-headers", "png_struct", lambda content: with_chunk(b"IHDR", chunks_of(content)[0][1])(content)),
    _picture(21, "endless-chunk", "png_struct", impossible_length),
    _refused(22, "eight-bit-depth", "depth_format", BY_NAME["eight-bit-depth"].breaks),
    _refused(22, "colour-depth", "depth_format", repaint(FRONT_DEPTH, colourful)),
    _refused(23, "empty-depth", "semantic", BY_NAME["empty-depth"].breaks),
    _refused(23, "saturated-depth", "semantic", all_of(*(repaint(name, saturated) for name in DEPTHS[:3]))),
    Case(23, b"23-one-empty-depth", "accepted", repaint(FRONT_DEPTH, np.zeros_like)),
    Case(23, b"23-one-black", "accepted", repaint(FRONT, np.zeros_like)),
    _refused(23, "nothing-there", "semantic", BY_NAME["nothing-there"].breaks),
    _refused(23, "black", "semantic", BY_NAME["black"].breaks),
    _refused(24, "one-camera", "semantic", BY_NAME["one-camera"].breaks),
    # Each view may have its own size: the standard rig's focal length goes with it.
    Case(24, b"24-two-sizes", "accepted", smaller_front),
    _waits(25, "five-views", "set", "12 of 13 files, waiting for views/view_05.png", remove(VIEWS[5])),
    # A seventh view is refused at once: no further file can make it one of the standard rig.
    _refused(25, "seven-views", "set", BY_NAME["seventh-view"].breaks),
    _waits(25, "two-depth-maps", "set", "9 of 13 files, waiting for depth/depth_00.png", remove(*DEPTHS[:4])),
    _waits(
        25,
        "a-bitmap-among-them",
        "not_png",
        "views/view_00.bmp is a BMP: save it as PNG",
        lambda folder: (folder / FRONT).rename(folder / "views/view_00.bmp"),
    ),
    _refused(27, "shadow", "symlink", link("/etc/shadow")),
    _refused(27, "canary", "symlink", link("../../../../canary/secret.png")),
    _refused(27, "unasked-for", "symlink", lambda folder: (folder / "notes").symlink_to("/etc")),
    _refused(29, "loop", "symlink", link("view_00.png")),
    _refused(29, "dangling", "symlink", link("nowhere.png")),
    _refused(30, "hard-link", "nlink", hard_link),
    _refused(31, "pipe", "not_regular", BY_NAME["pipe"].breaks),
    _refused(31, "unasked-for-pipe", "not_regular", lambda folder: os.mkfifo(folder / "notes")),
    _refused(31, "socket", "not_regular", listening),
    _refused(31, "device", "not_regular", device),
    _refused(32, "terabyte", "too_big", terabyte),
    _refused(33, "many-files", "too_many", many_files),
    _refused(34, "deep", "depth", deep),
    # A name that begins with a dot is one that a rig is still copying to: it is left alone.
    *_named(35, b"a..%2f..", b"-rf", b"$(id)", b"`id`", b"%n%s", b"{}", b"; rm -rf $HOME"),
    *_named(36, b"new\nline", b"\x1b[31mred", "\u202egnp.exe".encode(), b"bell\x07\r"),
    *_named(37, b"<script>alert(1)<", b'"><img src=x onerror=alert(1)>', breaks=SCRIPTED),
    *_named(38, b"sch\xf6n", UMLAUT.encode(), unicodedata.normalize("NFD", UMLAUT).encode()),
    *_named(39, b"n" * 255),
    *_named(40, b"CON", b"nul.txt", b"dot.", b"space ", b"name:stream", b"TWIN", b"twin"),
    Case(
        41,
        b"41-litter",
        "accepted",
        add(
            {
                "._view_00.png": b"x",
                ".DS_Store": b"x",
                "views/Thumbs.db": b"x",
                "views/._view_00.png": b"x",
                "@eaDir/view_00.png/SYNOPHOTO.jpg": b"x",
                "desktop.ini": b"x",
            }
        ),
    ),
    _waits(42, "part", "set", "still being copied: views/a.png.part is there", add({"views/a.png.part": b"x"})),
    _waits(42, "rsync", "set", "still being copied", add({"views/.view_00.png.Ab12Cd": b"x"})),
    _waits(42, "filepart", "set", "still being copied", add({"x.filepart": b"x"})),
    Case(43, b"43-file", "held", without_rights(FRONT), says="mode 0000"),
    Case(43, b"43-folder-inside", "held", without_rights("views"), says="mode 0000"),
    Case(43, b"43-folder", "held", without_rights("."), says="mode 0000"),
    *_named(52, b"52-times", breaks=at_times(0, 4_294_967_295, -86_400, -2_000_000_000)),
    _refused(53, "brackets", "sidecar", sidecar(b"[" * 30_000 + b"]" * 30_000)),
    _waits(53, "open-brackets", "incomplete", "capture.json is not complete yet", sidecar(b"[" * 60_000)),
    _refused(53, "brackets-200k", "sidecar", sidecar(b"[" * 200_000)),
    _refused(53, "nan", "sidecar", sidecar(b'{"depth_unit_m": NaN}')),
    _refused(53, "infinity", "sidecar", sidecar(b'{"priority": 1e999}')),
    _refused(53, "twice", "sidecar", sidecar(b'{"depth": true, "depth": false}')),
    Case(53, b"53-bom", "accepted", sidecar(b"\xef\xbb\xbf{}")),
    _refused(53, "100-mb", "sidecar", sidecar(b"{" + b" " * 100_000_000 + b"}")),
    _waits(53, "zeros", "set", "its content has not arrived", sidecar(bytes(300))),
    # No path is opened but one of the listing: these lead to files that are not there, and are awaited.
    _waits(54, "outside", "set", "waiting for x0.png", every_picture("../../x{}.png")),
    _waits(54, "canary", "set", "waiting for canary/secret0.png", every_picture("../../../canary/secret{}.png")),
    _waits(54, "absolute", "set", "waiting for etc/shadow0.png", every_picture("/etc/shadow{}")),
    _refused(54, "unknown-key", "sidecar", state(retries=1_000_000_000)),
    Case(54, b"54-priority", "accepted", state(priority=1_000_000_000)),
    _refused(55, "zero-focal", "calib", BY_NAME["zero-focal"].breaks),
    _refused(55, "nan-pose", "calib", first_pose([[float("nan")] * 4] * 4)),
    _refused(55, "singular", "calib", first_pose([[1, 0, 0, 0], [2, 0, 0, 0], *REST])),
    _refused(55, "overflow", "calib", first_pose([[1e200, 1e200, 0, 0], [-1e200, 1e200, 0, 0], *REST])),
    _refused(55, "endless-lens", "calib", framed(lambda stated: stated.update(k1=1e300))),
    _refused(55, "nan-lens", "calib", first_frame(p1=float("nan"))),
    _refused(55, "folding-lens", "calib", framed(lambda stated: stated.update(k1=-20))),
    _refused(55, "unknown-lens", "calib", framed(lambda stated: stated.update(camera_model="KALEIDOSCOPE"))),
    Case(55, b"55-good-cameras", "accepted", framed(lambda stated: None)),
    Case(55, b"55-good-lens", "accepted", framed(lambda stated: stated.update(k1=0.3, k2=-0.1))),
    Case(57, b"57-every-kind", "accepted", of_other_kinds),
    _refused(57, "enormous-tiff", "dims", instead(FRONT, "tif", enormous_tiff)),
    _refused(57, "tiff-in-a-circle", "picture", instead(FRONT, "tif", circle_tiff)),
    _refused(57, "enormous-array", "dims", instead(FRONT_DEPTH, "npy", enormous_array)),
    _refused(57, "moving-webp", "pixel_format", instead(FRONT, "webp", moving_webp)),
    _refused(57, "png-named-heic", "not_png", instead(FRONT, "heic", lambda: pictures.saved("PNG"))),
    _waits(
        57,
        "half-an-avif",
        "incomplete",
        "view_00.avif is not complete yet",
        instead(FRONT, "avif", lambda: pictures.saved("AVIF")[:-300]),
    ),
)


def make(case: Case, good: Path, target: Path) -> Path:
    """The folder of one case, made as ``target`` from the good capture; the name is the caller's affair."""
    shutil.copytree(good, target, copy_function=shutil.copyfile)
    case.breaks(target)
    return target


def make_canary(folder: Path, good: Path) -> None:
    """Things of somebody else's that no case may change or read."""
    folder.mkdir()
    shutil.copyfile(good / BACK, folder / "secret.png")
    shutil.copyfile(good / BACK, folder / "twin.png")
    shutil.copytree(good, folder / "capture", copy_function=shutil.copyfile)
    (folder / "note.txt").write_text("mine")


def state_of(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Mode, owner, time and content of everything below a folder."""
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        facts = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(facts.st_mode) else b""
        found[str(path.relative_to(folder))] = (facts.st_mode, facts.st_uid, facts.st_mtime_ns, content)
    return found
