"""Captures damaged at random, and a process that reads thousands of them as the service's reader does.

``python -m tests.mutants SEED COUNT FOLDER MEMORY_MIB`` makes a good capture in FOLDER, damages COUNT of its files one
way or another, and asks ``models.probe.inspection`` about each: the code that the ``inspect`` worker runs, in a process
limited as that worker limits itself. What may come out is an inspection; an exception ends the program with the mutant
that caused it. One line of JSON says how it went.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import re
import resource
import shutil
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from meshdrop.models.formats.cameras import canonical_camera
from meshdrop.models.probe.inspection import Inspection, inspect
from meshdrop.models.worker import _plain, be_modest
from tests.formats import (
    Rig,
    bop_cameras,
    cameras_bin,
    colmap_images,
    colmap_text_files,
    images_bin,
    llff_table,
    polycam_camera,
    pose_text,
    record3d_table,
    scanner_app_camera,
    trajectory_words,
)
from tests.pictures import exr, heic, npy, saved
from tests.rig import write_ball

SIGNATURE = b"\x89PNG\r\n\x1a\n"
VIEWS = {"front": 0, "right": 2, "top": 4}
SIDE = 20
Chunks = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Mutant:
    """A damaged file. ``fatal``: no reader may accept it, whatever else is true."""

    content: bytes
    how: str
    fatal: bool


# -- PNG: damage that leaves the checksums wrong, so that it must be noticed ----------------------------------------


def flip_bits(content: bytes, chance: random.Random) -> bytes:
    work = bytearray(content)
    for bit in chance.sample(range(len(work) * 8), chance.randint(1, 16)):
        work[bit // 8] ^= 1 << bit % 8
    return bytes(work)


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def end_in_zeros(content: bytes, chance: random.Random) -> bytes:
    length = chance.randrange(len(content))
    return content[:length] + bytes(len(content) - length)


def lie_about_a_length(content: bytes, chance: random.Random) -> bytes:
    start = chance.choice(_starts(content))
    (real,) = struct.unpack_from(">I", content, start)
    lies = [0, real + 1, real + 12, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, chance.randrange(1 << 32)]
    lie = chance.choice([lie for lie in lies if lie != real])
    return content[:start] + struct.pack(">I", lie) + content[start + 4 :]


def break_a_checksum(content: bytes, chance: random.Random) -> bytes:
    start = chance.choice(_starts(content))
    (length,) = struct.unpack_from(">I", content, start)
    at = start + 8 + length + chance.randrange(4)
    return content[:at] + bytes([content[at] ^ chance.randint(1, 255)]) + content[at + 1 :]


def append(content: bytes, chance: random.Random) -> bytes:
    return content + chance.choice([b"\0", b"PK\3\4" * 9, b"<html>", content, chance.randbytes(chance.randint(1, 99))])


def insert_or_delete(content: bytes, chance: random.Random) -> bytes:
    at, length = chance.randrange(len(content)), chance.randint(1, 8)
    if chance.random() < 0.5:
        return content[:at] + chance.randbytes(length) + content[at:]
    return content[:at] + content[at + length :]


FATAL = (flip_bits, cut, end_in_zeros, lie_about_a_length, break_a_checksum, append)

# -- PNG: damage with the checksums put right -------------------------------------------------------------------------


def change_the_header(chunks: Chunks, chance: random.Random) -> Chunks:
    header = bytearray(chunks[0][1].ljust(13, b"\0"))
    if chance.random() < 0.5:
        at = chance.choice([0, 4])
        sizes = [0, 1, 15, SIDE - 1, SIDE + 1, 2 * SIDE, 12_000, 30_000, 0x7FFFFFFF, 0xFFFFFFFF]
        struct.pack_into(">I", header, at, chance.choice(sizes))
    else:
        header[chance.randrange(8, 13)] = chance.choice([0, 1, 2, 3, 4, 6, 8, 16, 255])
    return [(chunks[0][0], bytes(header)), *chunks[1:]]


def damage_a_body(chunks: Chunks, chance: random.Random) -> Chunks:
    index = chance.randrange(len(chunks))
    name, body = chunks[index]
    work = bytearray(body or b"\0")
    for _ in range(chance.randint(1, 16)):
        work[chance.randrange(len(work))] = chance.randrange(256)
    return [*chunks[:index], (name, bytes(work)), *chunks[index + 1 :]]


def repaint(chunks: Chunks, chance: random.Random) -> Chunks:
    """Other pixels and filter bytes, packed properly again, perhaps with rows more or less."""
    rows = bytearray(_pixels(chunks))
    if not rows:
        return chunks
    for _ in range(chance.randint(1, 200)):
        rows[chance.randrange(len(rows))] = chance.choice([0, 1, 4, 5, 255, chance.randrange(256)])
    more = chance.choice([0, 0, 0, 1, -1, 100_000, -len(rows) // 2])
    return _repacked(chunks, bytes(rows[:more] if more < 0 else rows + bytes(more)), chance)


def recolour(chunks: Chunks, chance: random.Random) -> Chunks:
    """Other pixels with filters that exist: as a picture there is nothing wrong with it."""
    rows = bytearray(_pixels(chunks))
    length = len(rows) // SIDE
    if len(rows) != length * SIDE or not rows:
        return chunks
    for _ in range(chance.choice([1, 5, 50])):
        rows[chance.randrange(len(rows))] = chance.randrange(256)
    for row in range(SIDE):
        rows[row * length] = chance.randrange(5) if chance.random() < 0.1 else min(rows[row * length], 4)
    return _repacked(chunks, bytes(rows), chance)


def fill(chunks: Chunks, chance: random.Random) -> Chunks:
    """Every pixel the same: black pictures, saturated depth, empty masks."""
    return _repacked(chunks, bytes([chance.choice([0, 255, 7])]) * len(_pixels(chunks)), chance)


def junk_in_the_stream(chunks: Chunks, chance: random.Random) -> Chunks:
    stream = b"".join(body for name, body in chunks if name == b"IDAT")
    junk = chance.choice([b"\0", chance.randbytes(9), stream])
    return _with_stream(chunks, junk + stream if chance.random() < 0.3 else stream + junk)


def add_a_chunk(chunks: Chunks, chance: random.Random) -> Chunks:
    bomb = zlib.compress(bytes(3_000_000))
    name = chance.choice(
        [
            b"tEXt",
            b"zTXt",
            b"iTXt",
            b"iCCP",
            b"tRNS",
            b"PLTE",
            b"gAMA",
            b"cHRM",
            b"sRGB",
            b"pHYs",
            b"eXIf",
            b"sPLT",
            b"bKGD",
            b"hIST",
            b"tIME",
            b"acTL",
            b"fcTL",
            b"fdAT",
            b"IHDR",
            b"IEND",
            b"IDAT",
            b"HACK",
            b"haCK",
            b"\0\1\2\3",
        ]
    )
    noise = chance.randbytes(chance.randint(1, 60))
    body = chance.choice([b"", b"a\0", b"a\0\0" + bomb, b"a\0\1\0en\0a\0" + bomb, noise])
    at = chance.randint(0, len(chunks))
    return [*chunks[:at], (name, body), *chunks[at:]]


def shuffle_chunks(chunks: Chunks, chance: random.Random) -> Chunks:
    work = list(chunks)
    index = chance.randrange(len(work))
    match chance.randrange(4):
        case 0:
            del work[index]
        case 1:
            work.insert(index, work[index])
        case 2:
            chance.shuffle(work)
        case _:
            work = [part for name, body in work for part in _halves(name, body, chance)]
    return work


def rename_a_chunk(chunks: Chunks, chance: random.Random) -> Chunks:
    index = chance.randrange(len(chunks))
    name, body = chunks[index]
    at = chance.randrange(4)
    name = name[:at] + bytes([name[at] ^ chance.choice([32, 128, 1, 2])]) + name[at + 1 :]
    return [*chunks[:index], (name, body), *chunks[index + 1 :]]


SUBTLE = (
    change_the_header,
    damage_a_body,
    repaint,
    repaint,
    fill,
    junk_in_the_stream,
    add_a_chunk,
    shuffle_chunks,
    rename_a_chunk,
)


def _starts(content: bytes) -> list[int]:
    found, position = [], len(SIGNATURE)
    while position + 12 <= len(content):
        found.append(position)
        position += 12 + int.from_bytes(content[position : position + 4], "big")
    return found


def _split(content: bytes) -> Chunks:
    found: Chunks = []
    for start in _starts(content):
        (length,) = struct.unpack_from(">I", content, start)
        found.append((content[start + 4 : start + 8], content[start + 8 : start + 8 + length]))
    return found


def _joined(chunks: Chunks) -> bytes:
    parts = [SIGNATURE]
    for name, body in chunks:
        parts.append(struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)))
    return b"".join(parts)


def _pixels(chunks: Chunks) -> bytes:
    try:
        return zlib.decompressobj().decompress(b"".join(body for name, body in chunks if name == b"IDAT"), 10_000_000)
    except zlib.error:
        return b""


def _repacked(chunks: Chunks, rows: bytes, chance: random.Random) -> Chunks:
    return _with_stream(chunks, zlib.compress(rows, chance.choice([0, 1, 9])))


def _with_stream(chunks: Chunks, stream: bytes) -> Chunks:
    first = next((index for index, (name, _) in enumerate(chunks) if name == b"IDAT"), len(chunks))
    rest = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
    return [*rest[:first], (b"IDAT", stream), *rest[first:]]


def _halves(name: bytes, body: bytes, chance: random.Random) -> Chunks:
    if name != b"IDAT":
        return [(name, body)]
    at = chance.randint(0, len(body))
    return [(name, body[:at]), (name, body[at:])]


# -- PNG: something else altogether -----------------------------------------------------------------------------------


class Exploit:
    """What a careless loader would run."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self._marker), "w")


