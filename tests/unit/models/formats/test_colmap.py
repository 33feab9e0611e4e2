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
from meshdrop.models.formats import colmap
from tests import formats
from tests.colmap_itself import asked
from tests.formats import ColmapImage, cameras_bin, colmap_images, images_bin, odd_rig

LIMITS = CaptureLimits()
RIG = odd_rig()
PICTURES = [f"images/{name}.png" for name, _ in RIG]
GOOD = {"sparse/0/cameras.bin": cameras_bin(RIG), "sparse/0/images.bin": images_bin(colmap_images(RIG))}


def look(files: dict[str, bytes]) -> Expectation:
    return expect((*files, *PICTURES), files.__getitem__, LIMITS)


#: Writes a model of one picture for each camera, reads it again and says what it found.
WRITTEN = """
import numpy as np
def answer(given):
    model = pycolmap.Reconstruction()
    for index, (name, (lens, width, height, params), w2c) in enumerate(given["pictures"]):
        camera = pycolmap.Camera(model=lens, width=width, height=height, params=params, camera_id=index + 1)
        model.add_camera_with_trivial_rig(camera)
        w2c = np.array(w2c)
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(w2c[:3, :3]), w2c[:3, 3])
        image = pycolmap.Image(name=name, camera_id=index + 1, image_id=index + 1)
        model.add_image_with_trivial_frame(image, pose)
    getattr(model, "write_" + given["form"])(given["folder"])
    again, found = pycolmap.Reconstruction(given["folder"]), {}
    for image in again.images.values():
        camera = again.cameras[image.camera_id]
        known = [camera.model.name, camera.width, camera.height, list(camera.params)]
        found[image.name] = [*known, image.cam_from_world().matrix().tolist()]
    return found
"""


@pytest.mark.parametrize("form", ["text", "binary"])
def test_a_model_that_colmap_wrote_is_read_as_colmap_reads_it(tmp_path: Path, form: str) -> None:
    """Written by pycolmap from poses of its own classes, one camera of every model, and its own answers are what ours
    must be.
    """
    folder = tmp_path / "sparse/0"
    folder.mkdir(parents=True)
    models = {name: number for number, name in colmap._NAMES.items() if name != "EQUIRECTANGULAR"}
    pictures = []
    for index, (lens, number) in enumerate(models.items()):
        _, camera = RIG[index % len(RIG)]
        focals = [camera.fx] if number in colmap._ONE_FOCAL else [camera.fx, camera.fy]
        more = [0.01 * (place + 1) for place in range(colmap._size(number) - len(focals) - 2)]
        stated = [lens, camera.width, camera.height, [*focals, camera.cx, camera.cy, *more]]
        pictures.append([f"{lens}.png", stated, np.linalg.inv(camera.c2w @ formats.FLIP).tolist()])
    theirs = asked(WRITTEN, {"pictures": pictures, "form": form, "folder": str(folder)})
    files = {f"sparse/0/{file.name}": file.read_bytes() for file in folder.iterdir()}
    found = expect((*files, *(f"images/{name}" for name, *_ in pictures)), files.__getitem__, LIMITS)
    assert found.complete, (found.problems, found.missing)
    frames = found.stated.frames or ()
    assert [frame.image for frame in frames] == [f"images/{name}" for name in sorted(theirs)]
    for frame in frames:
        model, width, height, params, matrix = theirs[frame.image.removeprefix("images/")]
        np.testing.assert_allclose(np.array(frame.matrix[:3]), matrix, rtol=0, atol=1e-12)
        ours = frame.intrinsics
        assert (ours.w, ours.h) == (width, height)
        first = 1 if models[model] in colmap._ONE_FOCAL else 2
        assert [ours.fl_x, ours.fl_y] == pytest.approx([params[0], params[first - 1]], abs=1e-12)
        assert [ours.cx, ours.cy] == pytest.approx(params[first : first + 2], abs=1e-12)
        assert ours.lens is not None
        assert ours.lens.model == model
        more = params[first + 2 :]
        assert list(ours.lens.numbers[: len(more)]) == pytest.approx(more, abs=1e-12)
        assert not any(ours.lens.numbers[len(more) :])


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
    "a name with an escape": (changed(images=renamed("a\x1b[31m.png")), "sidecar"),
    "a name of 4096 letters": (changed(images=renamed("a" * 4096 + ".png")), "sidecar"),
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
    "a panorama": (changed(cameras=one_lens(17, 96, 88)), "calib"),
    "a lens of NaN": (changed(cameras=one_lens(2, 160, 48, 44, NAN)), "calib"),
    "a lens of infinity": (changed(cameras=one_lens(5, 160, 160, 48, 44, 0, 0, 0, math.inf)), "calib"),
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


@pytest.mark.parametrize("name", ["../../etc/passwd.png", "/etc/shadow.png", "C:\\x.png", "passwd"])
def test_a_name_that_leads_elsewhere_is_no_more_than_a_picture_that_is_not_there(name: str) -> None:
    """Only names in the listing are ever opened."""
    found = look(changed(images=renamed(name)))
    assert found.problems == ()
    (absent,) = {view.image for view in found.views} - {f"images/v{number:03d}.png" for number in range(6)}
    assert not set(absent.split("/")) & {"..", ""}
    assert absent in found.missing
    assert len(found.settled().views) == 5


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
