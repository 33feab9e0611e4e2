"""A unit that is stated wrongly is measured, whatever it is, and named in the line that cures it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meshdrop.models.probe.inspection import inspect
from tests import formats
from tests.formats import odd_rig
from tests.unit.models.synthetic import write_png


def recounted(folder: Path, unit_m: float) -> None:
    """The same depth in counts of another unit; a millimetre is what it was."""
    for file in (folder / "depth").iterdir():
        counts = np.asarray(Image.open(file)).astype(float)
        write_png(file, np.rint(counts * 0.001 / unit_m).clip(0, 65535).astype(np.uint16))


@pytest.mark.parametrize("unit_mm", [0.25, 0.5, 0.125, 0.0417, 3.1, 17.0])
def test_a_depth_unit_that_nobody_uses_is_measured_and_named(tmp_path: Path, unit_mm: float) -> None:
    """A RealSense L515 counts quarters of a millimetre. Read as millimetres nothing agrees."""
    formats.instant_ngp(tmp_path, odd_rig())
    recounted(tmp_path, unit_mm / 1000)
    (problem,) = inspect(tmp_path).problems
    assert problem.code == "convention"
    found = re.search(r"if one count is ([0-9.e-]+) mm\.", problem.message)
    assert found is not None, problem.message
    assert float(found[1]) == pytest.approx(unit_mm, rel=0.03)
    line = re.search(r"\{.*\}", problem.fix)
    assert line is not None
    (tmp_path / "capture.json").write_text(line[0])
    assert inspect(tmp_path).ok


@pytest.mark.parametrize("units_a_metre", [2.5, 0.137, 31.0])
def test_the_scale_of_a_colmap_model_is_measured_by_depth(tmp_path: Path, units_a_metre: float) -> None:
    rig = []
    for name, camera in odd_rig():
        c2w = camera.c2w.copy()
        c2w[:3, 3] *= units_a_metre
        rig.append((name, replace(camera, c2w=c2w)))
    formats.colmap_binary(tmp_path, odd_rig())
    (tmp_path / "sparse/0/images.bin").write_bytes(formats.images_bin(formats.colmap_images(rig)))
    (problem,) = inspect(tmp_path).problems
    line = re.search(r"\{.*\}", problem.fix)
    assert line is not None, problem.fix
    assert json.loads(line[0])["applied_scale"] == pytest.approx(units_a_metre, rel=0.03)
    (tmp_path / "capture.json").write_text(line[0])
    assert inspect(tmp_path).ok
    other = re.search(r'"depth_unit_m": [0-9.e-]*[0-9]', problem.fix)  # of a sensor with counts of its own
    assert other is not None, problem.fix
    (tmp_path / "capture.json").write_text("{" + other[0] + "}")
    assert inspect(tmp_path).ok