def impostors(marker: Path) -> dict[str, bytes]:
    """Files of other formats, some of which create ``marker`` when they are loaded as what they are."""
    poison = pickle.dumps(Exploit(marker))
    array = io.BytesIO()
    np.save(array, np.array([Exploit(marker)], dtype=object), allow_pickle=True)
    found = {"pickle": poison, "object array": array.getvalue(), "ELF": b"\x7fELF\2\1\1" + bytes(200)}
    found["EPS"] = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({marker}) (w) file\nshowpage\n".encode()
    for kind in ("JPEG", "TIFF", "GIF", "BMP"):
        saved = io.BytesIO()
        Image.new("RGB", (SIDE, SIDE), (200, 90, 40)).save(saved, format=kind)
        found[kind] = saved.getvalue()
    return found


def mutate_png(content: bytes, others: list[bytes], strange: list[bytes], chance: random.Random) -> Mutant:
    """One file, damaged one to sixteen times."""
    kind = chance.random()
    if kind < 0.03:
        return Mutant(chance.choice(strange), "impostor", fatal=True)
    if kind < 0.08:
        spliced = _splice(content, chance.choice(others), chance)
        return Mutant(spliced, "splice", fatal=False)
    if kind < 0.35:
        mutation = chance.choice(FATAL)
        return Mutant(mutation(content, chance), mutation.__name__, fatal=True)
    if kind < 0.50:
        return Mutant(_joined(recolour(_split(content), chance)), "recolour", fatal=False)
    if kind < 0.55:
        return Mutant(insert_or_delete(content, chance), "insert_or_delete", fatal=True)
    names = []
    chunks = _split(content)
    for _ in range(chance.choice([1, 1, 1, 2, 3, 16])):
        subtle = chance.choice(SUBTLE)
        if chunks:
            names.append(subtle.__name__)
            chunks = subtle(chunks, chance)
    return Mutant(_joined(chunks), "+".join(names), fatal=False)


