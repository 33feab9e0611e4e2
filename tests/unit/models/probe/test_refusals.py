"""Every refusal of reading, made by a small folder: it says what, where and what to do, blames nothing unmeasured."""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from meshdrop.models.capture.rig_profile import Rigs
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.problem import Problem, told_once
from meshdrop.models.formats.poseless import _KINDS, _NOT_READ
from meshdrop.models.probe.inspection import inspect
from tests import formats
from tests.corpus import all_of, interlaced, link, remove
from tests.unit.models.synthetic import write_canonical, write_png

ROOT = Path(__file__).parents[4]
Break = Callable[[Path], object]
FRONT, DEPTH = "views/view_00.png", "depth/depth_00.png"
SMALL = replace(
    CaptureLimits(), max_file_bytes=200_000, max_capture_bytes=1_000_000, max_entries=60, max_ancillary_bytes=50_000
)
#: A line of the terminal for each sentence and each cure: more than seven different things nobody reads.
MOST_LINES = 14
#: Words of the program's inside that a person can do nothing with.
INSIDE = re.compile(
    r"Traceback|Exception|\w+Error\b|NoneType|object at 0x|<class|errno|numpy|ndarray|dtype|"
    r"list index|\bassert|\bself\."
)
#: Causes that only a measurement can know.
BLAMES = re.compile(r"camera (has )?moved|mask is (wrong|inverted)|was moved|is miscalibrated|wrong calibration", re.I)


