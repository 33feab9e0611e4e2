"""Upstream's own export: what it is asked, and what its answer becomes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.reconviagen import to_glb  # noqa: E402
from tests.unit.models.reconviagen.test_model import generated  # noqa: E402


def test_its_mesh_keeps_uv_and_texture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A square of two triangles whose texture has one red texel at the top left: v is up, row 0 is on top."""
    texture = np.zeros((4, 4, 3), np.uint8)
    texture[0, 0] = 255, 0, 0
    said: dict[str, Any] = {}

    def export(cloud: str, mesh: str, **asked: Any) -> trimesh.Trimesh:
        said.update(asked, cloud=cloud, mesh=mesh, gradients=torch.is_grad_enabled(), chance=np.random.rand())
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(texture))  # type: ignore[no-untyped-call]
        uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0000001]])
        visual = trimesh.visual.TextureVisuals(uv=uv, material=material)  # type: ignore[no-untyped-call]
        corners = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
        return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)

    monkeypatch.setattr(to_glb, "as_upstream", lambda upstream, made: ("cloud", "mesh"))
    code: Any = SimpleNamespace(module=lambda name: SimpleNamespace(to_glb=export))
    before = np.random.get_state(legacy=False)["state"]["key"].copy()
    with torch.no_grad():
        mesh = to_glb.exported(code, generated(), 512, 7)
    asked = {"cloud": "cloud", "mesh": "mesh", "simplify": 0.95, "texture_size": 512, "verbose": False}
    assert said == asked | {"gradients": True, "chance": np.random.RandomState(7).rand()}
    np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], before)
    mesh.check()
    top_left = (mesh.vertices[mesh.faces] == [0, 1, 0]).all(axis=2)
    np.testing.assert_allclose(mesh.uv[top_left], [[0, 1]])
    np.testing.assert_array_equal(mesh.texture, texture)
    assert not mesh.seen.any()