def _splice(content: bytes, other: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.5:
        return content[: chance.randrange(len(content))] + other[chance.randrange(len(other)) :]
    ours, theirs = _split(content), _split(other)
    return _joined(ours[: chance.randint(1, len(ours))] + theirs[chance.randrange(len(theirs)) :])


# -- JSON -------------------------------------------------------------------------------------------------------------

ODD_TEXTS = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-1e999",
    b"1e-400",
    b"9" * 400,
    b"9" * 5000,
    b"-0",
    b"0",
    b"null",
    b"true",
    b'""',
    b'"../../etc/shadow"',
    b'"/etc/shadow"',
    b'"C:\\\\x.png"',
    b'"a\\u0000b"',
    b'"\\ud800"',
    b'"\\u202egnp"',
    b"[]",
    b"{}",
    b"[" * 40 + b"]" * 40,
    b'{"a":' * 40 + b"1" + b"}" * 40,
    b"[[1,2],[3]]",
    b"[1e308,1e308,1e308,1e308]",
    b'"%n%s{}$(id)"',
    b"1e200",
    b"-1",
    b"3",
    b'["fusion"]',
    b'["front"]',
    b'"opencv"',
    b'"world_to_camera"',
)
WHOLE_FILES = (
    b"",
    b" ",
    bytes(300),
    b"[" * 60_000,
    b"[" * 30_000 + b"]" * 30_000,
    b'{"a":' * 12_000,
    b"\xef\xbb\xbf{}",
    b"null",
    b"17",
    b"[]",
    b'"x"',
    b"\xff\xfe{\0}\0",
    b"{}" * 2,
    b"{" + b'"a":1,' * 9000 + b'"b":2}',
    b'{"frames": [' * 999,
    b"{" + b" " * 70_000 + b"}",
    b'{"' + b"k" * 60_000 + b'": 1}',
    b"\x1b[31m",
    b"{'views': 1}",
    b"// no\n{}",
    b"{,}",
)


