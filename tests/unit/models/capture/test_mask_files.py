"""Mask files of every kind mean the same, and masks that mark everything but the object are turned and told of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from meshdrop.models.capture import mask_files
from meshdrop.models.capture.capture import Capture, read_capture
from tests.unit.models.synthetic import ANIMAL, Scene, ring_rig, write_png

SIZE = 64
Write = Callable[[np.ndarray, Path], None]


def saved(mode: str, white: float = 255) -> Write:
    return lambda mask, path: Image.fromarray((mask * white).astype(np.uint8)).convert(mode).save(path)


def grey_alpha(mask: np.ndarray, path: Path) -> None:
    Image.merge("LA", [Image.new("L", (SIZE, SIZE), 40), Image.fromarray(mask.astype(np.uint8) * 255)]).save(path)


def palette(mask: np.ndarray, path: Path) -> None:
    """Numbers of colours, black and red, as programs for labelling write them."""
    image = Image.fromarray(mask.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(path)


def few_bits(bits: int) -> Write:
    def write(mask: np.ndarray, path: Path) -> None:
        image = Image.fromarray(mask.astype(np.uint8)).convert("P")
        image.putpalette([0, 0, 0, 255, 255, 255])
        image.save(path, bits=bits)

    return write


def sixteen(white: int) -> Write:
    return lambda mask, path: write_png(path, mask.astype(np.uint16) * white)


#: How it is written, and whether its levels have to be stretched.
KINDS: dict[str, tuple[Write, str, bool]] = {
    "1-bit": (saved("1"), "png", False),
    "8-bit": (saved("L"), "png", False),
    "RGB": (saved("RGB"), "png", False),
    "grey and alpha": (grey_alpha, "png", False),
    "palette": (palette, "png", False),
    "2-bit palette": (few_bits(2), "png", False),
    "4-bit palette": (few_bits(4), "png", False),
    "16-bit": (sixteen(65535), "png", False),
    "16-bit of 0 and 255": (sixteen(255), "png", True),
    "0 and 1": (saved("L", 1), "png", True),
    "an object's number": (saved("L", 7), "png", True),
    "JPEG": (saved("L"), "jpg", False),
}


def write(
    folder: Path,
    mask: Write,
    suffix: str = "png",
    *,
    invert: bool = False,
    depth: bool = False,
    plain: bool = True,
    odd: int = 0,
    scene: Scene = ANIMAL,
) -> Path:
    """A ring of six with masks; before a backdrop that is plain or not; ``odd`` masks are the other way round."""
    frames = []
    chance = np.random.default_rng(4)
    for number, (name, camera) in enumerate(ring_rig(6, SIZE)):
        measured = scene.depth(camera)
        seen = measured > 0
        behind = 255 if plain else chance.integers(0, 255, (SIZE, SIZE))
        write_png(folder / f"images/{name}.png", np.dstack([np.where(seen, 90 + number, behind)] * 3).astype(np.uint8))
        (folder / "masks").mkdir(exist_ok=True)
        mask(seen != (invert != (number < odd)), folder / f"masks/{name}.{suffix}")
        frame = {"file_path": f"images/{name}.png", "mask_path": f"masks/{name}.{suffix}"}
        if depth:
            write_png(folder / f"depth/{name}.png", np.rint(measured * 1000).astype(np.uint16))
            frame["depth_file_path"] = f"depth/{name}.png"
        frames.append({**frame, "transform_matrix": camera.c2w.tolist()})
    (folder / "transforms.json").write_text(json.dumps({"fl_x": 1.8 * SIZE, "w": SIZE, "h": SIZE, "frames": frames}))
    return folder


def right(capture: Capture, scene: Scene = ANIMAL) -> bool:
    return all(
        np.array_equal(view.mask >= 0.5, scene.depth(camera) > 0)
        for view, (_, camera) in zip(capture.views, ring_rig(6, SIZE), strict=True)
    )


def test_no_faint_mask_is_stretched_beside_one_of_full_levels() -> None:
    """An almost empty picture has a faint mask, not another scale."""
    faint, full = np.full((20, 20), 40, np.uint8), np.full((20, 20), 255, np.uint8)
    levels, told = mask_files.coverage([faint, None, full])
    assert told is None
    assert levels[0] is not None
    assert float(levels[0].max()) == pytest.approx(40 / 255)
    assert levels[1] is None
    assert mask_files.coverage([None])[1] is None
    assert mask_files.coverage([np.zeros((20, 20), np.uint8)])[1] is None


def said(capture: Capture, words: str) -> list[str]:
    return [warning for warning in capture.warnings if words in warning]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_means_the_same(tmp_path: Path, kind: str) -> None:
    mask, suffix, stretched = KINDS[kind]
    capture = read_capture(write(tmp_path / "x", mask, suffix))
    assert {view.mask_source for view in capture.views} == {"file"}
    assert right(capture)
    assert len(said(capture, "faint")) == stretched
    assert not said(capture, "not the object")


@pytest.mark.parametrize("kind", ["8-bit", "0 and 1", "JPEG", "palette"])
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"depth": True}, "in 100% of what they leave out and in 0% of what they mark (6 of 6 views)"),
        ({"depth": True, "plain": False}, "depth was measured"),
        ({}, "what they mark has the backdrop's colour (6 of 6 views)"),
        ({"plain": False}, "their outlines agree to"),
    ],
)
def test_inverted_masks_are_turned_and_what_was_measured_is_said(
    tmp_path: Path, kind: str, how: dict[str, Any], words: str
) -> None:
    mask, suffix, _ = KINDS[kind]
    capture = read_capture(write(tmp_path / "x", mask, suffix, invert=True, **how))
    assert right(capture)
    (sentence,) = said(capture, "not the object")
    assert words in sentence
    assert "They were turned" in sentence


@pytest.mark.parametrize("how", [{"depth": True}, {"depth": True, "plain": False}, {}, {"plain": False}])
def test_right_masks_stay(tmp_path: Path, how: dict[str, Any]) -> None:
    capture = read_capture(write(tmp_path / "x", saved("L"), **how))
    assert right(capture)
    assert not said(capture, "not the object")


def test_nothing_is_turned_when_views_contradict_each_other(tmp_path: Path) -> None:
    hows: tuple[dict[str, Any], ...] = ({"depth": True}, {})
    for how in hows:
        capture = read_capture(write(tmp_path / str(len(how)), saved("L"), invert=True, odd=2, **how))
        assert not said(capture, "not the object")
        assert not right(capture)


def test_an_object_that_fills_its_pictures_is_not_turned(tmp_path: Path) -> None:
    """Close-ups: the masks mark the edge, and rightly so."""
    close = Scene(boxes=(((-0.52, -0.3, -0.52), (0.52, 0.42, 0.52)),))
    hows: tuple[dict[str, Any], ...] = ({"depth": True}, {}, {"plain": False})
    for how in hows:
        capture = read_capture(write(tmp_path / f"{how}", saved("L"), scene=close, **how))
        assert right(capture, close), how
