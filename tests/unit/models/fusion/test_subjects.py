"""Fusion of a room, of a thing on a table and of an object, from the capture to the mesh and the files beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from meshdrop.models.capture.capture import Capture
from meshdrop.models.contract.base import ModelResult
from meshdrop.models.fusion.model import Fusion
from meshdrop.models.raster.render import render
from tests.unit.models.views.scenes import (
    BUMPY,
    ON_TABLE,
    ROOM,
    above,
    around,
    changed,
    jittered,
    outward,
    photographed,
)

SMALL = {"resolution": 96, "texture_size": 256, "max_faces": 40_000}


def whole(capture: Capture) -> Capture:
    """As a sensor that measures everything gives it."""
    every = [np.asarray(view.depth > 0, np.float32) for view in capture.views if view.depth is not None]
    views = [replace(v, mask=mask, mask_source="depth") for v, mask in zip(capture.views, every, strict=True)]
    return replace(capture, views=tuple(views))


def fuse(capture: Capture, folder: Path) -> ModelResult:
    folder.mkdir(exist_ok=True)
    return Fusion(SMALL, lambda percent, step: None).inference(capture, folder)


@pytest.mark.parametrize("noise", [0.0, 0.004])
def test_a_room_seen_from_inside_comes_out(noise: float, tmp_path: Path) -> None:
    """Of the pixels that were measured more than 95 % show the mesh, at the depth that they have."""
    capture = whole(photographed(ROOM, outward(24), noise))
    result = fuse(capture, tmp_path)
    exact = photographed(ROOM, outward(24))
    covered, off = [], []
    for view, true in zip(capture.views, exact.views, strict=True):
        picture = render(result.mesh, view.camera)
        assert view.depth is not None
        assert true.depth is not None
        measured = view.depth > 0
        covered.append((picture.alpha >= 0.5)[measured].mean())
        both = measured & (picture.depth > 0)
        off.append(np.median(np.abs(picture.depth - true.depth)[both]))
    assert np.mean(covered) > 0.95
    # a voxel is 42 mm
    assert np.mean(off) < 0.003
    assert result.figures["subject"] == "scene"
    assert any("the surface is open" in note for note in result.notes)
    mesh = trimesh.Trimesh(result.mesh.vertices, result.mesh.faces, process=False)
    assert not mesh.is_watertight
    # no walls are invented behind the walls
    assert mesh.area < 1.2 * 2 * (4 * 2.4 + 4 * 3 + 2.4 * 3) + 2


def test_of_a_scene_nothing_is_said_of_silhouettes(tmp_path: Path) -> None:
    capture = whole(photographed(ROOM, outward(9), 0.004))
    result = fuse(changed(capture, 3, depth=None), tmp_path)
    assert "no depth in v03: they give colours alone" in result.notes


def test_a_thing_on_a_table_comes_out_alone_closed_and_with_its_masks(tmp_path: Path) -> None:
    capture = whole(photographed(ON_TABLE, above(8, 128), 0.002))
    result = fuse(capture, tmp_path)
    mesh = trimesh.Trimesh(result.mesh.vertices, result.mesh.faces, process=False)
    assert mesh.is_watertight
    assert result.table_up == pytest.approx((0, 1, 0), abs=0.01)
    upper = mesh.vertices[mesh.vertices[:, 1] > -0.05]
    assert np.abs(np.linalg.norm(upper, axis=1) - 0.2).mean() < 0.003
    assert np.abs(mesh.vertices).max() < 0.3
    assert list(result.masks) == [view.name for view in capture.views]


def test_a_jittered_object_is_made_with_cameras_that_agree(tmp_path: Path) -> None:
    result = fuse(jittered(photographed(BUMPY, around(12, 128), 0.002), 0.006, 0.15), tmp_path)
    assert len(result.cameras) == 12
    assert any("cameras were moved" in note for note in result.notes)
    assert trimesh.Trimesh(result.mesh.vertices, result.mesh.faces, process=False).is_watertight
    # exact outside of balls that overlap, and on their surface
    off = [np.linalg.norm(result.mesh.vertices - ball[:3], axis=1) - ball[3] for ball in BUMPY.spheres]
    assert np.abs(np.min(off, axis=0)).mean() < 0.003


@pytest.mark.parametrize("kind", ["room", "table", "jittered object"])
def test_the_same_capture_gives_the_same_mesh_bit_by_bit(kind: str, tmp_path: Path) -> None:
    captures = {
        "room": lambda: whole(photographed(ROOM, outward(9), 0.004)),
        "table": lambda: whole(photographed(ON_TABLE, above(8), 0.002)),
        "jittered object": lambda: jittered(photographed(BUMPY, around(8), 0.002), 0.006, 0.15),
    }
    once, again = fuse(captures[kind](), tmp_path / "once"), fuse(captures[kind](), tmp_path / "again")
    for name in ("vertices", "faces", "uv", "texture", "seen"):
        assert getattr(once.mesh, name).tobytes() == getattr(again.mesh, name).tobytes()
    for file in (tmp_path / "once").rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(tmp_path / "once")).read_bytes()