def mutate_json(value: dict[str, Any], chance: random.Random) -> Mutant:
    """A sidecar with values, keys or bytes changed, or another file in its place."""
    kind = chance.random()
    if kind < 0.1:
        return Mutant(chance.choice(WHOLE_FILES), "whole file", fatal=False)
    text = json.dumps(value).encode()
    if kind < 0.25:
        return Mutant(flip_bits(text, chance), "bits", fatal=False)
    if kind < 0.3:
        return Mutant(cut(text, chance), "cut", fatal=True)
    if kind < 0.45:
        return Mutant(_nudged(text, chance), "nudge", fatal=False)
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        text = _with_another_value(text, chance)
    return Mutant(text, "values", fatal=False)


def _nudged(text: bytes, chance: random.Random) -> bytes:
    """One number a little, or a lot, larger or smaller: what a wrong calibration looks like."""
    numbers = list(re.finditer(rb"-?[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?", text))
    number = chance.choice(numbers)
    factor = chance.choice([1.0001, 1.01, 0.99, 1.5, -1.0, 10.0, 1e-6, 1e9])
    return text[: number.start()] + repr(float(number.group()) * factor).encode() + text[number.end() :]


def _with_another_value(text: bytes, chance: random.Random) -> bytes:
    """One value, number or key replaced in the text, so that even what JSON libraries cannot write gets in."""
    places = [index for index, byte in enumerate(text) if byte in b":,["]
    if not places:
        return text
    at = chance.choice(places) + 1
    end = min((stop for mark in b",]}" if (stop := text.find(bytes([mark]), at)) >= 0), default=len(text))
    odd = chance.choice(ODD_TEXTS)
    match chance.randrange(6):
        case 0:
            return text[:at] + b' "fl_x": ' + odd + b"," + text[at:]
        case 1:
            key = chance.choice([b"depth_unit_m", b"camera_axes", b"labels", b"models", b"frames", b"k1", b"x", b"rig"])
            return text.replace(b"{", b'{"' + key + b'": ' + odd + b", ", 1)
        case 2:
            return text[:at] + text[end:]
        case _:
            return text[:at] + odd + text[end:]


