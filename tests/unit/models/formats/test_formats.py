"""One scene through every format: the same cameras, the same depth; and what each of them cannot carry is said."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from meshdrop.models.capture.capture import Capture, CaptureError, read_capture, read_stated_capture
from meshdrop.models.files.problem import told_once
from meshdrop.models.probe.inspection import inspect
from tests import formats
from tests.formats import FORMATS, UNIT_M, odd_rig
from tests.unit.models.synthetic import ANIMAL, write_canonical, write_png


def refusal(folder: Path) -> dict[str, str]:
    """Code and sentence of every problem."""
    with pytest.raises(CaptureError) as caught:
        read_capture(folder)
    assert all(problem.message and problem.fix for problem in caught.value.problems)
    return {problem.code: f"{problem.message} {problem.fix}" for problem in caught.value.problems}


def assert_same_scene(capture: Capture, rig: formats.Rig, *, depth: bool) -> None:
    """Cameras within 1e-6 in every entry; depth the counts that were written, in metres."""
    assert len(capture.views) == len(rig)
    for view, (_, camera) in zip(capture.views, rig, strict=True):
        assert (view.camera.width, view.camera.height) == (camera.width, camera.height)
        ours = (view.camera.fx, view.camera.fy, view.camera.cx, view.camera.cy)
        assert ours == pytest.approx((camera.fx, camera.fy, camera.cx, camera.cy), abs=1e-6)
        np.testing.assert_allclose(view.camera.c2w, camera.c2w, rtol=0, atol=1e-6)
        assert (view.depth is not None) is depth
        if view.depth is not None:
            true = ANIMAL.depth(camera)
            np.testing.assert_allclose(view.depth, np.rint(true / UNIT_M) * UNIT_M, rtol=0, atol=1e-6)
            assert np.abs(view.depth - true).max() <= UNIT_M / 2 + 1e-6
        if view.mask_source in ("file", "alpha"):
            assert np.array_equal(view.mask >= 0.5, ANIMAL.depth(camera) > 0)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_cameras_and_depth(tmp_path: Path, name: str) -> None:
    """ngp states one set of intrinsics, and no masks: there the depth makes them."""
    writer = FORMATS[name]
    rig = odd_rig(plain=writer.plain)
    writer.write(tmp_path / "x", rig)
    capture = read_capture(tmp_path / "x")
    assert capture.layout == writer.layout
    assert_same_scene(capture, rig, depth=writer.depth)


@pytest.mark.parametrize("name", [name for name, writer in FORMATS.items() if writer.depth])
def test_the_probe_verifies_every_format_with_depth(tmp_path: Path, name: str) -> None:
    FORMATS[name].write(tmp_path / "x", odd_rig())
    found = inspect(tmp_path / "x")
    assert found.ok, found.problems
    assert found.probe is not None
    assert found.probe.verdict == "verified"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_one_folder_down(tmp_path: Path, name: str) -> None:
    writer = FORMATS[name]
    rig = odd_rig(plain=writer.plain)
    writer.write(tmp_path / "x/scan", rig)
    assert_same_scene(read_capture(tmp_path / "x"), rig, depth=writer.depth)


def test_binary_wins_where_colmap_wrote_both(tmp_path: Path) -> None:
    """As in COLMAP. The text is of a rig twice as far away."""
    rig = odd_rig()
    formats.colmap_binary(tmp_path / "x", rig)
    formats.colmap_text(tmp_path / "y", odd_rig(metres=3.6))
    for file in (tmp_path / "y/sparse/0").iterdir():
        shutil.copy(file, tmp_path / "x/sparse/0")
    assert_same_scene(read_capture(tmp_path / "x"), rig, depth=True)


@pytest.mark.parametrize("place", ["sparse", "."])
def test_a_colmap_model_may_lie_in_sparse_or_beside_the_pictures(tmp_path: Path, place: str) -> None:
    rig = odd_rig()
    formats.colmap_binary(tmp_path / "x", rig)
    for file in list((tmp_path / "x/sparse/0").iterdir()):
        file.rename(tmp_path / "x" / place / file.name)
    (tmp_path / "x/sparse/0").rmdir()
    assert_same_scene(read_capture(tmp_path / "x"), rig, depth=True)


def test_nerfstudios_own_colmap_folder_below_its_cameras_is_not_a_second_capture(tmp_path: Path) -> None:
    rig = odd_rig()
    formats.nerfstudio(tmp_path / "x", rig)
    formats.colmap_binary(tmp_path / "x/colmap", odd_rig(metres=3.6))
    capture = read_capture(tmp_path / "x")
    assert capture.layout == "transforms"
    assert_same_scene(capture, rig, depth=True)


def test_jpeg_photographs_are_read_where_cameras_are_stated(tmp_path: Path) -> None:
    rig = odd_rig()
    formats.colmap_binary(tmp_path / "x", rig, suffix="jpg")
    capture = read_capture(tmp_path / "x")
    assert_same_scene(capture, rig, depth=True)
    true, _, mask = formats.pictures(ANIMAL, rig[0][1], 0)
    inner = mask > 0
    assert np.abs(capture.views[0].rgb[inner].astype(int) - true[inner]).mean() < 8


def test_a_phones_depth_is_brought_to_its_photographs_size(tmp_path: Path) -> None:
    """A quarter of the pixels each way: every value lies between those measured around it."""
    rig = odd_rig()
    formats.polycam(tmp_path / "x", rig, coarse=4, suffix="jpg")
    capture = read_capture(tmp_path / "x")
    for view, (_, camera) in zip(capture.views, rig, strict=True):
        assert view.depth is not None
        assert view.depth.shape == (camera.height, camera.width)
        true = np.rint(ANIMAL.depth(camera) / UNIT_M) * UNIT_M
        coarse = true[::4, ::4]
        least, most = (
            bound(coarse, 3).repeat(4, axis=0).repeat(4, axis=1) for bound in (minimum_filter, maximum_filter)
        )
        assert ((view.depth >= least - 1e-6) & (view.depth <= most + 1e-6)).all()


def test_polycams_uncorrected_cameras_serve_where_there_are_no_others(tmp_path: Path) -> None:
    rig = odd_rig()
    formats.polycam(tmp_path / "x", rig)
    corrected = read_capture(tmp_path / "x").views[0].camera.centre[0]
    shutil.rmtree(tmp_path / "x/keyframes/corrected_cameras")
    assert read_capture(tmp_path / "x").views[0].camera.centre[0] == pytest.approx(corrected + 0.02)


# -- what is said ---------------------------------------------------------------------------------------------------


def test_blenders_pictures_of_depth_are_named_and_not_used(tmp_path: Path) -> None:
    formats.blender(tmp_path / "x", odd_rig(plain=True))
    said = inspect(tmp_path / "x").warnings
    assert any("v000_depth_0001.png and 5 more" in line and "8-bit depth" in line for line in said), said


def test_depth_that_colmap_computed_is_named_and_not_used(tmp_path: Path) -> None:
    formats.colmap_binary(tmp_path / "x", odd_rig())
    write = tmp_path / "x/stereo/depth_maps/v000.png.geometric.bin"
    write.parent.mkdir(parents=True)
    write.write_bytes(b"96&88&1&" + bytes(96 * 88 * 4))
    assert any("stereo/" in line for line in inspect(tmp_path / "x").warnings)


def test_a_colmap_model_without_depth_is_told_that_its_unit_is_unknown_and_can_be_given_one(tmp_path: Path) -> None:
    """Twice too large as a whole: ``applied_scale`` says so, as for nerfstudio."""
    rig = odd_rig()
    formats.colmap_binary(tmp_path / "x", rig)
    double = [replace(row, translation=tuple(2 * t for t in row.translation)) for row in formats.colmap_images(rig)]
    (tmp_path / "x/sparse/0/images.bin").write_bytes(formats.images_bin(double))
    shutil.rmtree(tmp_path / "x/depth")
    assert any("unit of length is arbitrary" in line for line in inspect(tmp_path / "x").warnings)
    (tmp_path / "x/capture.json").write_text('{"applied_scale": 2}')
    assert_same_scene(read_capture(tmp_path / "x"), rig, depth=False)


def test_a_colmap_model_in_another_unit_is_contradicted_by_its_depth_and_the_cure_is_named(tmp_path: Path) -> None:
    rig = odd_rig()
    formats.colmap_binary(tmp_path / "x", rig)
    large = [replace(row, translation=tuple(2.4 * t for t in row.translation)) for row in formats.colmap_images(rig)]
    (tmp_path / "x/sparse/0/images.bin").write_bytes(formats.images_bin(large))
    (problem,) = inspect(tmp_path / "x").problems
    assert problem.code == "convention"
    assert '"applied_scale"' in problem.fix
    (tmp_path / "x/capture.json").write_text('{"applied_scale": 2.4}')
    assert inspect(tmp_path / "x").ok


def test_a_bop_scene_without_camera_poses_is_refused_with_the_way_out(tmp_path: Path) -> None:
    formats.bop(tmp_path / "x", odd_rig())
    file = tmp_path / "x/scene_camera.json"
    table = json.loads(file.read_text())
    for entry in table.values():
        del entry["cam_R_w2c"]
    file.write_text(json.dumps(table))
    assert "cam_R_m2c" in refusal(tmp_path / "x")["calib"]


def test_a_bop_scene_of_several_objects_is_refused(tmp_path: Path) -> None:
    formats.bop(tmp_path / "x", odd_rig())
    shutil.copy(tmp_path / "x/mask_visib/000000_000000.png", tmp_path / "x/mask_visib/000000_000001.png")
    assert "2 objects" in refusal(tmp_path / "x")["semantic"]


POSELESS = {
    "a video": ("clip.MOV", "is a video"),
    "phone photographs": ("IMG_0001.HEIC", "HEIC"),
    "a mesh": ("model.glb", "finished mesh"),
    "an OBJ": ("model.obj", "finished mesh"),
    "a cloud": ("cloud.ply", "point cloud"),
    "Scaniverse": ("Scaniverse 2026-11-21.usdz", "Scaniverse"),
    "an archive": ("scan.zip", "an archive"),
    "Record3D": ("scan.r3d", "a recording of Record3D"),
    "RealSense": ("recording.bag", "a recording of a RealSense camera"),
    "ROS": ("run.mcap", "of ROS"),
    "ZED": ("a.svo2", "a recording of a depth camera"),
    "KITTI": ("calib.txt", "is of KITTI"),
    "EuRoC": ("mav0/cam0/sensor.yaml", "is of EuRoC"),
    "NeuS": ("cameras_sphere.npz", "is of NeuS"),
    "Metashape": ("cameras.xml", "Metashape"),
    "RealityScan": ("registration.csv", "RealityScan"),
    "pictures": ("images/IMG_0001.jpg", "1 picture, but nothing that says where the cameras stood"),
}


@pytest.mark.parametrize("what", POSELESS)
def test_what_has_no_poses_is_refused_in_one_plain_sentence(tmp_path: Path, what: str) -> None:
    file, sentence = POSELESS[what]
    (tmp_path / "x" / file).parent.mkdir(parents=True)
    (tmp_path / "x" / file).write_bytes(b"something")
    found = inspect(tmp_path / "x")
    assert [problem.code for problem in found.problems] == ["poses"]
    assert sentence in found.problems[0].message
    assert found.problems[0].message.count(". ") == 0
    assert found.problems[0].fix


def test_pictures_that_no_camera_speaks_of_are_named(tmp_path: Path) -> None:
    """COLMAP could place four of six pictures: a mesh of four is no secret."""
    rig = odd_rig()
    formats.colmap_binary(tmp_path / "x", rig)
    (tmp_path / "x/sparse/0/images.bin").write_bytes(formats.images_bin(formats.colmap_images(rig[:4])))
    found = inspect(tmp_path / "x")
    assert found.ok
    assert len(found.views) == 4
    assert "images/v004.png, images/v005.png: no camera is stated for them, so not used." in found.warnings
    formats.nerfstudio(tmp_path / "y", rig)
    shutil.copy(tmp_path / "y/images/v000.png", tmp_path / "y/images/v000.jpg")
    assert not any("no camera" in warning for warning in inspect(tmp_path / "y").warnings)


@pytest.mark.parametrize("pattern", ["{:04d}.png", "IMG_{:04d}.png", "image{}.png"])
def test_loose_pictures_with_a_number_are_not_taken_for_the_standard_rig(tmp_path: Path, pattern: str) -> None:
    """Every camera numbers its pictures; with depth beside them, or our own sidecar, somebody means the rig."""
    write_canonical(tmp_path / "x")
    loose = tmp_path / "loose"
    loose.mkdir()
    for number in range(6):
        shutil.copy(tmp_path / f"x/views/view_{number:02d}.png", loose / pattern.format(number))
    (problem,) = inspect(loose).problems
    assert problem.code == "poses"
    assert "belong into views/" in problem.fix
    (loose / "capture.json").write_text('{"rig": "canonical"}')
    assert inspect(loose).ok
    (loose / "capture.json").unlink()
    shutil.copytree(tmp_path / "x/depth", loose / "depth")
    assert inspect(loose).ok
    shutil.copy(tmp_path / "x/views/view_00.png", loose / pattern.format(6))
    assert {problem.code for problem in inspect(loose).problems} == {"set"}


def test_of_several_models_the_one_with_most_pictures_is_read(tmp_path: Path) -> None:
    """COLMAP numbers the parts in the order in which it began them."""
    rig = odd_rig()
    formats.colmap_binary(tmp_path / "x", rig)
    (tmp_path / "x/sparse/0").rename(tmp_path / "x/sparse/1")
    formats.colmap_binary(tmp_path / "y", rig[:3])
    (tmp_path / "y/sparse/0").rename(tmp_path / "x/sparse/0")
    capture = read_capture(tmp_path / "x")
    assert_same_scene(capture, rig, depth=True)
    assert any("only sparse/1 is read" in warning for warning in capture.warnings)


def test_the_files_of_rigs_and_frames_that_newer_colmap_writes_do_no_harm(tmp_path: Path) -> None:
    """From 3.12 on; the poses stand in the images file as before."""
    formats.colmap_binary(tmp_path / "x", odd_rig())
    for name in ("rigs.bin", "frames.bin"):
        (tmp_path / "x/sparse/0" / name).write_bytes(struct.pack("<Q", 1) + bytes(40))
    assert_same_scene(read_capture(tmp_path / "x"), odd_rig(), depth=True)


def polycam_sets(folder: Path, corrected: int, pictures: int) -> None:
    """A scan of six keyframes of which so many have corrected cameras, and so many corrected pictures."""
    formats.polycam(folder, odd_rig())
    base = folder / "keyframes"
    for number in range(6):
        if number >= corrected:
            (base / f"corrected_cameras/v{number:03d}.json").unlink()
        if number >= pictures:
            (base / f"corrected_images/v{number:03d}.png").unlink()


@pytest.mark.parametrize(
    ("corrected", "pictures", "images", "views"),
    [(6, 6, "corrected_images", 6), (4, 4, "images", 6), (6, 4, "images", 6), (2, 2, "images", 6)],
)
def test_of_polycams_two_sets_the_one_with_most_pictures_is_read(
    tmp_path: Path, corrected: int, pictures: int, images: str, views: int
) -> None:
    polycam_sets(tmp_path / "x", corrected, pictures)
    capture, expectation = read_stated_capture(tmp_path / "x")
    assert len(capture.views) == views
    assert {view.image.split("/")[1] for view in expectation.views} == {images}
    said = [warning for warning in capture.warnings if "Polycam corrected only" in warning]
    assert bool(said) is (images == "images")


def test_polycams_keyframes_without_a_camera_or_a_picture_are_left_out_and_named(tmp_path: Path) -> None:
    formats.polycam(tmp_path / "x", odd_rig())
    base = tmp_path / "x/keyframes"
    shutil.rmtree(base / "corrected_cameras")
    shutil.rmtree(base / "corrected_images")
    (base / "cameras/v001.json").unlink()
    (base / "images/v004.png").unlink()
    found = inspect(tmp_path / "x")
    assert found.ok, found.problems
    assert [view.name for view in found.views] == ["v000", "v002", "v003", "v005"]
    assert any("v001.png: no camera" in warning for warning in found.warnings)
    assert any("v004.jpg" in warning and "left out" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("error", "fate"), [(0.0005, "exact"), (0.005, "inexact"), (0.009, "inexact"), (0.012, "none")]
)
def test_rotations_that_are_a_little_off_are_made_exact_and_told(tmp_path: Path, error: float, fate: str) -> None:
    """A BOP data set has columns that are half a per cent too long."""
    rig = odd_rig()
    formats.bop(tmp_path / "x", rig)
    file = tmp_path / "x/scene_camera.json"
    table = json.loads(file.read_text())
    for key in ("1", "2"):
        table[key]["cam_R_w2c"] = [value * (1 + error) for value in table[key]["cam_R_w2c"]]
    file.write_text(json.dumps(table))
    if fate == "none":
        assert "no rotation" in refusal(tmp_path / "x")["calib"]
        return
    capture = read_capture(tmp_path / "x")
    for view in capture.views:
        np.testing.assert_allclose(view.camera.c2w[:3, :3].T @ view.camera.c2w[:3, :3], np.eye(3), atol=1e-9)
    told = [warning for warning in capture.warnings if "no exact rotations" in warning]
    assert len(told) == (fate == "inexact")
    assert not told or told[0].startswith(f"2 of 6 poses are no exact rotations (up to {error:.1%} off")


def test_the_whole_of_a_bop_object_is_its_mask_where_both_are_there(tmp_path: Path) -> None:
    """What another thing hides of it is no hole: the visible part carves away what is only covered."""
    formats.bop(tmp_path / "x", odd_rig())
    shutil.copytree(tmp_path / "x/mask_visib", tmp_path / "x/mask")
    for file in (tmp_path / "x/mask_visib").iterdir():
        cut = np.zeros_like(np.asarray(Image.open(file)))
        cut[40:50, 40:50] = 255
        write_png(file, cut)
    assert_same_scene(read_capture(tmp_path / "x"), odd_rig(), depth=True)


def test_photographs_alone_are_told_so_whatever_model_is_asked_for(tmp_path: Path) -> None:
    """Every model needs cameras, also those that generate."""
    (tmp_path / "x").mkdir()
    for number in range(8):
        write_png(tmp_path / f"x/IMG_{number:04d}.png", np.zeros((32, 32, 3), np.uint8))
    (tmp_path / "x/capture.json").write_text('{"models": ["reconviagen"]}')
    told = refusal(tmp_path / "x")
    assert "8 pictures, but nothing that says where the cameras stood" in told["poses"]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("nerfstudio", '"mask_path"'),
        ("colmap text", "in masks/, called like the pictures"),
        ("llff", "in masks/, called like the pictures"),
        ("polycam", "in keyframes/masks/"),
        ("tum", None),
    ],
)
def test_where_nothing_tells_the_object_the_place_of_masks_is_that_of_the_format(
    tmp_path: Path, name: str, place: str | None
) -> None:
    """Photographs before something of many colours, without depth."""
    FORMATS[name].write(tmp_path, odd_rig(plain=FORMATS[name].plain))
    noise = np.random.default_rng(1).integers(0, 256, (88, 96, 3)).astype(np.uint8)
    for number, file in enumerate(sorted(tmp_path.rglob("*.png"))):
        if {"depth", "masks"} & set(file.parts):
            file.unlink()
        else:
            write_png(file, np.roll(noise, number, axis=0))
    (tmp_path / "depth.txt").unlink(missing_ok=True)
    table = tmp_path / "transforms.json"
    if table.exists():
        frames = json.loads(table.read_text())
        for frame in frames["frames"]:
            del frame["depth_file_path"], frame["mask_path"]
        table.write_text(json.dumps(frames))
    (problem,) = told_once(inspect(tmp_path).problems)
    assert problem.message.startswith("Nothing says what is object")
    assert place in problem.fix if place else "mask" not in problem.fix
    assert "mask_XX" not in problem.fix
