"""The table of picture files: what every kind in it promises, whatever its bytes look like."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.pictures import KINDS, PNG, PictureKind, judge_of, kind_of, suffixes
from meshdrop.models.files.png import Kind
from meshdrop.models.files.problem import Problem
from meshdrop.models.mesh.output_formats import function

LIMITS = CaptureLimits()


def photograph(name: str) -> bytes:
    """48 x 32 pixels, incompressible, so that no stretch of the file is zeros."""
    pixels = np.random.default_rng(1).integers(1, 255, (32, 48, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, name)
    return stream.getvalue()


#: What each kind is tried with: a role, and a sound file of 48 x 32 pixels that holds it.
SOUND: dict[str, tuple[Kind, bytes]] = {"PNG": ("image", photograph("PNG")), "JPEG": ("image", photograph("JPEG"))}

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@each_kind
def test_a_sound_file_is_whole_judged_and_decoded(kind: PictureKind, tmp_path: Path) -> None:
    role, content = SOUND[kind.name]
    (tmp_path / "a").write_bytes(content)
    with (tmp_path / "a").open("rb") as file:
        assert kind.is_complete(file.fileno())
    assert kind.state(content, LIMITS) == "whole"
    info = kind.check(content, role, LIMITS, "a")
    assert not isinstance(info, Problem)
    assert (info.width, info.height) == (48, 32)
    assert function(kind.decode)(content, info, role).values.shape[:2] == (32, 48)


@each_kind
def test_whatever_is_cut_off_is_awaited_and_never_decoded(kind: PictureKind, tmp_path: Path) -> None:
    role, content = SOUND[kind.name]
    for length in (0, 1, len(content) // 2, len(content) - 1):
        for rest in (b"", bytes(len(content) - length)):  # a copy program that has reserved the room
            (tmp_path / "a").write_bytes(content[:length] + rest)
            with (tmp_path / "a").open("rb") as file:
                assert not kind.is_complete(file.fileno()), (length, len(rest))
                assert kind.is_awaited(file.fileno(), LIMITS), (length, len(rest))
                assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0
            assert isinstance(kind.check(content[:length] + rest, role, LIMITS, "a"), Problem)


@each_kind
def test_a_hole_in_the_middle_is_found(kind: PictureKind) -> None:
    _, content = SOUND[kind.name]
    middle = len(content) // 2
    assert kind.state(content[:middle] + bytes(600) + content[middle + 600 :], LIMITS) == "hole"


@each_kind
def test_a_file_that_is_something_else_is_refused_by_its_name(kind: PictureKind) -> None:
    found = kind.check(b"#!/bin/sh\n" * 100, SOUND[kind.name][0], LIMITS, "a.x")
    assert isinstance(found, Problem)
    assert found.file == "a.x"


def test_a_name_says_what_it_promises_and_a_role_who_judges_it() -> None:
    assert {suffix: kind_of(f"views/A.{suffix.upper()}") for kind in KINDS for suffix in kind.suffixes} == {
        suffix: kind for kind in KINDS for suffix in kind.suffixes
    }
    assert [kind_of(name) for name in ("png", "a.png.txt", "a.pngx", "", "a.")] == [None] * 5
    assert judge_of("depth/a.jpg", "depth") is PNG, "which says that a JPEG is none"
    assert "jpg" in suffixes("image")
    assert "jpg" in suffixes("mask")
    assert not {"jpg", "jpeg"} & {*suffixes("depth")}, "JPEG changes values"