# -- the good captures ------------------------------------------------------------------------------------------------


def good_captures(folder: Path) -> dict[str, dict[str, bytes]]:
    """Small captures of one ball as {name: {path: content}}: three views of the rig, and three with cameras in every
    format, some with JPEG photographs."""
    ball = write_ball(folder / "ball", size=SIDE)
    images = {view: (ball / f"views/view_{number:02d}.png").read_bytes() for view, number in VIEWS.items()}
    depths = {view: (ball / f"depth/depth_{number:02d}.png").read_bytes() for view, number in VIEWS.items()}
    masks = {}
    for view, image in images.items():
        with Image.open(io.BytesIO(image)) as picture:
            saved = io.BytesIO()
            picture.getchannel("A").save(saved, format="PNG")
        masks[view] = saved.getvalue()
    shutil.rmtree(ball)
    canonical = {
        f"{place}/{view}.png": files[view]
        for place, files in (("views", images), ("depth", depths), ("masks", masks))
        for view in VIEWS
    }
    framed = {name.replace("views/", "images/"): content for name, content in canonical.items()}
    rig = [(view, canonical_camera(view, SIDE, SIDE)) for view in VIEWS]
    profile = {"schema": "meshdrop.rig/1", "rig": "rig1", **transforms()}
    return {
        "colmap": {
            **{
                name.replace(".png", ".jpg") if name.startswith("images/") else name: as_jpeg(content)
                if name.startswith("images/")
                else content
                for name, content in framed.items()
            },
            "sparse/0/cameras.bin": cameras_bin(rig),
            "sparse/0/images.bin": images_bin(colmap_images(rig, "jpg")),
        },
        "colmap text": {**framed, **colmap_text_files(rig)},
        "polycam": {
            **{f"keyframes/images/{view}.jpg": as_jpeg(images[view]) for view in VIEWS},
            **{f"keyframes/depth/{view}.png": depths[view] for view in VIEWS},
            **{f"keyframes/cameras/{view}.json": json.dumps(polycam_camera(camera)).encode() for view, camera in rig},
        },
        "bop": {
            **{f"rgb/{number:06d}.png": images[view] for number, view in enumerate(VIEWS)},
            **{f"depth/{number:06d}.png": depths[view] for number, view in enumerate(VIEWS)},
            "scene_camera.json": json.dumps(bop_cameras(rig)).encode(),
        },
        "llff": {**framed, "poses_bounds.npy": npy(llff_table(sorted(rig)))},
        "7-scenes": {
            **{f"frame-{number:06d}.color.png": images[view] for number, view in enumerate(VIEWS)},
            **{f"frame-{number:06d}.depth.png": depths[view] for number, view in enumerate(VIEWS)},
            **{f"frame-{number:06d}.pose.txt": pose_text(camera).encode() for number, (_, camera) in enumerate(rig)},
            "camera-intrinsics.txt": f"{rig[0][1].fx} 0 9.5\n0 {rig[0][1].fx} 9.5\n0 0 1\n".encode(),
        },
        "tum": {
            **{name: content for name, content in framed.items() if not name.startswith("masks/")},
            **tum_texts(rig),
        },
        "record3d": {
            **{f"rgb/{number}.png": images[view] for number, view in enumerate(VIEWS)},
            "metadata.json": json.dumps(record3d_table(rig)).encode(),
        },
        "3d scanner app": {
            **{f"frame_{number:05d}.jpg": as_jpeg(images[view]) for number, view in enumerate(VIEWS)},
            **{f"depth_{number:05d}.png": depths[view] for number, view in enumerate(VIEWS)},
            **{
                f"frame_{number:05d}.json": json.dumps(scanner_app_camera(camera, number)).encode()
                for number, (_, camera) in enumerate(rig)
            },
        },
        "other kinds": {
            **{f"views/{view}.{ending}": as_kind(images[view], kind) for view, ending, kind in PHOTOGRAPHS},
            **{f"depth/{view}.{ending}": depth_as(depths[view], ending) for view, ending in DEPTH},
            **{f"masks/{view}.jpg": as_jpeg(masks[view]) for view in VIEWS},
            "capture.json": json.dumps({"views": list(VIEWS), "depth_unit_m": 0.001}).encode(),
        },
        "heic and arrays": {
            "views/front.heic": heic(pixels_of(images["front"])),
            **{f"views/{view}.{ending}": as_kind(images[view], kind) for view, ending, kind in MORE},
            **{f"depth/{view}.npy": depth_as(depths[view], "npy") for view in VIEWS},
            "capture.json": json.dumps({"views": list(VIEWS), "depth_unit_m": 0.001}).encode(),
        },
        "stored rig": {**framed, "rig.json": json.dumps(profile).encode()},
        "rig": {**canonical, "capture.json": json.dumps({"views": list(VIEWS), "depth_unit_m": 0.001}).encode()},
        "cameras": {**framed, "transforms.json": json.dumps(transforms()).encode()},
        "lens": {**framed, "transforms.json": json.dumps({**transforms(), **LENS}).encode()},
    }


