"""Pictures with a note of how the camera was held: turned or not, by stated size, by custom or by measurement."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from meshdrop.models.axes.conventions import CONVENTIONS
from meshdrop.models.capture.capture import Capture, read_capture
from meshdrop.models.capture.turning import SEES, upright
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.probe.inspection import inspect
from tests.unit.models.synthetic import ANIMAL, Scene, ring_rig, write_png

WIDTH, HEIGHT = 96, 64
#: How a picture must be stored so that EXIF's number brings it upright: the opposite turn.
STORED = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}


@pytest.mark.parametrize("number", range(1, 9))
def test_the_turn_is_pillows(number: int) -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = number
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", exif=exif)
    with Image.open(stream) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(upright(pixels, number), wanted)
    assert np.array_equal(upright(upright(pixels, STORED[number]), number), pixels)


def test_every_format_has_a_custom() -> None:
    assert {*CONVENTIONS, "frames", "rig", "transforms", "blender", "canonical"} <= {*SEES, "nerfstudio", "instant-ngp"}


def write(
    folder: Path,
    number: int,
    *,
    depth: bool = True,
    noted: bool = True,
    turned: bool = True,
    scene: Scene = ANIMAL,
    side: tuple[int, int] = (WIDTH, HEIGHT),
    **table: Any,
) -> Path:
    """A ring of six, each picture stored as a camera that was held so stores it; ``noted`` in its EXIF. Without
    ``turned`` it is stored upright, and the note is wrong. Colours are those of the surface's own place.
    """
    frames = []
    width, height = side
    for name, square in ring_rig(6, 64):
        camera = Camera(width, height, 1.8 * height, 1.8 * height, width / 2, height / 2, square.c2w)
        measured = scene.depth(camera)
        v, u = np.indices(measured.shape) + 0.5
        place = camera.unproject(u, v, measured)
        colours = np.clip(128 + 500 * np.sin(9 * place), 20, 200)
        rgb = np.where(measured[..., None] > 0, colours, 255).astype(np.uint8)
        exif = Image.Exif()
        exif[0x0112] = number if noted else 1
        (folder / "images").mkdir(parents=True, exist_ok=True)
        stored = upright(rgb, STORED[number]) if turned else rgb
        Image.fromarray(stored).save(folder / f"images/{name}.jpg", exif=exif, quality=95, subsampling=0)
        frame = {"file_path": f"images/{name}.jpg", "transform_matrix": camera.c2w.tolist()}
        if depth:
            write_png(folder / f"depth/{name}.png", np.rint(measured * 1000).astype(np.uint16))
            frame["depth_file_path"] = f"depth/{name}.png"
        frames.append(frame)
    stated = {"fl_x": 1.8 * height, "w": width, "h": height, **table}
    stated = {key: value for key, value in stated.items() if value is not None}
    (folder / "transforms.json").write_text(json.dumps({**stated, "frames": frames}))
    return folder


def with_masks(folder: Path) -> Path:
    """A mask of each depth map, in its size."""
    table = json.loads((folder / "transforms.json").read_text())
    for frame in table["frames"]:
        name = Path(frame["depth_file_path"]).name
        with Image.open(folder / "depth" / name) as image:
            write_png(folder / "masks" / name, np.where(np.asarray(image) > 0, 255, 0).astype(np.uint8))
        frame["mask_path"] = f"masks/{name}"
    (folder / "transforms.json").write_text(json.dumps(table))
    return folder


def told(capture: Capture) -> str:
    found = [warning for warning in capture.warnings if "EXIF): " in warning]
    assert len(found) <= 1, "said once"
    return found[0] if found else ""


def likeness(one: Capture, other: Capture) -> float:
    """Mean difference of levels."""
    pairs = zip(one.views, other.views, strict=True)
    return max(float(np.abs(a.rgb.astype(int) - b.rgb.astype(int)).mean()) for a, b in pairs)


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6, 7, 8])
def test_pictures_come_out_as_their_cameras_see_them(tmp_path: Path, number: int) -> None:
    """Quarters by the stated size, the others because colours agree between views only so."""
    found = read_capture(write(tmp_path / "noted", number))
    plain = read_capture(write(tmp_path / "plain", 1))
    assert likeness(found, plain) < 3
    assert "6 pictures" in told(found)
    assert ("the stated size" if number >= 5 else "the views agree only so") in told(found)
    assert inspect(tmp_path / "noted").ok


def test_a_note_that_the_cameras_know_nothing_of_is_undone(tmp_path: Path) -> None:
    """COLMAP's cameras are of the stored picture: half a turn noted in it must stay a note."""
    found = read_capture(write(tmp_path / "noted", 3, turned=False))
    plain = read_capture(write(tmp_path / "plain", 1))
    assert likeness(found, plain) < 3
    assert "taken as stored" in told(found)
    quarter = write(tmp_path / "quarter", 6, turned=False)
    assert likeness(read_capture(quarter), plain) < 3
    assert "as the stated size asks for" in told(read_capture(quarter))


