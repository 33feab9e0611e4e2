"""Our reader of COLMAP models against the library itself, and against models that no library would write."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from meshdrop.models.capture.layout import Expectation, expect
from meshdrop.models.files.limits import CaptureLimits
from tests import formats
from tests.formats import ColmapImage, cameras_bin, colmap_images, images_bin, odd_rig

LIMITS = CaptureLimits()
RIG = odd_rig()
PICTURES = [f"images/{name}.png" for name, _ in RIG]
GOOD = {"sparse/0/cameras.bin": cameras_bin(RIG), "sparse/0/images.bin": images_bin(colmap_images(RIG))}


def look(files: dict[str, bytes]) -> Expectation:
    return expect((*files, *PICTURES), files.__getitem__, LIMITS)


@pytest.mark.parametrize("form", ["text", "binary"])
def test_a_model_that_colmap_wrote_is_read_as_colmap_reads_it(tmp_path: Path, form: str) -> None:
    """Written by pycolmap from poses of its own classes, and its own answers are what ours must be."""
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed (make install-dev)")
    model = pycolmap.Reconstruction()
    for index, (name, camera) in enumerate(RIG):
        lens = pycolmap.Camera(
            model="PINHOLE",
            width=camera.width,
            height=camera.height,
            params=[camera.fx, camera.fy, camera.cx, camera.cy],
            camera_id=index + 1,
        )
        model.add_camera_with_trivial_rig(lens)
        w2c = np.linalg.inv(camera.c2w @ formats.FLIP)
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(w2c[:3, :3]), w2c[:3, 3])
        image = pycolmap.Image(name=f"{name}.png", camera_id=index + 1, image_id=index + 1)
        model.add_image_with_trivial_frame(image, pose)
    folder = tmp_path / "sparse/0"
    folder.mkdir(parents=True)
    getattr(model, f"write_{form}")(str(folder))
    files = {f"sparse/0/{file.name}": file.read_bytes() for file in folder.iterdir()}
    found = look(files)
    assert found.complete, (found.problems, found.missing)
    again = pycolmap.Reconstruction(str(folder))
    theirs = {image.name: image for image in again.images.values()}
    frames = found.stated.frames or ()
    assert [frame.image for frame in frames] == [f"images/{name}" for name in sorted(theirs)]
    for frame in frames:
        image = theirs[frame.image.removeprefix("images/")]
        matrix = np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
        np.testing.assert_allclose(np.array(frame.matrix), matrix, rtol=0, atol=1e-12)
        camera = again.cameras[image.camera_id]
        ours = frame.intrinsics
        assert (ours.w, ours.h) == (camera.width, camera.height)
        assert [ours.fl_x, ours.fl_y, ours.cx, ours.cy] == pytest.approx(list(camera.params), abs=1e-12)


# -- whatever the files hold -----------------------------------------------------------------------------------------


def changed(**files: bytes) -> dict[str, bytes]:
    return {**GOOD, **{f"sparse/0/{name}.bin": content for name, content in files.items()}}


def rows(change: Callable[[ColmapImage], ColmapImage]) -> bytes:
    return images_bin([change(row) for row in colmap_images(RIG)])


def renamed(name: str) -> bytes:
    first, *rest = colmap_images(RIG)
    return images_bin([ColmapImage(first.number, first.quaternion, first.translation, first.camera, name), *rest])


def turned(quaternion: tuple[float, ...], translation: tuple[float, ...] = (0.0, 0.0, 1.0)) -> bytes:
    return rows(lambda row: ColmapImage(row.number, quaternion, translation, row.camera, row.name))


def one_lens(model: int, *numbers: float, width: int = 96, height: int = 88) -> bytes:
    packed = [
        struct.pack("<iiQQ", n + 1, model, width, height) + struct.pack(f"<{len(numbers)}d", *numbers) for n in range(6)
    ]
    return struct.pack("<Q", 6) + b"".join(packed)


NAN = math.nan
REFUSED = {
    "a count of 2^60": (changed(images=struct.pack("<Q", 1 << 60)), "set"),
    "a count of 2^64-1 cameras": (changed(cameras=b"\xff" * 8), "set"),
    "a name that leaves the capture": (changed(images=renamed("../../etc/passwd.png")), "sidecar"),
    "an absolute name": (changed(images=renamed("/etc/shadow.png")), "sidecar"),
    "a Windows drive": (changed(images=renamed("C:\\x.png")), "sidecar"),
    "a name with an escape": (changed(images=renamed("a\x1b[31m.png")), "sidecar"),
    "a name of 4096 letters": (changed(images=renamed("a" * 4096 + ".png")), "sidecar"),
    "a name that is no picture": (changed(images=renamed("passwd")), "sidecar"),
    "no name at all": (changed(images=renamed("")), "sidecar"),
    "a name that is not text": (
        changed(images=images_bin(colmap_images(RIG)).replace(b"v003.png", b"v\xff\xfe3.png")),
        "sidecar",
    ),
    "two pictures of one number": (
        changed(images=rows(lambda row: ColmapImage(7, row.quaternion, row.translation, row.camera, row.name))),
        "sidecar",
    ),
    "two pictures of one name": (
        changed(images=rows(lambda row: ColmapImage(row.number, row.quaternion, row.translation, row.camera, "v.png"))),
        "set",
    ),
    "no such camera": (
        changed(images=rows(lambda row: ColmapImage(row.number, row.quaternion, row.translation, 99, row.name))),
        "calib",
    ),
    "a pose of NaN": (changed(images=turned((NAN, 0, 0, 0))), "calib"),
    "a position of infinity": (changed(images=turned((1, 0, 0, 0), (math.inf, 0, 0))), "calib"),
    "a quaternion of zeros": (changed(images=turned((0, 0, 0, 0))), "calib"),
    "a quaternion of 1e300": (changed(images=turned((1e300, 1e300, 0, 0))), "calib"),
    "two views": (changed(images=images_bin(colmap_images(RIG)[:2])), "set"),
    "bytes behind the end": (changed(images=GOOD["sparse/0/images.bin"] + b"x"), "sidecar"),
    "a model that does not exist": (changed(cameras=one_lens(4711, 1.0)), "calib"),
    "a fisheye": (changed(cameras=one_lens(5, 160, 160, 48, 44, 0, 0, 0, 0)), "calib"),
    "distortion": (changed(cameras=one_lens(2, 160, 48, 44, 0.01)), "calib"),
    "a focal length of 0": (changed(cameras=one_lens(0, 0, 48, 44)), "calib"),
    "a focal length of NaN": (changed(cameras=one_lens(0, NAN, 48, 44)), "calib"),
    "a width of 2^63": (changed(cameras=one_lens(0, 160, 48, 44, width=1 << 63)), "calib"),
    "an ELF program": (changed(cameras=b"\x7fELF" + bytes(4) + b"\x01" * 200), "set"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_model_that_cannot_be_is_refused(what: str) -> None:
    files, code = REFUSED[what]
    found = look(files)
    assert not found.complete
    assert {problem.code for problem in found.problems} == {code}, found.problems
    assert all(problem.fix for problem in found.problems)


@pytest.mark.parametrize("name", ["cameras", "images"])
def test_a_model_that_stops_anywhere_is_awaited_and_never_taken(name: str) -> None:
    """Every length short of the whole: the copy is under way, and no smaller model is read out of it."""
    whole = GOOD[f"sparse/0/{name}.bin"]
    for length in range(len(whole)):
        found = look(changed(**{name: whole[:length]}))
        assert found.begun == (f"sparse/0/{name}.bin",), length
        assert not found.problems


def test_a_text_that_stops_anywhere_is_never_read_as_a_smaller_model(tmp_path: Path) -> None:
    """COLMAP's own comment says how many pictures there are; the last line must have its end."""
    formats.colmap_text(tmp_path, RIG)
    files = {f"sparse/0/{name}.txt": (tmp_path / f"sparse/0/{name}.txt").read_bytes() for name in ("cameras", "images")}
    assert look(files).complete
    whole = files["sparse/0/images.txt"]
    for length in range(0, len(whole) - 1, 7):
        found = look({**files, "sparse/0/images.txt": whole[:length]})
        # What is cut is only the line of points behind the last picture, which may be empty.
        assert not found.complete or whole[:length].count(b".png") == len(RIG), length