#: As instant-ngp states one.
LENS = {"k1": 0.3, "k2": -0.1, "p1": 0.002, "p2": -0.001}


def tum_texts(rig: Rig) -> dict[str, bytes]:
    """The lists of a sequence, and the intrinsics that it leaves out."""
    _, first = rig[0]
    lines = [f"{number / 30:.6f} images/{view}.png\n" for number, (view, _) in enumerate(rig)]
    poses = [f"{number / 30:.4f} {trajectory_words(camera)}\n" for number, (_, camera) in enumerate(rig)]
    stated = {"fl_x": first.fx, "w": SIDE, "h": SIDE, "depth_unit_m": 0.001}
    return {
        "rgb.txt": "".join(lines).encode(),
        "depth.txt": "".join(line.replace("images/", "depth/") for line in lines).encode(),
        "groundtruth.txt": ("# time tx ty tz qx qy qz qw\n" + "".join(poses)).encode(),
        "capture.json": json.dumps(stated).encode(),
    }


#: Kinds of files that the mutants are made of, a view each.
PHOTOGRAPHS = (("front", "tif", "TIFF"), ("right", "webp", "WEBP"), ("top", "avif", "AVIF"))
MORE = (("right", "jpg", "JPEG"), ("top", "tiff", "TIFF"))
DEPTH = (("front", "npy"), ("right", "exr"), ("top", "tif"))


def pixels_of(png: bytes) -> np.ndarray:
    """The picture without its alpha."""
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"))


def as_kind(png: bytes, kind: str) -> bytes:
    """The same picture as another kind of file, with a turn noted that is none, so that there is more to damage."""
    exif = Image.Exif()
    exif[0x0112] = 1
    return saved(kind, pixels_of(png), exif=exif)


def depth_as(png: bytes, ending: str) -> bytes:
    """Depth as an array, as OpenEXR or as TIFF, each with other numbers."""
    with Image.open(io.BytesIO(png)) as picture:
        counts = np.asarray(picture).astype(np.uint16)
    if ending == "exr":
        return exr(counts.astype(np.float32))
    return npy(counts.astype(np.float32)) if ending == "npy" else saved("TIFF", counts)


def as_jpeg(png: bytes) -> bytes:
    """The same picture, without its alpha."""
    with Image.open(io.BytesIO(png)) as picture:
        saved = io.BytesIO()
        picture.convert("RGB").save(saved, format="JPEG", progressive=True)
    return saved.getvalue()


def mutate_bytes(content: bytes, chance: random.Random) -> Mutant:
    """A file that carries no checksums, damaged in a way that may pass unseen."""
    how = chance.choice((flip_bits, cut, end_in_zeros, append, insert_or_delete))
    return Mutant(how(content, chance), how.__name__, fatal=False)


