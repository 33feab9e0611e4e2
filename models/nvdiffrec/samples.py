"""What colouring a mesh that stays as it is needs to know of every sample: worked out once, used in every step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.mesh.tangents import tangent_frames
from meshdrop.models.nvdiffrec.drawing import Projected, project
from meshdrop.models.nvdiffrec.scene import Scene
from meshdrop.models.raster.differentiable import Raster

#: The camera's axes (x right, y down, z forward) as the light has them: y up, looking along -z.
TO_LIGHT = (1.0, -1.0, -1.0)
#: Views are coloured in groups of at most so many samples: what a step must remember stays small.
SAMPLES_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Samples:
    """What colouring needs to know of every sample of N pictures of a mesh that stays as it is.

    ``uv`` (N, H, W, 2) v down; ``normal`` (N, H, W, 3) smooth, of any length, and ``tangent`` (N, H, W, 4);
    ``facing`` (N, H, W, 3) the triangle's normal; ``towards`` (N, H, W, 3) unit vectors to the camera; all in the
    world. ``camera`` (N, 3, 3) takes the world's directions to those of a light that is fixed to the camera.
    """

    seen: Projected
    faces: Tensor
    uv: Tensor
    normal: Tensor
    tangent: Tensor
    facing: Tensor
    towards: Tensor
    camera: Tensor

    def only(self, views: slice | Tensor) -> Samples:
        """Some of the pictures."""
        seen = replace(
            self.seen,
            **{name: getattr(self.seen, name)[views].contiguous() for name in ("clip", "depth", "fragments", "hit")},
        )
        cut = {
            field.name: getattr(self, field.name)[views].contiguous()
            for field in fields(self)
            if field.name not in ("seen", "faces")
        }
        return replace(self, seen=seen, **cut)

    def groups(self) -> Iterator[tuple[slice, Samples]]:
        """The pictures in groups that fit into memory."""
        count, height, width = self.uv.shape[:3]
        step = max(1, SAMPLES_AT_ONCE // (height * width))
        for first in range(0, count, step):
            part = slice(first, first + step)
            yield part, self.only(part)


def samples_of(raster: Raster, scene: Scene, mesh: TexturedMesh, side: int) -> Samples:
    """The samples, ``side`` x ``side`` a pixel, of a cleaned mesh in all pictures of the scene."""
    normals = mesh.vertex_normals()
    frames = tangent_frames(mesh.vertices, mesh.faces, mesh.uv, normals)
    down = np.stack([frames.uv[:, 0], 1 - frames.uv[:, 1]], axis=1)
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])

    def on(values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(raster.device)

    vertices, faces, corner_faces = on(mesh.vertices), on(mesh.faces), on(frames.faces)
    with torch.no_grad():
        seen = project(raster, scene, vertices, faces, side)
        turn, shift = scene.camera[:, :3, :3], scene.camera[:, :3, 3]
        centre = -torch.einsum("nij,ni->nj", turn, shift)
        point = raster.interpolate(vertices, seen.fragments, faces)
        face = (seen.fragments[..., 3].long() - 1).clamp_min(0)
        return Samples(
            seen,
            faces,
            raster.interpolate(on(down.astype(np.float32)), seen.fragments, corner_faces),
            raster.interpolate(on(normals), seen.fragments, faces),
            raster.interpolate(on(frames.tangent), seen.fragments, corner_faces),
            on(across.astype(np.float32))[face],
            normalize(centre[:, None, None] - point, dim=-1),
            turn * turn.new_tensor(TO_LIGHT)[:, None],
        )
