"""Completeness from names and sidecar bytes alone: what is awaited, what blocks, what no waiting can cure."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshdrop.models.capture.layout import CANONICAL_NAMES, Expectation, expect, is_blocker, is_litter
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.formats.cameras import CANONICAL_VIEWS
from tests.formats import colmap_text_files, odd_rig

LIMITS = CaptureLimits()
VIEWS = tuple(f"views/view_{index:02d}.png" for index in range(6))
DEPTHS = tuple(f"depth/depth_{index:02d}.png" for index in range(6))
MASKS = tuple(f"masks/mask_{index:02d}.png" for index in range(6))
POSE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]]


def look(names: tuple[str, ...], files: Mapping[str, Any] | None = None) -> Expectation:
    """``expect`` on names plus sidecars given as JSON values or bytes."""
    contents = {
        name: value if isinstance(value, bytes) else json.dumps(value).encode() for name, value in (files or {}).items()
    }
    return expect((*names, *contents), contents.__getitem__, LIMITS)


def frames(count: int = 3, depth: bool = False, folder: str = "images") -> dict[str, Any]:
    listed = []
    for index in range(count):
        frame: dict[str, Any] = {"file_path": f"{folder}/{index:03d}.png", "transform_matrix": POSE}
        if depth:
            frame["depth_file_path"] = f"depth/{index:03d}.png"
        listed.append(frame)
    return {"fl_x": 600, "frames": listed}


def images(count: int = 3, folder: str = "images") -> tuple[str, ...]:
    return tuple(f"{folder}/{index:03d}.png" for index in range(count))


def test_view_numbers_and_names_mean_what_the_camera_module_says() -> None:
    assert tuple(CANONICAL_VIEWS) == CANONICAL_NAMES


def test_importing_the_layout_loads_no_numpy() -> None:
    """The daemon's settle rule imports it at every start."""
    modules = "meshdrop.models.capture.layout, meshdrop.models.files.png"
    code = f"import sys, {modules}; print({{'numpy', 'PIL', 'pydantic'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# -- canonical -----------------------------------------------------------------------------------------------------


def test_six_views_alone_are_complete() -> None:
    found = look(VIEWS)
    assert (found.kind, found.complete, found.root, found.depth_stated) == ("canonical", True, "", False)
    assert [view.name for view in found.views] == list(CANONICAL_NAMES)
    assert found.required == VIEWS
    assert found.waiting_for() == ""


@pytest.mark.parametrize("role", [DEPTHS, MASKS])
def test_one_depth_or_mask_file_demands_all_six(role: tuple[str, ...]) -> None:
    """6 images + 1 of 6 depth maps: 7 of 12 files are there, 5 are missing."""
    found = look((*VIEWS, role[2]))
    assert not found.complete
    assert found.missing == (role[0], role[1], role[3], role[4], role[5])
    assert found.waiting_for().startswith(f"7 of 12 files, waiting for {role[0]}")


def test_required_files_come_in_reading_order() -> None:
    found = look(tuple(reversed((*VIEWS, *DEPTHS, *MASKS))), {"capture.json": {}})
    assert found.required == (*VIEWS, *DEPTHS, *MASKS, "capture.json")


@pytest.mark.parametrize(
    ("image", "depth"),
    [
        ("views/{role}.png", "depth/{role}.png"),
        ("views/{role}.PNG", "depth/{role}_depth.png"),
        ("views/view_{n:02d}.png", "depth/view_{n:02d}.png"),
        ("views/{n}.png", "depth/{n}.png"),
        ("rgb/{n:04d}.png", "depth/{n:04d}.png"),
        ("rgb_{role}.png", "depth_{role}.png"),
        ("{role}.png", "{role}_depth.png"),
        ("{role}-rgb.png", "{role}-depth.png"),
        ("Views/View_{n:02d}.PNG", "Depth/{role}.png"),
        ("view_{n:02d}.png", "depth_{n:02d}.png"),
    ],
)
def test_the_names_that_rigs_use(image: str, depth: str) -> None:
    names = [pattern.format(role=role, n=n) for pattern in (image, depth) for n, role in enumerate(CANONICAL_NAMES)]
    found = look(tuple(names))
    assert found.complete, (found.missing, found.problems)
    assert [view.image for view in found.views] == names[:6]
    assert [view.depth for view in found.views] == names[6:]


