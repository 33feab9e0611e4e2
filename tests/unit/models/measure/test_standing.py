"""What files say of how a mesh stands, and where that comes from."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from meshdrop.models.capture.up import Up
from meshdrop.models.contract.base import ModelResult
from meshdrop.models.measure.standing import doubts, standing, up_of
from tests import meshes
from tests.unit.models.synthetic import ANIMAL, capture_of, ring_rig

MESH = meshes.torus()
CAPTURE = capture_of(ANIMAL, ring_rig(8, size=32))


def test_a_table_that_the_model_found_is_up_where_nothing_states_it() -> None:
    up = up_of(CAPTURE, ModelResult(MESH, table_up=(0.0, 3.0, 4.0)))
    assert up is not None
    assert up.direction == pytest.approx((0.0, 0.6, 0.8))
    assert up.source == "table"
    stated = replace(CAPTURE, up=Up((0.0, 0.0, 1.0), "format", "x"))
    up = up_of(stated, ModelResult(MESH, table_up=(0.0, 3.0, 4.0)))
    assert up is not None
    assert up.source == "format"


@pytest.mark.parametrize("table", [(0.0, 0.0, 0.0), (0.0, float("nan"), 1.0), (0.0, 1.0)])
def test_a_table_without_a_direction_is_the_models_mistake(table: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="table_up"):
        up_of(CAPTURE, ModelResult(MESH, table_up=table))  # type: ignore[arg-type]


def test_a_mesh_without_a_place_says_nothing_of_the_captures_world() -> None:
    assert up_of(CAPTURE, ModelResult(MESH, registered=False)) is None
    assert standing(CAPTURE, None) == {}
    assert doubts(CAPTURE, None) == []


def test_what_is_told_is_complete_and_on_the_page_about_outputs() -> None:
    far = replace(CAPTURE, origin_m=(500_000.0, 5e6, 0.0))
    told = standing(far, up_of(far, ModelResult(MESH)))
    assert told["world_up"] == pytest.approx([0, 1, 0], abs=1e-9)
    assert told["world_up_from"] == "cameras"
    assert [row[3] for row in told["to_capture_world"]] == [500_000.0, 5e6, 0.0, 1.0]
    page = (Path(__file__).parents[4] / "docs" / "outputs.md").read_text(encoding="utf-8")
    section = page.split("## Which way is up")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \|", section, re.M)
    assert {word for row in rows for word in re.findall(r"`(\w+)`", row)} == set(told)


def test_what_speaks_against_a_convention_is_a_note() -> None:
    stated = replace(CAPTURE, up=Up((0.0, 0.0, 1.0), "format", "by the convention of x"))
    [note] = doubts(stated, stated.up)
    assert "90 degrees" in note
    assert doubts(CAPTURE, up_of(CAPTURE, ModelResult(MESH))) == []
