"""A capture comes out the same in whatever kind of file its pictures, depth and masks are written."""

from __future__ import annotations

import builtins
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from meshdrop.models.capture.capture import Capture, CaptureError, read_capture
from meshdrop.models.capture.decoding import NotInstalled, heic
from meshdrop.models.files.boxes import BoxesInfo
from meshdrop.models.probe.inspection import inspect
from tests.pictures import exr, npy, saved
from tests.pictures import heic as as_heic
from tests.unit.models.synthetic import write_canonical, write_png

SIZE = 64
Make = Callable[[np.ndarray], bytes]


def rewritten(folder: Path, place: str, ending: str, make: Make) -> Path:
    """The folder with each PNG of one place written as something else."""
    for file in sorted((folder / place).glob("*.png")):
        with Image.open(file) as image:
            pixels = np.asarray(image)
        file.unlink()
        file.with_suffix(f".{ending}").write_bytes(make(pixels))
    return folder


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def sixteen_bits(pixels: np.ndarray) -> bytes:
    """A PNG of 16-bit colour, which Pillow does not write."""
    height, width = pixels.shape[:2]
    rows = (pixels.astype(np.uint32) * 257).astype(">u2").reshape(height, -1).tobytes()
    stride = len(rows) // height
    filtered = b"".join(b"\0" + rows[row * stride : (row + 1) * stride] for row in range(height))
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(filtered)) + chunk(b"IEND", b"")