def test_missing_files_are_named_in_the_style_of_those_present() -> None:
    found = look(("rgb_front.png", "rgb_back.png", "depth_front.png"))
    assert "rgb_top.png" in found.missing
    assert "depth_bottom.png" in found.missing


def test_every_order_of_arrival_ends_complete_and_never_before() -> None:
    """Whatever order 12 files come in, the set is complete exactly with the last one, once depth is known of."""
    chance = random.Random(5)
    for _ in range(50):
        order = [*VIEWS, *DEPTHS]
        chance.shuffle(order)
        for count in range(12):
            found = look(tuple(order[:count]))
            depth_known = any(name in DEPTHS for name in order[:count])
            assert found.complete == (set(order[:count]) == set(VIEWS) and not depth_known)
        assert look(tuple(order)).complete


def test_depth_can_be_demanded_before_its_first_file() -> None:
    found = look(VIEWS, {"capture.json": {"depth": True}})
    assert found.missing == DEPTHS
    assert found.depth_stated


def test_depth_can_be_waived() -> None:
    found = look((*VIEWS, DEPTHS[0]), {"capture.json": {"depth": False}})
    assert found.complete
    assert found.views[0].depth is None
    assert DEPTHS[0] in found.ignored


def test_fewer_canonical_views_can_be_stated() -> None:
    found = look(VIEWS[:3], {"capture.json": {"views": ["front", "back", "right"]}})
    assert found.complete
    assert [view.name for view in found.views] == ["front", "back", "right"]


def test_a_seventh_view_is_a_problem() -> None:
    found = look((*VIEWS, "views/view_06.png"))
    assert [problem.code for problem in found.problems] == ["set"]
    assert found.problems[0].file == "views/view_06.png"


def test_two_files_for_one_view_are_a_problem() -> None:
    found = look((*VIEWS, "views/front.png"))
    assert "front" in found.problems[0].message
    assert found.problems[0].code == "set"


def test_a_depth_name_among_the_views_is_no_view() -> None:
    assert VIEWS[0] in look(("views/depth_00.png", *VIEWS[1:])).missing


def test_other_files_are_ignored() -> None:
    found = look((*VIEWS, "notes.txt", "views/readme.md", "WHY.txt", "report.json", "previews/contact.png"))
    assert found.complete
    assert set(found.ignored) == {"notes.txt", "views/readme.md", "WHY.txt", "report.json", "previews/contact.png"}


# -- frames --------------------------------------------------------------------------------------------------------


def test_a_transforms_file_says_what_is_needed() -> None:
    found = look(images(), {"transforms.json": frames()})
    assert (found.kind, found.complete) == ("frames", True)
    assert found.required == (*images(), "transforms.json")
    assert not found.depth_stated


def test_frames_wait_for_each_listed_file() -> None:
    found = look(images(2), {"transforms.json": frames(depth=True)})
    assert found.missing == ("images/002.png", "depth/000.png", "depth/001.png", "depth/002.png")
    assert found.depth_stated


def test_pictures_without_cameras_wait_for_the_camera_file() -> None:
    """A nerfstudio folder whose transforms.json comes last must never be taken for something else."""
    found = look((*images(), "depth/front.png"))
    assert found.kind == "unknown"
    assert found.missing == ("transforms.json",)
    assert not found.complete


@pytest.mark.parametrize("content", [b"", bytes(300)])
def test_a_sidecar_whose_copy_has_only_begun_is_awaited(content: bytes) -> None:
    found = look(images(), {"transforms.json": content})
    assert not found.problems
    assert "transforms.json" in found.missing
    assert not found.complete


def test_our_sidecar_may_amend_theirs() -> None:
    found = look(images(), {"transforms.json": frames(), "capture.json": {"camera_axes": "opencv", "fl_x": 700}})
    assert found.complete
    assert found.stated.camera_axes == "opencv"
    assert found.stated.frames is not None
    assert found.stated.frames[0].intrinsics.fl_x == 700


def test_cameras_stated_twice_are_a_problem() -> None:
    found = look(images(), {"transforms.json": frames(), "capture.json": frames()})
    assert [problem.code for problem in found.problems] == ["sidecar"]


def test_capture_json_may_hold_the_frames_itself() -> None:
    found = look(images(folder="shots"), {"capture.json": frames(folder="shots")})
    assert (found.kind, found.complete) == ("frames", True)