def write(name: str, content: bytes) -> Break:
    def apply(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return apply


def pixels(name: str, values: np.ndarray) -> Break:
    return lambda folder: write_png(folder / name, values)


def cut(name: str, share: float) -> Break:
    def apply(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return apply


def flipped(name: str) -> Break:
    def apply(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[content.index(b"IDAT") + 20] ^= 0x55
        (folder / name).write_bytes(content)

    return apply


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def with_chunks(*chunks: bytes) -> Break:
    """More chunks before the pixels of the front view."""

    def apply(folder: Path) -> None:
        content = (folder / FRONT).read_bytes()
        at = content.index(b"IDAT") - 4
        (folder / FRONT).write_bytes(content[:at] + b"".join(chunks) + content[at:])

    return apply


def with_data(change: Callable[[bytes], bytes]) -> Break:
    """The front view with other pixel data in one sound chunk."""

    def apply(folder: Path) -> None:
        content = (folder / FRONT).read_bytes()
        at = content.index(b"IDAT") - 4
        length = int.from_bytes(content[at : at + 4], "big")
        body = change(content[at + 8 : at + 8 + length])
        (folder / FRONT).write_bytes(content[:at] + chunk(b"IDAT", body) + content[at + 12 + length :])

    return apply


def sidecar(**keys: object) -> Break:
    return lambda folder: (folder / "capture.json").write_text(json.dumps(keys))


def framed(change: Callable[[dict[str, object]], object]) -> Break:
    """Cameras of its own, changed in every frame."""

    def apply(folder: Path) -> None:
        shutil.rmtree(folder)
        formats.own(folder, formats.odd_rig())
        table = json.loads((folder / "capture.json").read_text())
        for frame in table["frames"]:
            change(frame)
        (folder / "capture.json").write_text(json.dumps(table))

    return apply


def only(*names: str) -> Break:
    def apply(folder: Path) -> None:
        shutil.rmtree(folder)
        folder.mkdir()
        for name in names:
            write(name, b"something")(folder)

    return apply


def all_views(change: Callable[[Path, int], object]) -> Break:
    def apply(folder: Path) -> None:
        for index in range(6):
            change(folder, index)

    return apply


def _repaint(place: str, value: int, dtype: type) -> Break:
    shape = (64, 64, 3) if place == "views/view" else (64, 64)
    return all_views(
        lambda folder, index: write_png(folder / f"{place}_{index:02d}.png", np.full(shape, value, dtype) + 0)
    )


NOISE = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0]).tolist()

#: What is broken, by the code of the refusal.
REFUSALS: dict[str, tuple[str, Break]] = {
    "a missing view": ("set", lambda folder: (folder / FRONT).unlink()),
    "a missing depth map": ("set", lambda folder: (folder / DEPTH).unlink()),
    "two files for one view": ("set", write("views/front.png", b"")),
    "a seventh view": ("set", lambda folder: shutil.copy(folder / FRONT, folder / "views/view_06.png")),
    "two captures": (
        "set",
        all_of(
            lambda folder: shutil.copytree(folder, folder / "a"),
            lambda folder: shutil.copytree(folder / "a", folder / "b"),
            lambda folder: shutil.rmtree(folder / "views"),
            lambda folder: shutil.rmtree(folder / "depth"),
        ),
    ),
    "nothing": ("set", only()),
    "no JSON": ("sidecar", write("capture.json", b"{'a': 1}\n")),
    "an unknown key": ("sidecar", sidecar(depht=True)),
    "a wrong type": ("sidecar", sidecar(depth="yes")),
    "a number that is none": ("calib", write("capture.json", b'{"fl_x": NaN}\n')),
    "another word for depth": ("sidecar", sidecar(depth_type="euclidean")),
    "a path that is none": ("sidecar", framed(lambda frame: frame.update(file_path="images/\0.png"))),
    "no focal length": ("calib", framed(lambda frame: (frame.pop("fl_x"), frame.pop("fl_y")))),
    "a mirrored pose": ("calib", framed(lambda frame: frame.update(transform_matrix=MIRROR))),
    "no rotation": ("calib", framed(lambda frame: frame.update(transform_matrix=(np.eye(4) * 2).tolist()))),
    "one pose": ("calib", framed(lambda frame: frame.update(transform_matrix=np.eye(4).tolist()))),
    "another picture size": ("calib", framed(lambda frame: frame.update(w=640, h=480))),
    "a lens that folds": ("calib", framed(lambda frame: frame.update(k1=-9.0))),
    "opencv as opengl": (
        "convention",
        lambda folder: (
            framed(lambda _: None)(folder),
            (folder / "capture.json").write_text((folder / "capture.json").read_text().replace("opencv", "opengl")),
        ),
    ),
    "a wrong unit": ("convention", sidecar(depth_unit_m=0.00025)),
    "black pictures": ("semantic", _repaint("views/view", 0, np.uint8)),
    "empty depth": ("semantic", _repaint("depth/depth", 0, np.uint16)),
    "one picture six times": (
        "semantic",
        all_views(lambda folder, index: write_png(folder / f"views/view_{index:02d}.png", NOISE)),
    ),
    "masks of nothing": ("semantic", _repaint("masks/mask", 0, np.uint8)),
    "masks of everything": ("semantic", _repaint("masks/mask", 255, np.uint8)),
    "no backdrop": (
        "semantic",
        all_of(
            lambda folder: shutil.rmtree(folder / "depth"),
            all_views(lambda place, index: write_png(place / f"views/view_{index:02d}.png", np.roll(NOISE, index, 0))),
        ),
    ),
    "a rig that is not stored": ("rig", sidecar(rig="nowhere")),
    "a text as a picture": ("not_png", write(FRONT, b"no picture at all, but long enough to be one" * 20)),
    "a JPEG under PNG's name": (
        "not_png",
        write(FRONT, bytes.fromhex("ffd8ffe000104a46494600010100") + bytes(99) + b"\xff\xd9"),
    ),
    "a picture cut off": ("png_struct", cut(FRONT, 0.7)),
    "a wrong checksum": ("png_crc", flipped(FRONT)),
    "data that cannot be unpacked": ("png_decode", with_data(lambda body: b"\x78\x9c" + bytes(20) + body[22:])),
    "too few pixels": ("idat_short", with_data(lambda body: zlib.compress(zlib.decompress(body)[:-500]))),
    "too many pixels": ("idat_long", with_data(lambda body: zlib.compress(zlib.decompress(body) + bytes(500)))),
    "a colourised depth map": ("depth_format", pixels(DEPTH, NOISE)),
    "a tiny picture": ("dims", pixels(FRONT, NOISE[:8, :8])),
    "too many chunks": ("chunks", with_chunks(*[chunk(b"teSt", b"")] * 5000)),
    "too much metadata": ("ancillary", with_chunks(chunk(b"teSt", bytes(150_000)))),
    "an interlaced picture": (
        "pixel_format",
        lambda folder: write(FRONT, interlaced((folder / FRONT).read_bytes()))(folder),
    ),
    "a pipe": ("not_regular", all_of(remove(FRONT), lambda folder: os.mkfifo(folder / FRONT))),
    "bytes after the end": ("trailing", lambda folder: write(FRONT, (folder / FRONT).read_bytes() + bytes(64))(folder)),
    "a large file": ("too_big", write(FRONT, bytes(300_000))),
    "many files": ("too_many", lambda folder: [write(f"more/{n}.txt", b"x")(folder) for n in range(80)]),
    "deep folders": ("depth", write("a/b/c/d/e/f.txt", b"x")),
    "a link": ("symlink", link("/etc/hostname")),
    "two names of one file": ("nlink", lambda folder: (folder / "views/other.txt").hardlink_to(folder / FRONT)),
    "a cut TIFF": ("picture", all_of(remove(FRONT), write("views/view_00.tif", b"II*\0\x08\0\0\0\xff\xff"))),
    "a cut JPEG": (
        "jpeg",
        all_of(
            remove(FRONT),
            write("views/view_00.jpg", bytes.fromhex("ffd8ffe000104a46494600010100000100010000") + bytes(50)),
        ),
    ),
    **{f"{kind.what} ({kind.endings[0]})": ("poses", only(f"scan{kind.endings[0]}")) for kind in _KINDS},
    **{f"{program} ({name})": ("poses", only(name)) for name, program in _NOT_READ.items()},
    "pictures alone": ("poses", only(*(f"images/IMG_{n}.jpg" for n in range(40)))),
}
#: Codes that take a clock, a service or the rights of another user; the corpus and the tests of the service have them.
ELSEWHERE = {"late", "incomplete", "unreadable", "changed"}


def refused(folder: Path, breaks: Break) -> tuple[Problem, ...]:
    breaks(write_canonical(folder))
    found = inspect(folder, SMALL, Rigs({}))
    assert not found.ok
    return told_once(found.problems)


def assert_told(problems: Sequence[Problem], folder: Path) -> None:
    """What, where and what to do, in few lines, without words of the program's inside or unmeasured causes."""
    lines = [line for problem in problems for line in (problem.message, problem.fix)]
    assert 0 < len(lines) <= MOST_LINES, lines
    for problem in problems:
        told = f"{problem.message} {problem.fix}"
        assert problem.message[-1] in ".!?", problem
        assert problem.fix[-1] in ".!?)", problem
        assert len(problem.message) > 15, problem
        assert len(problem.fix) > 10, problem
        assert not INSIDE.search(told), problem
        assert str(folder.parent) not in told, problem
        assert not BLAMES.search(problem.message) or re.search(r"\d", problem.message), problem


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_says_what_where_and_what_to_do_and_no_more_than_is_known(tmp_path: Path, what: str) -> None:
    code, breaks = REFUSALS[what]
    problems = refused(tmp_path / "x", breaks)
    assert code in {problem.code for problem in problems}, problems
    assert_told(problems, tmp_path / "x")


def cameras_of(folder: Path) -> list[Path]:
    """The files of cameras of a folder that a program wrote."""
    endings = (".json", ".txt", ".bin", ".npy", "")
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix in endings)


