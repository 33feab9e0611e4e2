"""From the arrays of a mesh file to a shaded picture: atlas, tangents, rasteriser and shading agree on directions."""

from __future__ import annotations

import numpy as np
import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn.functional import normalize  # noqa: E402

from meshdrop.models.formats.cameras import canonical_camera  # noqa: E402
from meshdrop.models.mesh.pbr import Material  # noqa: E402
from meshdrop.models.mesh.tangents import tangent_frames  # noqa: E402
from meshdrop.models.nvdiffrec.light import LightFilter  # noqa: E402
from meshdrop.models.nvdiffrec.material import from_file  # noqa: E402
from meshdrop.models.nvdiffrec.shading import brdf_table, decode_normal, facing_viewer, shade, shading_normal  # noqa: E402
from meshdrop.models.raster.torch_numba import NumbaRaster  # noqa: E402
from tests import meshes  # noqa: E402
from tests.unit.models.nvdiffrec.lightmap import texel_directions  # noqa: E402
from tests.unit.models.raster.scenes import to_clip, triangles  # noqa: E402

RADIUS = 0.4


@pytest.fixture(scope="module")
def table() -> Tensor:
    return brdf_table()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("view", ["front", "right", "top"])
def test_a_drawn_ball_is_shaded_like_the_true_one(table: Tensor, view: str, mirrored: bool) -> None:
    """A ball under a coloured gradient; its normal texture tilts every normal by the same angle to the east and north.

    On the true ball normal, east and north are known at every point, so the picture is too.
    """
    mesh = meshes.sphere(RADIUS, rows=65, columns=128).cleaned()
    uv = mesh.uv * np.array([-1, 1], np.float32) + np.array([1, 0], np.float32) if mirrored else mesh.uv
    # u of this ball runs east, in its mirror image west; v, up in the image, runs north
    tilt = np.array([153, 178, 230], np.uint8)
    texel = np.array([[[102 if mirrored else 153, 178, 230]]], np.uint8)
    kd, orm = np.full((1, 1, 3), 200, np.uint8), np.array([[[255, 128, 77]]], np.uint8)
    textures = from_file(Material(kd, orm, texel))
    camera = canonical_camera(view, 48, 48)
    environment = LightFilter.build(16, 32).apply(
        1 + 0.8 * texel_directions(16, 32).float() @ torch.tensor([[0.9, -0.4, 0.1], [0.2, 0.7, -0.5], [0.3, 0.4, 0.8]])
    )

    raster, faces = NumbaRaster(), triangles(mesh.faces)
    frames = tangent_frames(mesh.vertices, mesh.faces, uv, mesh.vertex_normals())
    corner_faces = torch.from_numpy(frames.faces)
    clip = torch.from_numpy(to_clip(mesh.vertices.astype(np.float64), [camera]).astype(np.float32))
    fragments = raster.rasterize(clip, faces, (48, 48))

    def drawn(attribute: np.ndarray, indices: Tensor) -> Tensor:
        return raster.interpolate(torch.from_numpy(attribute), fragments, indices)

    at = drawn(np.stack([frames.uv[:, 0], 1 - frames.uv[:, 1]], axis=1), corner_faces)
    point, tangent = drawn(mesh.vertices, faces), drawn(frames.tangent, corner_faces)
    towards = normalize(torch.from_numpy(camera.centre.astype(np.float32)) - point, dim=-1)
    bump = decode_normal(raster.texture(textures.normal, at))
    normal = facing_viewer(shading_normal(drawn(mesh.vertex_normals(), faces), tangent, bump), point, towards)
    kd_seen, orm_seen = raster.texture(textures.kd, at), raster.texture(textures.orm, at)
    colour = shade(environment, table, kd_seen, orm_seen, normal, towards)

    true = normalize(point, dim=-1)
    east = normalize(torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]).expand_as(true), true), dim=-1)
    lean = torch.from_numpy(tilt / np.float32(127.5) - 1)
    expected_normal = normalize(lean[0] * east + lean[1] * torch.linalg.cross(true, east) + lean[2] * true, dim=-1)
    expected = shade(environment, table, kd_seen, orm_seen, expected_normal, towards)
    # next to the poles the texture's east turns within one triangle
    inside = (fragments[..., 3] > 0) & (true[..., 1].abs() < 0.98)
    assert inside.sum() > 500
    assert (normal * expected_normal).sum(dim=-1)[inside].min() > np.cos(np.radians(1))
    assert (colour - expected)[inside].abs().max() < 0.01