PHOTOGRAPHS: dict[str, tuple[str, Make, str]] = {
    "JPEG": ("jpg", lambda pixels: saved("JPEG", pixels, quality=98, subsampling=0), ""),
    "16-bit PNG": ("png", sixteen_bits, "16-bit levels made 8-bit"),
    "grey PNG": ("png", lambda pixels: saved("PNG", pixels[..., 0].copy()), "grey made colour"),
    "grey 16-bit PNG": ("png", lambda pixels: saved("PNG", pixels[..., 0].astype(np.uint16) * 257), "16-bit levels"),
    "TIFF": ("tif", lambda pixels: saved("TIFF", pixels), ""),
    "LZW TIFF": ("tiff", lambda pixels: saved("TIFF", pixels, compression="tiff_lzw"), ""),
    "grey 16-bit TIFF": ("tif", lambda pixels: saved("TIFF", pixels[..., 0].astype(np.uint16) * 257), "16-bit levels"),
    "WebP": ("webp", lambda pixels: saved("WEBP", pixels, lossless=True), ""),
    "AVIF": ("avif", lambda pixels: saved("AVIF", pixels, quality=100, subsampling="4:4:4"), ""),
    "HEIC": ("heic", lambda pixels: as_heic(pixels, quality=-1), ""),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return read_capture(write_canonical(tmp_path_factory.mktemp("plain") / "x", size=SIZE))


@pytest.mark.parametrize("kind", PHOTOGRAPHS)
def test_photographs_of_every_kind_are_the_same_photograph(tmp_path: Path, kind: str, plain: Capture) -> None:
    ending, make, told = PHOTOGRAPHS[kind]
    folder = rewritten(write_canonical(tmp_path / "x", size=SIZE), "views", ending, make)
    capture = read_capture(folder)
    for view, wanted in zip(capture.views, plain.views, strict=True):
        assert view.rgb.shape == (SIZE, SIZE, 3)
        assert np.abs(view.rgb.astype(int) - wanted.rgb).mean() < 2
    lines = [warning for warning in capture.warnings if warning.startswith("6 pictures: ")]
    assert len(lines) == (kind.startswith("grey 16-bit") + bool(told))
    assert any(told in line for line in lines) or not told
    assert inspect(folder).ok


def float_tiff(pixels: np.ndarray) -> bytes:
    return saved("TIFF", np.where(pixels == 0, np.nan, pixels / 1000).astype(np.float32))


DEPTH: dict[str, tuple[str, Make, str]] = {
    "16-bit TIFF": ("tif", lambda pixels: saved("TIFF", pixels.astype(np.uint16)), ""),
    "32-bit TIFF": ("tif", lambda pixels: saved("TIFF", pixels.astype(np.int32)), ""),
    "floating-point TIFF": ("tif", float_tiff, "metres"),
    "OpenEXR": ("exr", lambda pixels: exr(np.where(pixels == 0, 1e10, pixels / 1000).astype(np.float32)), "metres"),
    "OpenEXR of halves": ("exr", lambda pixels: exr((pixels / 1000).astype(np.float16)), "metres"),
    "array in metres": ("npy", lambda pixels: npy(np.where(pixels == 0, np.inf, pixels / 1000)), "metres"),
    "array in millimetres": ("npy", lambda pixels: npy(pixels.astype(np.float64)), "millimetres"),
    "array of whole numbers": ("npy", lambda pixels: npy(pixels.astype(np.uint16)), ""),
    "array by columns": ("npy", lambda pixels: npy(np.asfortranarray(pixels.astype(">u4"))), ""),
    "array with one channel": ("npy", lambda pixels: npy(pixels.astype(np.uint16)[..., None]), ""),
}


@pytest.mark.parametrize("kind", DEPTH)
def test_depth_of_every_kind_is_the_same_depth(tmp_path: Path, kind: str, plain: Capture) -> None:
    ending, make, unit = DEPTH[kind]
    folder = rewritten(write_canonical(tmp_path / "x", size=SIZE), "depth", ending, make)
    capture = read_capture(folder)
    for view, wanted in zip(capture.views, plain.views, strict=True):
        assert view.depth is not None
        assert wanted.depth is not None
        assert np.abs(view.depth - wanted.depth).max() < 2e-3
        assert np.array_equal(view.depth > 0, wanted.depth > 0)
    lines = [warning for warning in capture.warnings if "no unit is stated" in warning]
    assert len(lines) == bool(unit)
    assert all(line.endswith(f"taken for {unit}.") for line in lines)
    assert inspect(folder).ok


@pytest.mark.parametrize("unit_m", [0.01, 2, 10])
def test_a_stated_unit_is_that_of_floating_point_depth_too(tmp_path: Path, plain: Capture, unit_m: float) -> None:
    """Numbers of 250, between 1 and 2, and below 1, as of an object in reach of a hand."""
    folder = write_canonical(tmp_path / "x", size=SIZE, sidecar={"depth_unit_m": unit_m})
    counts = 1000 * unit_m
    capture = read_capture(rewritten(folder, "depth", "npy", lambda pixels: npy((pixels / counts).astype(np.float32))))
    assert not any("unit" in warning for warning in capture.warnings)
    first, wanted = capture.views[0].depth, plain.views[0].depth
    assert first is not None
    assert wanted is not None
    assert np.abs(first - wanted).max() < 1e-4


@pytest.mark.filterwarnings("error")
def test_numbers_that_no_depth_has_mean_nothing_measured(tmp_path: Path, plain: Capture) -> None:
    folder = write_canonical(tmp_path / "x", size=SIZE)
    capture = read_capture(
        rewritten(folder, "depth", "npy", lambda pixels: npy(np.where(pixels == 0, 1e308, pixels / 1000)))
    )
    first, wanted = capture.views[0].depth, plain.views[0].depth
    assert first is not None
    assert wanted is not None
    assert np.array_equal(first > 0, wanted > 0)


def test_a_damaged_openexr_file_is_refused_and_its_library_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What ``meshdrop check --json`` prints is for programs."""
    folder = write_canonical(tmp_path / "x", size=SIZE)

    def damaged(pixels: np.ndarray) -> bytes:
        content = bytearray(exr((pixels / 1000).astype(np.float32)))
        content[-200:] = bytes(200)
        return bytes(content)

    found = inspect(rewritten(folder, "depth", "exr", damaged))
    assert {problem.code for problem in found.problems} == {"picture"}
    assert capfd.readouterr().out == ""


def test_an_array_of_objects_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(tmp_path / "touched"), "w")

    stream = io.BytesIO()
    np.save(stream, np.array([[Touch()]], dtype=object), allow_pickle=True)
    folder = rewritten(write_canonical(tmp_path / "x", size=SIZE), "depth", "npy", lambda _: stream.getvalue())
    with pytest.raises(CaptureError) as refused:
        read_capture(folder)
    assert {problem.code for problem in refused.value.problems} == {"depth_format"}
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("module", "place", "kind", "extra"),
    [("pillow_heif", "views", "HEIC", "heic"), ("OpenEXR", "depth", "OpenEXR", "exr")],
)
def test_without_its_library_one_sentence_names_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, place: str, kind: str, extra: str
) -> None:
    ending, make, _ = {**PHOTOGRAPHS, **DEPTH}[kind]
    folder = rewritten(write_canonical(tmp_path / "x", size=SIZE), place, ending, make)
    real = builtins.__import__

    def lacking(name: str, *args: Any, **options: Any) -> Any:
        if name == module:
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(CaptureError) as refused:
        read_capture(folder)
    (problem,) = refused.value.problems
    assert problem.code == "picture"
    assert "is not installed here" in problem.message
    assert f"make {extra}" in problem.fix
    with pytest.raises(NotInstalled) if module == "pillow_heif" else pytest.raises(CaptureError):
        heic(b"", BoxesInfo(1, 1), "image") if module == "pillow_heif" else read_capture(folder)


def test_the_turn_of_a_heic_is_obeyed_once(tmp_path: Path, plain: Capture) -> None:
    """Its boxes state it and its notes repeat it: a quarter stays a quarter."""
    folder = write_canonical(tmp_path / "x", size=SIZE)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned: Make = lambda pixels: as_heic(np.rot90(pixels).copy(), quality=-1, exif=exif.tobytes())  # noqa: E731
    capture = read_capture(rewritten(folder, "views", "heic", turned))
    assert np.abs(capture.views[0].rgb.astype(int) - plain.views[0].rgb).mean() < 2


def test_colours_are_of_photographs_only(tmp_path: Path, plain: Capture) -> None:
    """Depth and masks with a gamma are the same depth and masks."""
    folder = write_canonical(tmp_path / "x", size=SIZE)
    for index in range(6):
        mask = (plain.views[index].mask * 255).astype(np.uint8)
        (folder / "masks").mkdir(exist_ok=True)
        write_png(folder / f"masks/mask_{index:02d}.png", mask)
    for file in [*(folder / "depth").iterdir(), *(folder / "masks").iterdir()]:
        content = file.read_bytes()
        file.write_bytes(content[:33] + chunk(b"gAMA", struct.pack(">I", 100_000)) + content[33:])
    capture = read_capture(folder)
    for view, wanted in zip(capture.views, plain.views, strict=True):
        assert view.depth is not None
        assert wanted.depth is not None
        assert np.array_equal(view.depth, wanted.depth)
        assert np.array_equal(view.mask, wanted.mask >= 1)
    assert not any("sRGB" in warning for warning in capture.warnings)
