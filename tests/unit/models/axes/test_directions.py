"""Directions: what counts as one, what it is called, and what each format's world has up."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from meshdrop.models.axes.conventions import CONVENTIONS
from meshdrop.models.axes.directions import AXES, direction, name_of
from meshdrop.models.formats.camera_formats import FORMATS

PAGE = (Path(__file__).parents[4] / "docs/capture-format.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [[0, 0, 2], [0.0, 0.0, 1e-6], (0, 0, 1e300), [0, 0, 10**200]])
def test_a_direction_has_length_one_whatever_length_was_stated(value: object) -> None:
    assert direction(value) == (0.0, 0.0, 1.0)


def test_an_oblique_direction_keeps_its_shares() -> None:
    found = direction([3, 0, -4])
    assert found is not None
    assert found == pytest.approx((0.6, 0.0, -0.8), abs=1e-15)
    assert str(found[1]) == "0.0"


@pytest.mark.parametrize(
    "value",
    [
        None,
        "up",
        [],
        [0, 1],
        [0, 1, 0, 0],
        [0, 0, 0],
        [0, 1e-12, 0],
        [math.nan, 1, 0],
        [math.inf, 0, 0],
        [True, 0, 0],
        ["0", "1", "0"],
        [10**400, 0, 0],
        {"x": 1},
        7,
    ],
)
def test_what_has_no_direction_is_none(value: object) -> None:
    assert direction(value) is None


def test_names_are_those_of_the_axes_or_numbers() -> None:
    assert [name_of(axis) for axis in AXES.values()] == ["+X", "-X", "+Y", "-Y", "+Z", "-Z"]
    assert name_of((0.0, 0.6, -0.8)) == "0.000000 0.600000 -0.800000"


def test_every_format_has_a_convention_and_the_page_shows_it_with_its_source() -> None:
    assert set(CONVENTIONS) == {"canonical", *(found.name for found in FORMATS)}
    section = PAGE.partition("### Which way is up\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| [^|]+\|$", section, re.MULTILINE))
    shown = {
        "canonical": rows["canonical (the standard rig)"],
        "transforms": rows["nerfstudio, instant-ngp, Blender"],
        "polycam": rows["Polycam raw data"],
        "bop": rows["BOP"],
        "colmap": rows["COLMAP"],
        **dict.fromkeys(("record3d", "3d-scanner-app"), rows["Record3D, 3d Scanner App"]),
        **dict.fromkeys(("llff", "7-scenes", "tum"), rows["LLFF, 7-Scenes, TUM RGB-D"]),
    }
    told = {name: "none" if found.up is None else name_of(found.up) for name, found in CONVENTIONS.items()}
    assert shown == told
