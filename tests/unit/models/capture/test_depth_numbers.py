"""What a number of depth means: its unit, and whether it is the distance along the pixel's ray or the optical axis."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meshdrop.models.capture.capture import CaptureError, read_capture
from meshdrop.models.capture.rig_profile import Rigs
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.formats.cameras import Camera, look_at
from meshdrop.models.probe.inspection import inspect
from meshdrop.models.probe.rig_making import make_profile
from tests import formats
from tests.unit.models.lens import test_lensed_captures as lensed
from tests.unit.models.synthetic import ANIMAL, canonical_rig, write_canonical

WIDE = [
    (
        f"v{n}",
        Camera(160, 120, 110.0, 112.0, 83.0, 58.0, look_at((math.sin(n), 0.3, math.cos(n)), (0.0, 1.0, 0.0), 0.9)),
    )
    for n in range(6)
]


def along_the_ray(file: Path, x: np.ndarray, y: np.ndarray) -> None:
    """Planar depth in ``file`` made the distance along the rays (x, y, 1)."""
    planar = np.asarray(Image.open(file)).astype(np.float64)
    Image.fromarray(np.rint(planar * np.sqrt(x**2 + y**2 + 1)).astype(np.uint16)).save(file)


def pinhole_plane(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    v, u = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    return (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy


def wide(folder: Path, write: Callable[[Path, formats.Rig], None], *, ray: bool) -> Path:
    write(folder, WIDE)
    for name, camera in WIDE if ray else []:
        along_the_ray(folder / f"depth/{name}.png", *pinhole_plane(camera))
    return folder


def state(file: Path, **more: object) -> None:
    file.write_text(json.dumps({**(json.loads(file.read_text()) if file.is_file() else {}), **more}))


@pytest.mark.parametrize(("write", "file"), [(formats.own, "capture.json"), (formats.nerfstudio, "transforms.json")])
def test_depth_along_the_ray_becomes_planar_where_that_is_stated(
    tmp_path: Path, write: Callable[[Path, formats.Rig], None], file: str
) -> None:
    folder = tmp_path / "x"
    write(folder, WIDE)
    for path in json.loads((folder / file).read_text())["frames"]:
        camera = dict(WIDE)[Path(path["file_path"]).stem]
        along_the_ray(folder / path["depth_file_path"], *pinhole_plane(camera))
    state(folder / file, depth_type="ray")
    found = inspect(folder)
    assert found.ok, found.problems
    for view, (_, camera) in zip(read_capture(folder).views, WIDE, strict=True):
        true = ANIMAL.depth(camera)
        assert view.depth is not None
        assert ((view.depth > 0) == (true > 0)).all()
        np.testing.assert_allclose(view.depth, true, atol=formats.UNIT_M)


def test_the_standard_rigs_depth_may_be_along_the_ray_too(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "x", sidecar={"depth_type": "ray"})
    for index, (_, camera) in enumerate(canonical_rig(64)):
        along_the_ray(folder / f"depth/depth_{index:02d}.png", *pinhole_plane(camera))
    for view, (_, camera) in zip(read_capture(folder).views, canonical_rig(64), strict=True):
        assert view.depth is not None
        np.testing.assert_allclose(view.depth, ANIMAL.depth(camera), atol=1e-3)


@pytest.mark.parametrize("sort", ["brown", "fisheye"])
def test_the_ray_is_that_of_the_lens(tmp_path: Path, sort: str) -> None:
    folder = tmp_path / "x"
    for name, camera in lensed.write(folder, sort).items():
        along_the_ray(folder / f"depth/{name}.png", *lensed.plane(camera, sort))
    lensed.for_all(folder, sort)
    state(folder / "transforms.json", depth_type="ray")
    lensed.assert_as_a_pinhole_sees_it(read_capture(folder))


def test_another_word_is_refused(tmp_path: Path) -> None:
    folder = write_canonical(tmp_path / "x", sidecar={"depth_type": "euclidean"})
    with pytest.raises(CaptureError) as caught:
        read_capture(folder)
    (problem,) = caught.value.problems
    assert problem.code == "sidecar"
    assert problem.message == 'depth_type is "euclidean"; it must be "planar" or "ray".'


@pytest.mark.parametrize(("ray", "stated", "cure"), [(True, "planar", "ray"), (False, "ray", "planar")])
def test_what_is_stated_wrongly_is_refused_with_the_line_that_cures_it(
    tmp_path: Path, ray: bool, stated: str, cure: str
) -> None:
    folder = wide(tmp_path / "x", formats.own, ray=ray)
    state(folder / "capture.json", depth_type=stated)
    (problem,) = inspect(folder).problems
    assert problem.code == "convention"
    assert f'{{"depth_type": "{cure}"}}' in problem.fix
    assert "times closer together" in problem.message
    state(folder / "capture.json", depth_type=cure)
    assert inspect(folder).ok


def test_what_capture_json_says_wins_over_the_file_of_cameras(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    formats.nerfstudio(folder, WIDE)
    state(folder / "transforms.json", depth_type="ray")
    state(folder / "capture.json", depth_type="planar")
    assert inspect(folder).ok


def test_a_rig_keeps_what_its_depth_is(tmp_path: Path) -> None:
    folder = wide(tmp_path / "x", formats.own, ray=True)
    state(folder / "capture.json", depth_type="ray")
    profile = make_profile("rig1", folder, CaptureLimits()).profile
    (folder / "capture.json").unlink()
    found = inspect(folder, rigs=Rigs({"rig1": profile.text}, "rig1"))
    assert found.ok, found.problems