def transforms() -> dict[str, Any]:
    """The cameras of the three views as nerfstudio would state them."""
    cameras = {view: canonical_camera(view, SIDE, SIDE) for view in VIEWS}
    return {
        "fl_x": cameras["front"].fx,
        "w": SIDE,
        "h": SIDE,
        "integer_depth_scale": 0.001,
        "frames": [
            {
                "file_path": f"images/{view}.png",
                "depth_file_path": f"depth/{view}.png",
                "mask_path": f"masks/{view}.png",
                "transform_matrix": camera.c2w.tolist(),
            }
            for view, camera in cameras.items()
        ],
    }


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Make these files in ``folder``."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


# -- reading them -----------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """How it went."""

    mutants: int = 0
    inspections: int = 0
    accepted: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    by_kind: Counter[str] = field(default_factory=Counter)


def round_of(good: dict[str, bytes], strange: list[bytes], chance: random.Random) -> dict[str, Mutant]:
    """Which files of one capture to damage: one picture, all pictures, or one of the others."""
    pictures = [name for name in good if name.endswith(".png")]
    kind = chance.random()
    if kind < 0.5 or not pictures:
        other = chance.choice(sorted(set(good) - set(pictures)))
        if other.endswith(".json"):
            return {other: mutate_json(json.loads(good[other]), chance)}
        return {other: mutate_bytes(good[other], chance)}
    chosen = pictures if kind < 0.7 else [chance.choice(pictures)]
    others = [good[name] for name in pictures]
    return {name: mutate_png(good[name], others, strange, chance) for name in chosen}


def judge(mutants: dict[str, Mutant], good: dict[str, bytes], found: Inspection, tally: Tally) -> None:
    """Count, and raise ``AssertionError`` where the answer breaks its promise."""
    json.dumps(found.to_json(), allow_nan=False, default=_plain)  # as the worker writes it
    assert found.ok == (not found.problems)
    for problem in found.problems:
        assert all((problem.code, problem.message, problem.fix)), problem
    blamed = {problem.file for problem in found.problems}
    for name, mutant in mutants.items():
        changed = mutant.content != good[name]
        assert not (mutant.fatal and changed and found.ok), f"{name}: {mutant.how} was accepted"
        if mutant.fatal and changed and name.endswith(".png"):
            assert name in blamed, f"{name}: {mutant.how} was not noticed"
    tally.mutants += len(mutants)
    tally.inspections += 1
    tally.accepted += found.ok
    tally.codes.update({problem.code for problem in found.problems})
    tally.by_kind.update(mutant.how.partition("+")[0] for mutant in mutants.values())


def read_all(seed: int, count: int, folder: Path) -> Tally:
    """Damage and inspect until ``count`` files have been damaged."""
    chance = random.Random(seed)
    captures = good_captures(folder)
    strange = list(impostors(folder / "marker").values())
    for name, good in captures.items():
        write(folder / name, good)
        assert inspect(folder / name).ok, inspect(folder / name).lines()
    tally = Tally()
    while tally.mutants < count:
        name = chance.choice(list(captures))
        mutants = round_of(captures[name], strange, chance)
        write(folder / name, {path: mutant.content for path, mutant in mutants.items()})
        try:
            judge(mutants, captures[name], inspect(folder / name), tally)
        except BaseException:
            hows = {path: mutant.how for path, mutant in mutants.items()}
            print(f"seed {seed}, after {tally.mutants} mutants, in {folder / name}: {hows}", file=sys.stderr)
            raise
        write(folder / name, {path: captures[name][path] for path in mutants})
    return tally


def main(seed: str, count: str, folder: str, memory_mib: str) -> None:
    """Read ``count`` mutants in this process, limited like a reader, and print the tally."""
    be_modest(int(memory_mib))
    resource.setrlimit(resource.RLIMIT_CPU, (900, 900))
    tally = read_all(int(seed), int(count), Path(folder))
    limits = {name: resource.getrlimit(getattr(resource, name))[0] for name in ("RLIMIT_AS", "RLIMIT_CPU")}
    marker = (Path(folder) / "marker").exists()
    print(json.dumps({**tally.__dict__, "limits": limits, "marker": marker}))


if __name__ == "__main__":
    main(*sys.argv[1:])