HARMS: dict[str, Callable[[bytes], bytes]] = {
    "cut in the middle": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "noise": lambda _: NOISE.tobytes()[:500],
    "numbers that are none": lambda content: re.sub(rb"-?\d+\.\d+", b"nan", content),
    "huge numbers": lambda content: re.sub(rb"-?\d+\.\d+", b"1e300", content),
    "words for numbers": lambda content: re.sub(rb"-?\d+\.\d+", b'"x"', content),
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("program", formats.FORMATS)
def test_broken_cameras_of_every_program_are_refused_in_such_sentences(tmp_path: Path, program: str, harm: str) -> None:
    """All of its files at once; what is left may make a capture after all."""
    formats.FORMATS[program].write(tmp_path / "x", formats.odd_rig(plain=True))
    for file in cameras_of(tmp_path / "x"):
        file.write_bytes(HARMS[harm](file.read_bytes()))
    found = inspect(tmp_path / "x")
    if not found.ok:
        assert_told(told_once(found.problems), tmp_path / "x")
    else:
        assert harm not in ("empty", "noise")


def test_every_code_of_the_page_is_walked_or_known_to_be_made_elsewhere() -> None:
    page = (ROOT / "docs/capture-format.md").read_text("utf-8").partition("## What is refused")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE)
    codes = {code for row in rows for code in re.findall(r"`(\w+)`", row)}
    walked = {code for code, _ in REFUSALS.values()}
    assert codes - walked == ELSEWHERE
    assert walked <= codes