def test_without_depth_outlines_tell(tmp_path: Path) -> None:
    found = read_capture(write(tmp_path / "noted", 3, depth=False))
    assert likeness(found, read_capture(write(tmp_path / "plain", 1, depth=False))) < 3
    assert "the views agree only so" in told(found)


def test_square_pictures_of_a_quarter_turn_are_measured_too(tmp_path: Path) -> None:
    square = (80, 80)
    found = read_capture(write(tmp_path / "noted", 6, side=square))
    assert likeness(found, read_capture(write(tmp_path / "plain", 1, side=square))) < 3
    assert "the views agree only so" in told(found)


def test_where_nothing_tells_the_custom_of_the_format_counts_and_is_told(tmp_path: Path) -> None:
    """Half a turn of a ball before white: it looks the same."""
    ball = Scene(spheres=((0.0, 0.0, 0.0, 0.2),))
    found = read_capture(write(tmp_path / "x", 3, scene=ball, depth=False))
    assert told(found).endswith("taken as stored, not turned, as is usual for cameras of this kind.")
    (tmp_path / "x/transforms.json").rename(tmp_path / "x/capture.json")
    assert told(read_capture(tmp_path / "x")).endswith("turned upright, as is usual for cameras of this kind.")


def test_depth_and_masks_go_with_their_picture_only_if_they_are_as_it_is_stored(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", 6)
    plain = read_capture(write(tmp_path / "plain", 1))
    for file in (folder / "depth").iterdir():
        with Image.open(file) as image:
            write_png(file, upright(np.asarray(image).astype(np.uint16), STORED[6]))
    found = read_capture(folder)
    for view, wanted in zip(found.views, plain.views, strict=True):
        assert view.depth is not None
        assert wanted.depth is not None
        assert np.array_equal(view.depth, wanted.depth)


@pytest.mark.parametrize("number", [5, 6, 7, 8])
def test_masks_and_depth_of_the_picture_as_it_is_shown_are_turned_back_to_the_stored_one(
    tmp_path: Path, number: int
) -> None:
    """COLMAP's cameras are of the stored picture; programs that cut objects out see it upright."""
    plain = read_capture(with_masks(write(tmp_path / "plain", 1)))
    folder = with_masks(write(tmp_path / "x", number, turned=False))
    for file in (*(folder / "depth").iterdir(), *(folder / "masks").iterdir()):
        with Image.open(file) as image:
            pixels = np.asarray(image).astype(np.uint16 if file.parent.name == "depth" else np.uint8)
        write_png(file, upright(pixels, number))
    found = read_capture(folder)
    assert "taken as stored" in told(found)
    for view, wanted in zip(found.views, plain.views, strict=True):
        assert view.depth is not None
        assert wanted.depth is not None
        assert np.array_equal(view.depth, wanted.depth)
        assert np.array_equal(view.mask, wanted.mask)


@pytest.mark.parametrize("number", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("sees", ["stored", "upright"])
@pytest.mark.parametrize("depth", [True, False])
def test_masks_whose_shape_does_not_tell_are_laid_as_depth_or_outlines_agree(
    tmp_path: Path, number: int, sees: str, depth: bool
) -> None:
    """Half turns, and quarters of square pictures: every second picture has the note, and all masks lie otherwise."""
    side = (80, 80) if number >= 5 else (WIDTH, HEIGHT)
    plain = read_capture(with_masks(write(tmp_path / "plain", 1, side=side)))
    folder = with_masks(write(tmp_path / "x", number, turned=sees == "upright", side=side))
    files = sorted((folder / "masks").iterdir())
    for index, file in enumerate(files):
        if index % 2:
            shutil.copy(tmp_path / "plain/images" / f"{file.stem}.jpg", folder / "images")
            continue
        with Image.open(file) as image:
            pixels = upright(np.asarray(image).astype(np.uint8), number if sees == "stored" else STORED[number])
        write_png(file, pixels)
    if not depth:
        (folder / "capture.json").write_text('{"depth": false}')
    found = read_capture(folder)
    (said,) = [warning for warning in found.warnings if "lay otherwise" in warning]
    assert said.startswith("3 masks of pictures with a note")
    for view, wanted in zip(found.views, plain.views, strict=True):
        assert np.array_equal(view.mask, wanted.mask)


@pytest.mark.parametrize("number", [2, 3, 6])
@pytest.mark.parametrize("depth", [True, False])
def test_masks_that_lie_as_their_pictures_do_stay(tmp_path: Path, number: int, depth: bool) -> None:
    side = (80, 80) if number >= 5 else (WIDTH, HEIGHT)
    folder = with_masks(write(tmp_path / "x", number, turned=False, side=side))
    wanted = read_capture(with_masks(write(tmp_path / "plain", 1, side=side)))
    (folder / "capture.json").write_text(json.dumps({"depth": depth}))
    found = read_capture(folder)
    assert not any("lay otherwise" in warning for warning in found.warnings)
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(found.views, wanted.views, strict=True))


def test_a_capture_without_notes_says_nothing_of_them(tmp_path: Path) -> None:
    assert told(read_capture(write(tmp_path / "x", 3, noted=False, turned=False))) == ""