@pytest.mark.parametrize("header", [True, False])
def test_a_text_of_one_line_a_picture_is_refused_and_not_read_as_half_a_model(header: bool) -> None:
    """Who writes images.txt by a script forgets the lines of points; every second picture would pass for one."""
    text = formats.colmap_text_files(RIG)
    lines = [line for line in text["sparse/0/images.txt"].decode().splitlines() if line.endswith(".png")]
    announced = [f"# Number of images: {len(lines)}"] if header else []
    images = "\n".join([*announced, *lines, ""]).encode()
    found = look({**text, "sparse/0/images.txt": images})
    assert [(problem.code, problem.file) for problem in found.problems] == [("sidecar", "sparse/0/images.txt")]
    assert "two lines" in found.problems[0].message
    assert "empty line" in found.problems[0].fix


def test_a_thousand_damaged_models_end_as_values() -> None:
    chance = random.Random(20261121)
    for _ in range(1000):
        name = chance.choice(["cameras", "images"])
        content = bytearray(GOOD[f"sparse/0/{name}.bin"])
        for _ in range(chance.choice([1, 1, 2, 8])):
            at = chance.randrange(len(content))
            if chance.random() < 0.7:
                content[at] = chance.randrange(256)
            else:
                content[at : at + chance.randint(0, 9)] = chance.randbytes(chance.randint(0, 9))
        found = look(changed(**{name: bytes(content)}))
        assert all(problem.code and problem.message and problem.fix for problem in found.problems)


def test_many_points_behind_the_pictures_cost_nothing() -> None:
    """Points are leapt over, not read: twenty pictures of 40,000 points each are 19 MB."""
    row = colmap_images(RIG)[0]
    parts = [struct.pack("<Q", 20)]
    for number in range(20):
        parts.append(struct.pack("<I4d3dI", number, *row.quaternion, *row.translation, 1) + f"p{number}.png".encode())
        parts.append(b"\0" + struct.pack("<Q", 40_000) + bytes(24 * 40_000))
    found = look(changed(images=b"".join(parts)))
    assert len(found.stated.frames or ()) == 20
    assert found.problems == ()