def test_a_picture_named_twice_is_a_problem() -> None:
    twice = frames()
    twice["frames"][1]["file_path"] = twice["frames"][0]["file_path"]
    assert any(problem.code == "set" for problem in look(images(), {"transforms.json": twice}).problems)


def test_accents_match_in_either_unicode_spelling() -> None:
    """macOS writes e + combining acute where the sidecar has one letter."""
    listed = [{"file_path": f"images/\u00e9{i}.png", "transform_matrix": POSE} for i in range(3)]
    composed = {"fl_x": 600, "frames": listed}
    found = look(tuple(f"images/e\u0301{i}.png" for i in range(3)), {"transforms.json": composed})
    assert found.complete
    assert found.views[0].image == "images/e\u03010.png"


# -- where the capture sits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["scan/", "capture/"])
def test_a_capture_may_sit_one_folder_down(root: str) -> None:
    found = look(tuple(root + name for name in (*VIEWS, *DEPTHS)), {root + "capture.json": {"priority": 3}})
    assert (found.root, found.complete) == (root, True)
    assert found.stated.options.priority == 3


def test_a_framed_capture_may_sit_one_folder_down() -> None:
    found = look(tuple("scan/" + name for name in images()), {"scan/transforms.json": frames()})
    assert (found.root, found.complete) == ("scan/", True)
    assert found.views[0].image == "scan/images/000.png"


def test_a_returned_folder_is_read_again_without_our_own_files() -> None:
    ours = ("WHY.txt", "failure.json", "log.txt", "report.html", "receipt.json", "fusion/texture.png", "previews/a.png")
    found = look((*ours, *(f"capture/{name}" for name in VIEWS)))
    assert (found.root, found.complete) == ("capture/", True)
    assert set(found.ignored) == set(ours)


def test_old_results_of_ones_own_model_are_no_pictures_of_a_returned_folder() -> None:
    limits = CaptureLimits(custom_models=("mine",))
    found = expect(("receipt.json", "mine/texture.png", "capture/notes.txt"), lambda name: b"", limits)
    assert (found.missing, found.no_cameras) == ((), None)


def test_a_capture_may_have_a_folder_that_is_called_like_ones_own_model() -> None:
    limits = CaptureLimits(custom_models=("views",))
    assert expect(VIEWS, lambda name: b"", limits).complete
    returned = ("receipt.json", "views/texture.png", *(f"capture/{name}" for name in VIEWS))
    found = expect(returned, lambda name: b"", limits)
    assert (found.root, found.complete) == ("capture/", True)


def test_a_sidecar_laid_on_top_of_a_returned_folder_counts() -> None:
    found = look(tuple(f"capture/{name}" for name in VIEWS), {"capture.json": {"depth_unit_m": 0.0001}})
    assert found.complete
    assert found.stated.depth_unit_m == 0.0001


@pytest.mark.parametrize(
    "extras",
    [
        ("RAW/IMG_1.png",),
        tuple(f"RAW/IMG_{number}.png" for number in range(40)),
        tuple(f"thumbs/view_{number:02d}.png" for number in range(6)),
        ("debug/depth/depth_00.png",),
        ("RAW/rgb/0001.jpg", "RAW/IMG_2.tif"),
    ],
)
@pytest.mark.parametrize("capture", [VIEWS, tuple(f"scan/{name}" for name in VIEWS)])
def test_extra_pictures_make_no_second_capture(capture: tuple[str, ...], extras: tuple[str, ...]) -> None:
    """Beside a folder with views/, numbers in names speak for nothing; in no order of arrival do they end the wait."""
    found = look((*capture, *extras))
    assert found.complete, found.problems
    assert [view.image for view in found.views] == list(capture)
    assert set(found.ignored) == set(extras)
    assert not look((*extras, *capture[:1])).problems


def test_loose_pictures_beside_a_folder_of_extras() -> None:
    loose = tuple(f"{name}.png" for name in CANONICAL_NAMES)
    assert look((*loose, "RAW/IMG_1.png")).complete
    assert look((*loose, *(f"RAW/{number}.png" for number in range(6)))).complete
    waiting = look((*loose[:4], "RAW/IMG_1.png"))
    assert (waiting.root, waiting.problems) == ("", ())
    assert waiting.missing == loose[4:]


