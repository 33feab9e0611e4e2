"""docs/capture-format.md against the code: keys, codes, limits, names and the example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshdrop.models.capture.canonical import canonical_role
from meshdrop.models.capture.layout import expect, is_blocker, is_litter
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.formats.camera_formats import FORMATS
from meshdrop.models.formats.cameras import CANONICAL_DISTANCE_M, CANONICAL_FOCAL_PX, CANONICAL_VIEWS
from meshdrop.models.formats.lens import COEFFICIENTS
from meshdrop.models.formats.sidecar import FRAME_KEYS, KNOWN_KEYS, parse_sidecar
from meshdrop.models.probe.values import (
    CLEAR_DEFEAT,
    CLEAR_LEAD,
    CLEARLY_CLOSER,
    DECISIVE_SCORE,
    DEPTH_UNITS_M,
    DOUBTFULLY_CLOSER,
    FOCAL_SCALES,
    LEAST_SCORE,
)

ROOT = Path(__file__).parents[4]
DOC = (ROOT / "docs/capture-format.md").read_text(encoding="utf-8")
LIMITS = CaptureLimits()


def section(title: str) -> str:
    """The text under one heading."""
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##? |\Z)", DOC, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found.group(1)


def first_cells(text: str) -> set[str]:
    """Every `word` in the first column of the tables in ``text``."""
    rows = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


def test_every_key_is_documented_and_every_documented_key_exists() -> None:
    text = section("capture.json")
    passed_over = set(re.findall(r"`([a-z_]+)`", text[text.index("Passed over:") : text.index("### Paths")]))
    documented = first_cells(text) | (passed_over - {"transforms"})
    documented |= {
        word
        for row in re.findall(r"^\|.*\|$", section("Lenses"), re.MULTILINE)
        for word in re.findall(r"`([a-z]+[0-9]*)`", row)
    }
    assert documented == set(KNOWN_KEYS) | set(FRAME_KEYS)


def test_every_problem_code_is_documented_and_every_documented_code_is_used() -> None:
    rooms = {
        "models": (
            "entries",
            "layout",
            "expectation",
            "view_files",
            "canonical",
            "sidecar",
            "json_table",
            "png",
            "jpeg",
            "structure",
            "tiff",
            "webp",
            "boxes",
            "exr",
            "npy",
            "folder",
            "capture",
            "stated_camera",
            "verdict",
            "bop",
            "colmap",
            "polycam",
            "poseless",
            "rig_claims",
            "rig_profile",
        ),
        "daemon": ("settle", "intake"),
    }
    sources = [
        file.read_text(encoding="utf-8")
        for room, names in rooms.items()
        for name in names
        for file in (ROOT / room).rglob(f"{name}.py")
    ]
    calls = r"(?:Problem|_?FlawError|_report|\.add|_refused)\(\s*\"([a-z_]+)\""
    used = {code for source in sources for code in re.findall(calls, source)}
    # Codes that reach such a call by a variable or a tuple.
    used |= {"calib", "symlink", "unreadable", "depth_format", "pixel_format"}
    assert first_cells(section("What is refused")) == used


def test_the_limits_are_the_defaults() -> None:
    text = section("Limits")
    for number in (
        LIMITS.max_file_bytes,
        LIMITS.max_capture_bytes,
        LIMITS.max_sidecar_bytes,
        LIMITS.max_ancillary_bytes,
        LIMITS.max_cameras_bytes,
    ):
        assert f"{number:,} bytes" in text
    assert f"{LIMITS.max_entries:,} files, {LIMITS.max_depth} folders deep" in text
    assert f"{LIMITS.min_views} or more" in text
    assert f"{LIMITS.min_side} to {LIMITS.max_side} px a side, {LIMITS.max_pixels // 10**6} million" in text
    assert f"{LIMITS.max_capture_pixels // 10**6} million in all photographs together" in text
    assert f"{LIMITS.max_png_chunks} chunks" in text


def test_the_example_is_accepted() -> None:
    example = re.search(r"```json\n(.*?)```", DOC, re.DOTALL)
    assert example is not None
    stated, problems = parse_sidecar(example.group(1).encode(), "capture.json", LIMITS)
    assert problems == ()
    assert stated.depth_unit_m == 0.0001
    assert stated.options.models == ("fusion",)


def test_the_first_drawing_is_complete() -> None:
    pairs = (("views", "view"), ("depth", "depth"))
    names = [f"{folder}/{stem}_{index:02d}.png" for folder, stem in pairs for index in range(6)]
    assert all(name in DOC for name in ("views/view_00.png ... view_05.png", "depth/depth_00.png ... depth_05.png"))
    assert expect(names, lambda _: b"", LIMITS).complete


def test_every_listed_name_is_the_front_view() -> None:
    block = re.search(r"```\n(views/view_00.png .*?)```", DOC, re.DOTALL)
    assert block is not None
    images, depths = block.group(1).strip().splitlines()
    assert [canonical_role(name) for name in images.split()] == [("image", "front")] * 6
    assert [canonical_role(name) for name in depths.split()] == [("depth", "front")] * 6


def test_the_rig_table_is_the_rig() -> None:
    rows = re.findall(r"\| (\d\d) \| `(\w+)` \| ([+-][XYZ]) \| ([+-][XYZ]) \|", DOC)
    assert [row[1] for row in rows] == list(CANONICAL_VIEWS)
    for number, name, stands, up in rows:
        assert list(CANONICAL_VIEWS).index(name) == int(number)
        for text, vector in zip((stands, up), CANONICAL_VIEWS[name], strict=True):
            axis, sign = "XYZ".index(text[1]), 1 if text[0] == "+" else -1
            assert vector[axis] == sign
    assert f"from {CANONICAL_DISTANCE_M} m" in DOC
    assert f"focal length of {CANONICAL_FOCAL_PX:.0f} px" in DOC


@pytest.mark.parametrize("name", ["x.part", "x.partial", "x.filepart", "x.tmp", "x.crdownload", ".name.png.Ab12Cd"])
def test_documented_copy_names_block(name: str) -> None:
    assert is_blocker(name)


@pytest.mark.parametrize("name", [".DS_Store", "._a.png", "Thumbs.db", "desktop.ini", "@eaDir/a", "__MACOSX/a"])
def test_documented_litter_is_litter(name: str) -> None:
    assert is_litter(name)


def test_the_probes_thresholds_are_the_documented_ones() -> None:
    text = section("How conventions are verified")
    assert f"scores {LEAST_SCORE} or more and leads every other convention by {CLEAR_LEAD}" in text
    assert f"beats it by {CLEAR_DEFEAT}" in text
    assert f"must score {DECISIVE_SCORE} or more to refute it" in text
    assert f"{CLEARLY_CLOSER} times closer together" in text
    assert f"from {DOUBTFULLY_CLOSER} times on" in text
    assert len(DEPTH_UNITS_M) == 8
    assert len(FOCAL_SCALES) == 10
    assert "eight usual depth units and ten other focal lengths" in " ".join(text.split())


def test_the_table_of_formats_is_in_the_order_in_which_they_win() -> None:
    """nerfstudio and Blender are one reader; capture.json's own frames come before all."""
    rows = re.findall(r"^\| ([^|]+) \|", section("Frames: your own cameras"), re.MULTILINE)[1:]
    told = [row.split()[0].strip("`,").casefold() for row in rows]
    others = [one.name.partition("-scanner")[0] for one in FORMATS if one.name != "transforms"]
    assert told == ["capture.json", "nerfstudio", "blender", *others]


def test_every_lens_is_listed_with_its_coefficients() -> None:
    rows = re.findall(r"^\| ((?:`[A-Z_]+`(?:, )?)+) \| ([^|]*) \|", section("Lenses"), re.MULTILINE)
    listed = {name: tuple(re.findall(r"`(\w+)`", words)) for names, words in rows for name in re.findall(r"\w+", names)}
    assert listed == dict(COEFFICIENTS)
