"""The Khronos validator has nothing to say about our GLBs: no errors, no warnings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from meshdrop.models.mesh.gltf_engines import ValidatorReply, engine
from meshdrop.models.mesh.gltf_validation import MISSING
from meshdrop.models.mesh.mesh import TexturedMesh, write_glb
from tests import meshes


def validate(paths: list[Path]) -> list[ValidatorReply]:
    """One judgement a file; skips where no engine is installed."""
    found = engine()
    if found is None:
        pytest.skip(MISSING)
    return [found.judge(path) for path in paths]


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
    "metal, open": replace(
        meshes.torus(), faces=meshes.torus().faces[7:], uv=meshes.torus().uv[7:], metallic=1.0, roughness=0.25
    ),
    "tiny": meshes.sphere(radius=1e-5),
    "huge and far": replace(meshes.torus(), vertices=meshes.torus().vertices * 1000 + 500),
}


def test_the_validator_finds_no_errors_and_no_warnings(tmp_path: Path) -> None:
    paths = []
    for index, mesh in enumerate(MESHES.values()):
        paths.append(tmp_path / f"{index}.glb")
        write_glb(mesh, paths[-1], {"generator": "Meshdrop 1.2.3", "name": "caf\u00e9 \u202e <b>", "digest": None})
    for name, judgement in zip(MESHES, validate(paths), strict=True):
        errors, warnings, _, hints = judgement.counts
        assert (errors, warnings, hints) == (0, 0, 0), (name, judgement.messages)
        allowed = {"IMAGE_NPOT_DIMENSIONS"}  # an information for WebGL 1, which needed powers of two
        assert {message["code"] for message in judgement.messages} <= allowed, name
