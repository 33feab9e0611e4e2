"""What the service reads of a stranger's folder costs in proportion to its size, whatever is written in it.

Counted are steps of the interpreter, which no other program can change, and where the work is done in C the time that
this thread was on a processor: sixteen times as much may take sixty-four times as long, while anything quadratic takes
two hundred and fifty-six.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.inbox import observe as looking
from meshdrop.daemon.inbox.checksums import picture_state
from meshdrop.daemon.inbox.observe import Ends, glance, look, stops_in_the_middle
from meshdrop.daemon.inbox.scanner import Scanner
from meshdrop.daemon.inbox.settle import Window
from meshdrop.models.capture.layout import expect
from meshdrop.models.capture.rig_profile import Rigs
from meshdrop.models.files import jpeg
from meshdrop.models.files.entries import odd_entries, take_facts
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.pictures import PNG
from meshdrop.models.files.png import SIGNATURE
from meshdrop.models.files.problem import Problem
from meshdrop.models.formats.json_table import MOST_COMPLAINTS
from meshdrop.models.formats.sidecar import parse_sidecar

LIMITS = CaptureLimits()
TIMES, ALLOWED, NOTICED_S = 16, 64, 0.02


def steps(work: Callable[[], object]) -> int:
    """Lines and calls of Python that ``work`` takes."""
    count = 0

    def trace(*_: object) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def thread_seconds(work: Callable[[], object]) -> float:
    """Seconds that this thread was on a processor for it."""
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def assert_linear(work: Callable[[int], Callable[[], object]], small: int) -> None:
    """``work(n)`` prepares something of size n and returns what is to be measured."""
    little, much = (min(thread_seconds(work(size)) for _ in range(3)) for size in (small, TIMES * small))
    assert much <= ALLOWED * little + NOTICED_S, f"{small}: {little:.4f} s, {TIMES * small}: {much:.4f} s"


# -- texts -------------------------------------------------------------------------------------------------------------

#: Beginnings and what is repeated behind them.
TEXTS = {
    "escaped quotes": (b'{"a": "', b'\\"'),
    "quotes": (b'{"a": ', b'"'),
    "backslashes": (b'{"a": "', b"\\"),
    "open brackets": (b"[", b"["),
    "objects": (b"", b'{"a":'),
    "empty strings": (b"[", b'"",'),
    "digits": (b'{"a": ', b"9"),
    "a fraction": (b'{"a": 0.', b"7"),
    "an exponent": (b'{"a": 1e', b"9"),
    "overflows": (b'{"frames": [', b"1e999,"),
    "half surrogates": (b'{"a": "', b"\\ud800"),
    "zeros": (b"{", b"\0"),
    "one long line": (b'{"a": "', b"x"),
    "line ends": (b"{", b"\n"),
    "lists": (b'{"frames": [', b"[],"),
    "one key again": (b"{", b'"a":1,'),
    "nothing finite": (b'{"w": [', b"NaN,"),
}


def text(family: str, size: int) -> bytes:
    begin, again = TEXTS[family]
    return begin + again * (size // len(again))


@pytest.mark.parametrize("family", TEXTS)
def test_the_end_of_any_text_is_found_in_one_pass(family: str) -> None:
    def work(size: int) -> Callable[[], object]:
        content = text(family, size)
        return lambda: stops_in_the_middle(content)

    assert_linear(work, 4_000)
    assert steps(work(1_000_000)) < 100


@pytest.mark.parametrize("file", ["transforms.json", "capture.json"])
@pytest.mark.parametrize("family", TEXTS)
def test_any_text_is_refused_in_one_pass(family: str, file: str) -> None:
    def work(size: int) -> Callable[[], object]:
        content = text(family, size)
        return lambda: parse_sidecar(content, file, LIMITS)

    assert_linear(work, 4_000)
    closed = text(family, 60_000).rstrip(b",") + b"]}"
    assert isinstance(parse_sidecar(closed, file, LIMITS)[1], tuple)


_TOKENS = (
    b'"',
    b"\\",
    b'\\"',
    b"{",
    b"[",
    b"}",
    b"]",
    b":",
    b",",
    b"0",
    b"9" * 40,
    b"-",
    b".",
    b"1e999",
    b"NaN",
    b"\\u",
    b"\\ud800",
    b"\xff",
    b"\0",
    b"\n",
    b"#",
    b" ",
    b"a" * 90,
    b'"frames":',
    b'"labels":',
    b"null",
    b'"w":1,',
    b"\xff\xd0",
    b"\xff\xff",
)


@pytest.mark.parametrize("seed", range(24))
def test_no_mixture_takes_longer_than_its_length(seed: int) -> None:
    """A few tokens drawn by chance, one after the other again and again."""
    chance = random.Random(seed)
    begin = b"".join(chance.choices(_TOKENS, k=3))
    again = b"".join(chance.choices(_TOKENS, k=chance.randint(1, 5)))
    for head in (b"{", b'{"a": "', b"[", b'{"frames": ['):

        def work(size: int, head: bytes = head) -> Callable[[], object]:
            content = head + begin + again * (size // len(again))
            files = colmap(content) | {"capture.json": content}

            def read() -> None:
                stops_in_the_middle(content)
                expect(files, files.__getitem__, LIMITS)
                parse_sidecar(content, "transforms.json", LIMITS)
                jpeg.ends_early(_HEAD + _SCAN + content)

            return read

        assert_linear(work, 3_000)


@pytest.mark.parametrize("inner", [[0] * 1000, {f"{number}": 0 for number in range(1000)}], ids=["list", "object"])
def test_a_long_key_is_not_written_down_for_each_value_below_it(inner: object) -> None:
    """A key of a megabyte over half a million numbers would be half a terabyte."""

    def work(size: int) -> Callable[[], object]:
        values = list(inner) * (size // 1000) if isinstance(inner, list) else dict.fromkeys(map(str, range(size)), 0)
        content = json.dumps({"k" * size: values}).encode()
        return lambda: parse_sidecar(content, "transforms.json", LIMITS)

    assert_linear(work, 1_000)


def test_the_first_number_that_is_none_is_told_by_its_place() -> None:
    content = b'{"frames": [{"w": 1}, {"w": [1, NaN]}]}'
    (problem, *_) = parse_sidecar(content, "transforms.json", LIMITS)[1]
    assert (problem.code, problem.message) == ("calib", "frames[1].w[1] is nan, which is not a number.")


def test_unknown_keys_are_compared_with_ours_only_as_long_as_they_are_told() -> None:
    def work(keys: int) -> Callable[[], object]:
        content = json.dumps({f"depht{number}": 0 for number in range(keys)}).encode()
        return lambda: parse_sidecar(content, "capture.json", LIMITS)

    told = parse_sidecar(json.dumps({f"depht{number}": 0 for number in range(99)}).encode(), "capture.json", LIMITS)[1]
    assert len(told) == MOST_COMPLAINTS + 1
    many, few = steps(work(4_000)), steps(work(MOST_COMPLAINTS))
    assert many < few + 4_000 * 60  # comparing one key takes several thousand


def colmap(images: bytes, cameras: bytes = b"1 PINHOLE 64 64 50 50 32 32\n") -> dict[str, bytes]:
    return {"sparse/0/cameras.txt": cameras, "sparse/0/images.txt": images, "images/a.png": b""}


@pytest.mark.parametrize(
    "files",
    [
        colmap(b"#\n" * 4_000_000),
        colmap(b"\n" * 8_000_000),
        colmap(b"1 " * 4_000_000),
        colmap(b"1" * 8_000_000),
        colmap(b"1 1 0 0 0 0 0 0 1 " + b"a" * 8_000_000 + b"\n\n"),
        colmap(b"", b"1 " * 1_000_000 + b"\n"),
        colmap(b"", b"#\n" * 1_000_000),
        colmap(b"1 " + b"9" * 4_000_000 + b" 0 0 0 0 0 0 1 a.png\n\n"),
    ],
    ids=["comments", "empty lines", "words", "digits", "a name", "a camera of words", "comments on cameras", "number"],
)
def test_a_model_of_eight_megabytes_takes_no_more_steps_than_it_may_have_lines(files: dict[str, bytes]) -> None:
    found = []
    assert steps(lambda: found.append(expect(files, files.__getitem__, LIMITS))) < 400_000
    assert all(len(problem.message) < 500 for problem in found[0].problems)


def test_the_cameras_of_a_scan_are_read_no_further_than_one_file_of_cameras() -> None:
    names = {f"keyframes/cameras/{number}.json": b" " * 60_000 for number in range(900)}
    read: list[str] = []

    def content(name: str) -> bytes:
        read.append(name)
        return names[name]

    found = expect(names, content, LIMITS)
    assert found.problems
    assert sum(len(names[name]) for name in set(read)) <= LIMITS.max_cameras_bytes + 60_000


# -- names -------------------------------------------------------------------------------------------------------------


def _frames(count: int, *, stem: str = "images/f", last: str = ".png") -> bytes:
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    frames = [{"file_path": f"{stem}{number}{last}", "transform_matrix": pose} for number in range(count)]
    return json.dumps({"camera_angle_x": 0.8, "frames": frames}).encode()


def _profile(count: int) -> bytes:
    return json.dumps({"schema": "meshdrop.rig/1", "rig": "r", **json.loads(_frames(count, stem=""))}).encode()


def _model(count: int) -> dict[str, bytes]:
    images = "".join(f"{n + 1} 1 0 0 0 0 0 0 1 f{n}.jpg\n\n" for n in range(count))
    return {"sparse/0/cameras.txt": b"1 SIMPLE_PINHOLE 64 64 90 32 32\n", "sparse/0/images.txt": images.encode()}


#: What ``count`` files are called, what those of cameras hold, and for which rig the folder was dropped.
NAMES: dict[str, Callable[[int], tuple[dict[str, bytes], str]]] = {
    "cameras in every folder": lambda count: ({f"{n}/transforms.json": b"{}" for n in range(count)}, ""),
    "a rig's picture in every folder": lambda count: ({f"a{n}/b/c/f{n}.png": b"" for n in range(count)}, "r"),
    "views in every folder": lambda count: ({f"{n}/views/view_00.png": b"" for n in range(count)}, ""),
    "everything is missing": lambda count: ({"transforms.json": _frames(count)}, ""),
    "JPEG for PNG": lambda count: (
        {"transforms.json": _frames(count)} | {f"images/f{n}.jpg": b"" for n in range(count)},
        "",
    ),
    "one name in every folder": lambda count: (
        {"transforms.json": _frames(count, last="/x.png")} | {f"a{n}/x.png": b"" for n in range(count)},
        "",
    ),
    "one stem with every ending": lambda count: (
        {"transforms.json": _frames(count, stem="images/f.", last="")} | {f"images/f.a{n}": b"" for n in range(count)},
        "",
    ),
    "a recording of Record3D in every folder": lambda count: ({f"{n}/metadata": b"{}" for n in range(count)}, ""),
    "poses without depth": lambda count: (
        {f"frame-{n:06d}.pose.txt": b"1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n" for n in range(count)},
        "",
    ),
    "poses in every folder": lambda count: ({f"{n}/frame-000000.pose.txt": b"1" for n in range(count)}, ""),
    "poses with intrinsics above each": lambda count: (
        {f"{n}/a/frame-0.pose.txt": b"1" for n in range(count)}
        | {f"{n}/camera-intrinsics.txt": b"" for n in range(count)},
        "",
    ),
    "a list of pictures in every folder": lambda count: (
        {f"{n}/{name}.txt": b"" for n in range(count) for name in ("rgb", "groundtruth")},
        "",
    ),
    "frames of an app": lambda count: ({f"frame_{n:05d}.json": b"{}" for n in range(count)}, ""),
    "an array of cameras in every folder": lambda count: ({f"{n}/poses_bounds.npy": b"" for n in range(count)}, ""),
    "a model in every folder": lambda count: (
        {f"sparse/{n}/{name}.bin": b"" for n in range(count) for name in ("cameras", "images")},
        "",
    ),
    "a model's masks": lambda count: (_model(count) | {f"masks/f{n}.jpg.png": b"" for n in range(count)}, ""),
    "objects of a scene": lambda count: (
        {"scene_camera.json": json.dumps({str(n): {} for n in range(count)}).encode()}
        | {f"mask/{n:06d}_000000.png": b"" for n in range(count)},
        "",
    ),
    "a scan": lambda count: ({f"keyframes/cameras/{n}.json": b"{}" for n in range(count)}, ""),
    "locks": lambda count: ({"-" * 200 + f"{n}.lock/a": b"" for n in range(count)}, ""),
    "dots": lambda count: ({"." * 200 + f"{n}": b"" for n in range(count)}, ""),
}


@pytest.mark.parametrize("family", NAMES)
def test_names_are_gone_through_and_not_compared_with_each_other(family: str) -> None:
    def work(count: int) -> Callable[[], object]:
        files, rig = NAMES[family](count)
        rigs = Rigs({"r": _profile(count)}, rig)

        def ask() -> tuple[Problem, ...]:
            return expect(files, files.__getitem__, LIMITS, rigs).awaited()

        return ask

    few, many = steps(work(100)), steps(work(800))
    assert many <= 12 * few  # eight times as many; a loop in a loop takes sixty-four times as long


# -- pictures ----------------------------------------------------------------------------------------------------------

_HEAD = b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", 64, 64) + b"\x03\x01\x22\0\x02\x11\x01\x03\x11\x01"
_SCAN = b"\xff\xda\x00\x0c\x03\x01\0\x02\x11\x03\x11\0\x3f\0"
JPEGS = {
    "fill bytes": (b"\xff\xd8", b"\xff"),
    "fill bytes in the pixels": (_HEAD + _SCAN, b"\xff"),
    "stuffed bytes": (_HEAD + _SCAN, b"\xff\x00"),
    "restart markers": (_HEAD + _SCAN, b"\xff\xd0"),
    "tiny segments": (_HEAD, b"\xff\xe1\x00\x02"),
    "bare markers": (_HEAD, b"\xff\x01"),
    "scans": (_HEAD, _SCAN),
    "zeros": (_HEAD + _SCAN, b"\0"),
}


@pytest.mark.parametrize("family", JPEGS)
def test_a_jpeg_is_searched_and_not_walked_byte_by_byte(family: str) -> None:
    begin, again = JPEGS[family]
    content = begin + again * (4_000_000 // len(again))
    assert steps(lambda: jpeg.ends_early(content)) < 200_000
    assert steps(lambda: jpeg.check_jpeg(content, LIMITS)) < 200_000


@pytest.mark.parametrize("gap", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (3 << 20) - len(_HEAD)])
def test_a_marker_is_found_wherever_it_lies(gap: int) -> None:
    whole = _HEAD + _SCAN + b"\x01" * gap + b"\xff\x00\xff\xd7\xff\xff" + b"\xff\xd9"
    assert jpeg.check_jpeg(whole, LIMITS) == jpeg.JpegInfo(64, 64)
    assert jpeg.ends_early(whole + b"note")
    filled = _HEAD + b"\xff" * gap + _SCAN + b"\x01\xff\xd9"
    assert jpeg.check_jpeg(filled, LIMITS) == jpeg.JpegInfo(64, 64)


def _chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_chunks_of_a_png_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(SIGNATURE + _chunk(b"tEXt") * 300_000 + _chunk(b"IEND"))
    assert steps(lambda: picture_state(str(tmp_path / "a.png"), PNG, LIMITS)) < 10 * LIMITS.max_png_chunks


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A capture whose twelve photographs are nothing but fill bytes."""
    (tmp_path / "inbox/jpegs/images").mkdir(parents=True)
    (tmp_path / "inbox/jpegs/transforms.json").write_bytes(_frames(12).replace(b".png", b".jpg"))
    for number in range(12):
        (tmp_path / f"inbox/jpegs/images/f{number}.jpg").write_bytes(b"\xff\xd8" + b"\xff" * 300_000)
    return tmp_path / "inbox/jpegs"


