"""Pictures of the standard rig without depth: their outlines are held to it, and no true rig is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from meshdrop.models.capture.agreement import unexplained
from meshdrop.models.formats.cameras import Camera, look_at
from meshdrop.models.probe.inspection import CONTRADICTING_OUTLINES, TRUE_OUTLINES, inspect
from tests.unit.models.synthetic import ANIMAL, BALL, CUBE, PLATE, ROD, Scene, canonical_rig, write_png

Masks = Sequence[NDArray[np.bool_]]
SIDE = 96
RIG = [camera for _, camera in canonical_rig(SIDE)]
#: Tall, and of no view alike: a post with an arm.
LAMP = Scene(boxes=(((-0.05, -0.4, -0.05), (0.05, 0.4, 0.05)), ((0.0, 0.3, -0.04), (0.3, 0.38, 0.04))))
SCENES = {"lamp": LAMP, "animal": ANIMAL, "ball": BALL, "cube": CUBE, "plate": PLATE, "rod": ROD}


def outlines(scene: Scene, cameras: Sequence[Camera] = RIG) -> list[NDArray[np.bool_]]:
    return [scene.depth(camera) > 0 for camera in cameras]


def turntable(lift: float) -> list[Camera]:
    """Six steps of 60 degrees."""
    poses = [look_at((np.sin(a), lift, np.cos(a)), (0.0, 1.0, 0.0), 2.5) for a in np.arange(6) * np.pi / 3]
    return [replace(RIG[0], c2w=pose) for pose in poses]


def shares(masks: Masks, cameras: Sequence[Camera] = RIG) -> float:
    found = unexplained(cameras, masks)
    assert found is not None
    return float(np.mean(found))


def as_masks(folder: Path, masks: Masks) -> None:
    random = np.random.default_rng(0)
    for index, mask in enumerate(masks):
        write_png(folder / f"views/view_{index:02d}.png", random.integers(60, 200, (*mask.shape, 3)).astype(np.uint8))
        write_png(folder / f"masks/mask_{index:02d}.png", np.where(mask, 255, 0).astype(np.uint8))


def as_alpha(folder: Path, masks: Masks) -> None:
    for index, mask in enumerate(masks):
        rgba = np.dstack([np.full((*mask.shape, 3), 90 + index), np.where(mask, 255, 0)]).astype(np.uint8)
        write_png(folder / f"views/view_{index:02d}.png", rgba)


def on_a_backdrop(folder: Path, masks: Masks) -> None:
    for index, mask in enumerate(masks):
        rgb = np.where(mask[..., None], 90 + index, 255) * np.ones(3)
        write_png(folder / f"views/view_{index:02d}.png", rgb.astype(np.uint8))


@pytest.mark.parametrize("scene", SCENES)
def test_outlines_of_a_true_rig_exclude_nothing(scene: str) -> None:
    assert shares(outlines(SCENES[scene])) == 0
    few = [0, 2, 4]
    assert shares([outlines(SCENES[scene])[n] for n in few], [RIG[n] for n in few]) == 0


@pytest.mark.parametrize("scene", SCENES)
def test_a_rig_that_is_a_little_off_stays_far_below_the_limit(scene: str) -> None:
    """Two degrees and 3 % of the focal length, each camera another way."""
    random = np.random.default_rng(3)
    cameras = []
    for camera in RIG:
        off = look_at(tuple(camera.c2w[:3, 2] + random.normal(0, 0.035 / 1.7, 3)), tuple(camera.c2w[:3, 1]), 2.5)
        focal = camera.fx * (1 + 0.03 * random.uniform(-1, 1))
        cameras.append(replace(camera, c2w=off, fx=focal, fy=focal))
    assert shares(outlines(SCENES[scene], cameras)) < TRUE_OUTLINES


def test_an_object_that_pictures_cut_off_is_excluded_by_none() -> None:
    large = Scene(boxes=(((-0.9, -0.3, -0.2), (0.9, 0.3, 0.2)),))
    masks = outlines(large)
    assert any(mask[:, 0].any() for mask in masks)
    assert shares(masks) == 0


@pytest.mark.parametrize("write", [as_masks, as_alpha, on_a_backdrop])
def test_true_pictures_are_taken_and_those_of_a_turntable_refused(
    tmp_path: Path, write: Callable[[Path, Masks], None]
) -> None:
    write(tmp_path / "true", outlines(LAMP))
    assert inspect(tmp_path / "true").ok
    write(tmp_path / "turned", outlines(LAMP, turntable(0.3)))
    (problem,) = inspect(tmp_path / "turned").problems
    assert problem.code == "convention"
    assert "taken for front, back, right, left, top, bottom of the standard rig" in problem.message
    assert "%" in problem.message
    assert "frames in capture.json" in problem.fix


@pytest.mark.parametrize("order", [(1, 2, 3, 4, 5, 0), (4, 5, 0, 1, 2, 3), (2, 3, 4, 5, 0, 1)])
def test_outlines_in_another_order_contradict_the_rig(order: tuple[int, ...]) -> None:
    masks = outlines(LAMP)
    assert shares([masks[n] for n in order]) > CONTRADICTING_OUTLINES
