"""The texture and the mask of what was seen, read back."""

from __future__ import annotations

import numpy as np

from meshdrop.models.mesh.delivered import DeliveredMesh
from meshdrop.models.mesh.errors import MeshError
from meshdrop.models.mesh.mesh import decode_picture


def check(files: DeliveredMesh) -> None:
    """The GLB's own texture, with something in it, and a mask of its size. One colour is something where cameras saw
    it: things of one colour are photographed too."""
    texture = decode_picture(files.raw["texture.png"], "texture.png")
    if not np.array_equal(files.glb.texture, texture):
        raise MeshError("the texture inside mesh.glb is not the one in texture.png")
    if files.seen.shape != texture.shape[:2]:
        raise MeshError("texture_seen.png has another size than texture.png")
    if (texture == texture[0, 0]).all() and not files.seen.any():
        raise MeshError(f"texture.png is one single colour, {texture[0, 0].tolist()}: nothing was baked into it")
