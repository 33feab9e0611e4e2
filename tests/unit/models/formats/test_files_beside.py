"""Masks and depth beside pictures are found by whatever names programs give them."""

from __future__ import annotations

import unicodedata

import pytest

from meshdrop.models.formats.files_beside import FilesBeside


@pytest.mark.parametrize(
    "name",
    ["a.jpg.png", "a.png", "a_mask.png", "A.PNG", "a.JPG.png", "a.jpg.jpg", "a.jpg", "a-mask.webp", "A_Mask.tif"],
)
def test_a_mask_is_found_by_its_pictures_name(name: str) -> None:
    assert FilesBeside({f"masks/{name}", "masks/b.png", "a.png"}, "masks/", "mask").of("a.jpg") == f"masks/{name}"


def test_the_name_as_colmap_has_it_comes_first_and_the_exact_one_before_others() -> None:
    masks = FilesBeside({"masks/a.png", "masks/a.jpg.png", "masks/A.jpg.png", "masks/a_mask.png"}, "masks/", "mask")
    assert masks.of("a.jpg") == "masks/a.jpg.png"


def test_letters_that_macos_takes_apart_are_the_same_letters() -> None:
    apart, whole = unicodedata.normalize("NFD", "möbel"), unicodedata.normalize("NFC", "möbel")
    assert apart != whole
    for there, asked in ((apart, whole), (whole, apart)):
        assert FilesBeside({f"masks/{there}.png"}, "masks/", "mask").of(f"{asked}.jpg") == f"masks/{there}.png"


def test_folders_of_pictures_are_kept_and_what_is_missing_is_awaited() -> None:
    files = FilesBeside({"masks/cam1/a.png", "masks/cam2/a.png"}, "masks/", "mask")
    assert files.of("cam2/a.jpg") == "masks/cam2/a.png"
    assert files.of("cam3/a.jpg") == "masks/cam3/a.png"


def test_no_jpeg_is_depth() -> None:
    assert FilesBeside({"depth/a.jpg", "depth/a.npy"}, "depth/", "depth").of("a.jpg") == "depth/a.npy"
