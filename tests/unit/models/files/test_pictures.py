"""The table of picture files: what every kind in it promises, whatever its bytes look like."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.pictures import KINDS, NPY, PNG, PictureKind, judge_of, kind_of, suffixes
from meshdrop.models.files.problem import Problem
from meshdrop.models.mesh.output_formats import function
from tests.pictures import SOUND

LIMITS = CaptureLimits()
FILES = {name: (role, make()) for name, (role, make) in SOUND.items()}
#: Kinds whose end, or whose table of pieces, tells that they are whole; of the others zeros may be pixels.
TELLING = ("PNG", "JPEG", "WebP", "AVIF", "HEIC")

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@each_kind
def test_a_sound_file_is_whole_judged_and_decoded(kind: PictureKind, tmp_path: Path) -> None:
    role, content = FILES[kind.name]
    (tmp_path / "a").write_bytes(content)
    with (tmp_path / "a").open("rb") as file:
        assert kind.is_complete(file.fileno())
        assert not kind.is_awaited(file.fileno(), LIMITS) or kind.name in ("PNG", "JPEG")
    assert kind.state(content, LIMITS) == "whole"
    info = kind.check(content, role, LIMITS, "a")
    assert not isinstance(info, Problem)
    size = (64, 64) if kind.name == "raw photograph" else (48, 32)
    assert (info.width, info.height) == size
    found = function(kind.decode)(content, info, role)
    assert found.values.shape[:2] == size[::-1]
    assert found.values.dtype == np.uint8 or role == "depth"


@each_kind
def test_whatever_is_cut_off_is_awaited_and_never_decoded(kind: PictureKind, tmp_path: Path) -> None:
    role, content = FILES[kind.name]
    for length in (0, 1, 7, len(content) // 2, len(content) - 1):
        rests = [b"", bytes(len(content) - length)]  # a copy program that has reserved the room
        if kind.name not in TELLING and length > 1:
            rests = rests[:1]
        if kind.name not in ("PNG", "JPEG") and length == len(content) - 1:
            rests = rests[:1]
        for rest in rests:
            (tmp_path / "a").write_bytes(content[:length] + rest)
            with (tmp_path / "a").open("rb") as file:
                assert not kind.is_complete(file.fileno()), (length, len(rest))
                assert kind.is_awaited(file.fileno(), LIMITS), (length, len(rest))
                assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0
            assert isinstance(kind.check(content[:length] + rest, role, LIMITS, "a"), Problem)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.name in TELLING], ids=lambda kind: kind.name)
def test_a_hole_in_the_middle_is_found(kind: PictureKind) -> None:
    _, content = FILES[kind.name]
    middle = len(content) * 5 // 8
    assert kind.state(content[: middle - 300] + bytes(600) + content[middle + 300 :], LIMITS) == "hole"


@each_kind
def test_a_file_that_is_something_else_is_refused_by_its_name(kind: PictureKind) -> None:
    found = kind.check(b"#!/bin/sh\n" * 100, FILES[kind.name][0], LIMITS, "a.x")
    assert isinstance(found, Problem)
    assert found.file == "a.x"
    for other in KINDS:
        content = FILES[other.name][1]
        if {kind.name, other.name} not in ({"TIFF", "raw photograph"}, {"AVIF", "HEIC"}) and kind is not other:
            assert isinstance(kind.check(content, FILES[kind.name][0], LIMITS, "a.x"), Problem), other.name


@each_kind
def test_pictures_of_impossible_sizes_are_refused_before_they_are_decoded(kind: PictureKind) -> None:
    role, content = FILES[kind.name]
    for limits in (CaptureLimits(min_side=100), CaptureLimits(max_side=40), CaptureLimits(max_pixels=1000)):
        found = kind.check(content, role, limits, "a")
        assert isinstance(found, Problem)
        assert found.code == "dims"
        assert all((found.message, found.fix))


def test_nobody_waits_for_the_rest_of_a_picture_that_is_too_large(tmp_path: Path) -> None:
    """An array of 99,999 x 99,999 numbers in a file of a few kilobytes: it is refused, not awaited."""
    (tmp_path / "a").write_bytes(FILES["NumPy array"][1][:3000])
    with (tmp_path / "a").open("rb") as file:
        assert not NPY.is_complete(file.fileno())
        assert NPY.is_awaited(file.fileno(), LIMITS)
        assert not NPY.is_awaited(file.fileno(), CaptureLimits(max_side=40))


@each_kind
def test_a_thousand_damaged_files_end_as_values_and_never_as_another_size(kind: PictureKind, tmp_path: Path) -> None:
    """The judge never raises; what it lets through is decoded to the size that it said, or the decoder says no."""
    role, content = FILES[kind.name]
    chance = random.Random(20261201)
    for _ in range(1000):
        work = bytearray(content)
        reach = min(len(work), chance.choice([64, 400, len(work)]))
        for _ in range(chance.choice([1, 1, 2, 9])):
            work[chance.randrange(reach)] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
        damaged = bytes(work[: chance.choice([len(work), len(work), chance.randrange(len(work))])])
        kind.state(damaged, LIMITS)
        found = kind.check(damaged, role, LIMITS, "a")
        if isinstance(found, Problem):
            assert all((found.code, found.message, found.fix))
            continue
        try:
            values = function(kind.decode)(damaged, found, role).values
        except Exception:
            continue
        assert values.shape[0] <= 2 * max(found.width, found.height)
        assert values.shape[0] * values.shape[1] <= 4 * found.width * found.height


def test_a_name_says_what_it_promises_and_a_role_who_judges_it() -> None:
    assert {suffix: kind_of(f"views/A.{suffix.upper()}") for kind in KINDS for suffix in kind.suffixes} == {
        suffix: kind for kind in KINDS for suffix in kind.suffixes
    }
    assert [kind_of(name) for name in ("png", "a.png.txt", "a.pngx", "", "a.")] == [None] * 5
    assert judge_of("depth/a.jpg", "depth") is PNG, "which says that a JPEG is none"
    assert {"jpg", "png", "tif", "webp", "avif", "heic", "dng"} <= {*suffixes("image")}
    assert {"png", "tif", "exr", "npy"} <= {*suffixes("depth")}
    assert {"png", "tif", "jpg", "webp"} <= {*suffixes("mask")}
    assert not {"jpg", "jpeg", "webp", "heic"} & {*suffixes("depth")}, "they change values"
    assert not {"npy", "exr"} & {*suffixes("image")}