@pytest.mark.parametrize("style", ["{scan}/views/view_{n:02d}.png", "{scan}/{n}.png"])
def test_two_captures_side_by_side_are_ambiguous(style: str) -> None:
    found = look(tuple(style.format(scan=scan, n=n) for scan in "ab" for n in range(6)))
    assert [problem.code for problem in found.problems] == ["set"]


def test_cameras_own_what_lies_below_them() -> None:
    found = look((*images(), "RAW/IMG_1.png", "RAW/views/view_00.png"), {"transforms.json": frames()})
    assert found.complete, found.problems


def test_two_captures_in_one_folder_are_a_problem() -> None:
    found = look((*(f"a/{name}" for name in VIEWS), *(f"b/{name}" for name in VIEWS)))
    assert [problem.code for problem in found.problems] == ["set"]
    assert "a/" in found.problems[0].message
    assert "b/" in found.problems[0].message


def test_too_many_and_too_deep_are_problems() -> None:
    assert look(tuple(f"x{i}.bin" for i in range(LIMITS.max_entries + 1))).problems[0].code == "too_many"
    assert look((*VIEWS, "a/b/c/d/e.bin")).problems[0].code == "depth"
    assert look((*VIEWS, "a/b/c/d.bin")).complete


def test_a_workspace_of_colmap_is_read_with_what_colmap_made_of_it() -> None:
    """automatic_reconstructor: the model of the photographs counts, not that of the undistorted ones."""
    rig = odd_rig()
    files = {name: content for name, content in colmap_text_files(rig).items() if not name.endswith("points3D.txt")}
    files |= {f"images/{name}.png": b"" for name, _ in rig}
    files |= {f"dense/0/{name.replace('sparse/0', 'sparse')}": content for name, content in files.items()}
    files |= {f"dense/0/stereo/depth_maps/{name}.png.geometric.bin": b"4&4&1&" for name, _ in rig}
    found = look(tuple(files), files)
    assert found.problems == ()
    assert {view.image for view in found.views} == {f"images/{name}.png" for name, _ in rig}
    assert found.complete


# -- what is said of files that are awaited ------------------------------------------------------------------------


def said(found: Expectation) -> dict[str | None, tuple[str, str]]:
    return {problem.file: (problem.code, problem.message) for problem in found.awaited()}


def test_a_missing_file_is_called_missing() -> None:
    assert said(look(VIEWS[:5])) == {VIEWS[5]: ("set", "The file is missing.")}


def test_a_sidecar_of_zeros_is_called_unfinished_not_missing() -> None:
    found = look(VIEWS, {"capture.json": bytes(300)})
    code, message = said(found)["capture.json"]
    assert code == "set"
    assert "holds only zeros" in message
    assert "its content has not arrived" in found.waiting_for()


@pytest.mark.parametrize(
    ("other", "what"), [("views/view_05.bmp", "a BMP"), ("views/bottom.GIF", "a GIF"), ("views/5.npy", "a NumPy array")]
)
def test_a_picture_of_another_format_in_the_place_of_a_png_is_named(other: str, what: str) -> None:
    found = look((*VIEWS[:5], other))
    code, message = said(found)[other]
    assert code == "not_png"
    assert f"The file is {what}; views/view_05.png is due here" in message
    assert f"({other} is {what}: save it as PNG)" in found.waiting_for()


def test_six_pictures_that_nobody_reads_are_a_capture_of_the_wrong_format() -> None:
    bitmaps = tuple(name.replace(".png", ".bmp") for name in VIEWS)
    found = look(tuple(f"scan/{name}" for name in bitmaps))
    assert found.missing == tuple(f"scan/{name}" for name in VIEWS)
    assert set(said(found)) == {f"scan/{name}" for name in bitmaps}
    assert {code for code, _ in said(found).values()} == {"not_png"}


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "tif", "webp", "heic", "avif", "dng"])
def test_the_standard_rig_takes_every_kind_of_photograph(ending: str) -> None:
    names = tuple(name.replace("png", ending) for name in VIEWS)
    found = look((*names, *DEPTHS, *(name.replace("png", "jpg") for name in MASKS)))
    assert found.kind == "canonical"
    assert found.complete
    assert tuple(view.image for view in found.views) == names
    waits = look((*names[:5], *DEPTHS))
    assert waits.missing == (names[5],), "the others say what ending it will have"