def test_what_was_looked_through_is_not_looked_through_again(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    def search(content: bytes) -> bool:
        searched.append(len(content))
        return False

    monkeypatch.setattr(jpeg, "ends_early", search)
    monkeypatch.setattr(time, "time_ns", lambda: 1 << 62)  # long after the files were written
    ends = Ends()
    for _ in range(20):
        assert len(look(filled, LIMITS, ends=ends).unfinished) == 12
    assert len(searched) == 12
    with (filled / "images/f3.jpg").open("ab") as file:
        file.write(b"\xff")
    look(filled, LIMITS, ends=ends)
    assert searched[12:] == [300_003]


def test_one_look_reads_no_more_than_a_capture_may_have(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    def search(content: bytes) -> bool:
        searched.append(len(content))
        return False

    monkeypatch.setattr(jpeg, "ends_early", search)
    look(filled, CaptureLimits(max_capture_bytes=1_000_000))
    assert 0 < sum(searched) <= 1_000_000


# -- folders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hidden files", "folders"])
def test_a_folder_full_of_what_is_passed_over_is_refused_and_not_walked_to_its_end(tmp_path: Path, kind: str) -> None:
    limits = CaptureLimits(max_entries=20)
    for number in range(3_000):
        (tmp_path / f".h{number}").touch() if kind == "hidden files" else (tmp_path / f"{number}").mkdir()
    facts = take_facts(tmp_path, limits)
    assert [problem.code for problem in odd_entries(facts)] == ["too_many"]


def test_a_capture_with_folders_without_end_beside_it_is_looked_through_no_further_than_it_can_be_taken(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look at it, in the thread that looks at everybody's, costs the same however many there are."""
    for number in range(1_200):
        (filled / f"n{number % 20}/{number}").mkdir(parents=True)
    monkeypatch.setattr(looking, "_GLANCED", 50)
    small = CaptureLimits(max_entries=20)
    few = steps(lambda: look(filled, small))
    for number in range(1_200, 6_000):
        (filled / f"n{number % 20}/{number}").mkdir()
    assert steps(lambda: look(filled, small)) < 1.5 * few


def test_litter_takes_no_files_place(tmp_path: Path) -> None:
    limits = CaptureLimits(max_entries=20)
    for number in range(900):
        (tmp_path / f".h{number}").touch()
    for number in range(20):
        (tmp_path / f"{number}.png").touch()
    assert len(take_facts(tmp_path, limits)) == 20


def test_a_glance_is_bounded_and_still_sees_that_something_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "_GLANCED", 50)
    (tmp_path / "a").mkdir()
    for number in range(200):
        (tmp_path / "a" / f"{number}").touch()
    before = glance(tmp_path)
    os.utime(tmp_path / "a", ns=(0, 0))
    assert glance(tmp_path) != before


def test_a_large_set_is_read_over_several_passes_and_others_are_served(
    ball: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading one file takes a second here; a pass has two."""
    seconds = [0.0]
    read: list[str] = []

    def slowly(path: str, *_: object) -> str:
        seconds[0] += 1
        read.append(path)
        return "whole"

    monkeypatch.setattr(looking, "picture_state", slowly)
    (tmp_path / "inbox").mkdir()
    shutil.copytree(ball, tmp_path / "inbox/large")
    scanner = Scanner(tmp_path / "inbox", Window(5, 30, 1800), LIMITS, Clock(monotonic=lambda: seconds[0]))
    list(scanner.scan())
    seconds[0] += 6
    assert not list(scanner.scan())
    assert 1 < len(read) <= 4
    assert [finding.judgement.state for finding in scanner.findings()] == ["settling"]
    passes = 0
    while not (found := list(scanner.scan())):
        passes += 1
        assert passes < 20
    assert found[0].judgement.state == "ready"
    assert len(read) == len(set(read)) == 12
