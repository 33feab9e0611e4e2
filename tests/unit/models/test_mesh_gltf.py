"""The Khronos validator has nothing to say about our GLBs: no errors, no warnings."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.mesh import TexturedMesh, write_glb
from tests import meshes

GLTF = Path(__file__).resolve().parents[2] / "gltf"


def validate(paths: list[Path]) -> list[dict[str, Any]]:
    """One report a file; skips where Node or the validator is not installed."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    if not (GLTF / "node_modules" / "gltf-validator").is_dir():
        pytest.skip("the validator is not installed: npm ci --prefix tests/gltf")
    command = [node, GLTF / "validate.mjs", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return [json.loads(line) for line in done.stdout.splitlines()]


def odd_sized(mesh: TexturedMesh) -> TexturedMesh:
    """A texture of 37 x 53 pixels, which is no multiple of anything."""
    texture = np.random.default_rng(1).integers(0, 256, (53, 37, 3), dtype=np.uint8)
    return replace(mesh, texture=texture, seen=np.ones((53, 37), np.bool_))


MESHES = {
    "cube": meshes.cube(0.2),
    "sphere with seams and collapsed poles": meshes.sphere(),
    "torus": meshes.torus(),
    "one chart per triangle": meshes.charts(meshes.sphere()),
    "more than 65,535 vertices": meshes.sphere(rows=200, columns=400),
    "odd texture": odd_sized(meshes.torus()),
    "metal, open": replace(meshes.torus(), faces=meshes.torus().faces[7:], uv=meshes.torus().uv[7:], metallic=1.0,
                           roughness=0.25),
    "tiny": meshes.sphere(radius=1e-5),
    "huge and far": replace(meshes.torus(), vertices=meshes.torus().vertices * 1000 + 500),
}  # fmt: skip


def test_the_validator_finds_no_errors_and_no_warnings(tmp_path: Path) -> None:
    paths = []
    for index, mesh in enumerate(MESHES.values()):
        paths.append(tmp_path / f"{index}.glb")
        write_glb(mesh, paths[-1], {"generator": "Meshdrop 1.2.3", "name": "caf\u00e9 \u202e <b>"})
    for name, report in zip(MESHES, validate(paths), strict=True):
        assert (report["numErrors"], report["numWarnings"], report["numHints"]) == (0, 0, 0), (name, report["messages"])
        allowed = {"IMAGE_NPOT_DIMENSIONS"}  # an information for WebGL 1, which needed powers of two
        assert {message["code"] for message in report["messages"]} <= allowed, name


def test_the_validator_does_find_faults(tmp_path: Path) -> None:
    """Guards the test above: a position that is no number must be reported."""
    path = tmp_path / "bad.glb"
    write_glb(meshes.torus(), path, {})
    raw = path.read_bytes()
    start = 20 + int.from_bytes(raw[12:16], "little") + 8
    path.write_bytes(raw[:start] + np.float32(np.nan).tobytes() + raw[start + 4 :])
    (report,) = validate([path])
    assert report["numErrors"] > 0