def test_depth_of_the_standard_rig_may_be_arrays_and_never_a_jpeg() -> None:
    arrays = tuple(name.replace("png", "npy") for name in DEPTHS)
    assert tuple(view.depth for view in look((*VIEWS, *arrays)).views) == arrays
    jpegs = tuple(name.replace("png", "jpg") for name in DEPTHS)
    assert [view.depth for view in look((*VIEWS, *jpegs)).views] == [None] * 6


def test_a_seventh_jpeg_is_no_view_and_a_preview_beside_pngs_is_nobodys_business() -> None:
    jpegs = tuple(name.replace("png", "jpg") for name in VIEWS)
    assert look((*jpegs, "views/view_06.jpg")).problems
    assert not look((*VIEWS, "views/view_06.jpg")).problems


def test_a_jpeg_where_the_cameras_want_a_png_is_taken() -> None:
    found = look((*images(2), "images/002.jpg"), {"transforms.json": frames()})
    assert found.complete
    assert found.views[2].image == "images/002.jpg"


def test_a_png_beside_its_jpeg_is_taken() -> None:
    assert look((*VIEWS, *(name.replace(".png", ".jpg") for name in VIEWS))).complete


def test_a_name_on_the_status_page_carries_no_control_character() -> None:
    assert "\x1b" not in look(tuple(f"\x1b[31m/{name}" for name in VIEWS[:5])).waiting_for()


def test_a_folder_of_too_many_files_is_not_called_one_of_one_too_many() -> None:
    (problem,) = look(tuple(f"x{number}.bin" for number in range(LIMITS.max_entries + 1))).problems
    assert "more than 6,000 files" in problem.message
    assert "6,001" not in problem.message


# -- names that block or do not count ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "views/view_05.png.part",
        "views/.view_05.png.Ab12Cd",
        "x.filepart",
        "a.tmp",
        "a.crdownload",
        ".syncthing.view.png.tmp",
        "~syncthing~view.png.tmp",
        "XEROX-LOCK/x",
        ".~tmp~/view_00.png",
        "views/a.lock",
    ],
)
def test_copy_programs_names_block(name: str) -> None:
    assert is_blocker(name)
    found = look((*VIEWS, name))
    assert not found.complete
    assert found.blockers == (name,)
    assert not found.problems


@pytest.mark.parametrize(
    "name",
    [
        ".DS_Store",
        "views/._view_00.png",
        "Thumbs.db",
        "views/Thumbs.db",
        "desktop.ini",
        "@eaDir/view_00.png/x",
        "__MACOSX/views/._a.png",
        "view.png:Zone.Identifier",
        ".hidden",
        "views/.stfolder",
    ],
)
def test_litter_does_not_count(name: str) -> None:
    assert is_litter(name)
    assert not is_blocker(name)
    found = look((*VIEWS, name))
    assert found.complete
    assert found.ignored == (name,)


def test_undecodable_names_are_carried_as_they_are() -> None:
    odd = b"sc\xf6n".decode("utf-8", "surrogateescape")
    found = look(tuple(f"{odd}/{name}" for name in VIEWS))
    assert found.complete
    assert found.root == f"{odd}/"
    json.dumps([problem.to_json() for problem in look((odd, *(f"{odd}/{n}" for n in VIEWS[:2]))).problems])


ALPHABET = st.sampled_from(
    ["views", "depth", "masks", "images", "capture", "front", "view_00", "00", "..", "a", ".", "*", "capture.json"]
)
NAME = (
    st.lists(ALPHABET, min_size=1, max_size=4)
    .map("/".join)
    .flatmap(lambda stem: st.sampled_from(["", ".png", ".PNG", ".tmp", ".json"]).map(lambda suffix: stem + suffix))
)


@settings(max_examples=300)
@given(st.lists(NAME, max_size=12, unique=True), st.binary(max_size=60))
def test_no_folder_raises_and_missing_files_are_never_there(names: list[str], content: bytes) -> None:
    found = expect(names, lambda _: content, LIMITS)
    assert not set(found.missing) & (set(names) - set(found.sidecars))
    assert set(found.blockers) <= set(names)
    assert not set(itertools.chain(found.ignored)) & set(found.required)
