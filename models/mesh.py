"""TexturedMesh: what every model returns and every file is written from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TexturedMesh:
    """Triangles with one UV atlas and one base-colour texture.

    ``vertices`` (V, 3) float32, metres, capture frame (+Y up in the canonical world). ``faces`` (F, 3) int32,
    counter-clockwise seen from outside. ``uv`` (F, 3, 2) float32 per face corner, in [0, 1], **v up** (v = 0 is the
    bottom row of the texture, as in OBJ; GLB is flipped on writing). ``texture`` (H, W, 3) uint8 sRGB, row 0 on top.
    ``seen`` (H, W) bool, True where a camera saw the surface of that texel; False texels were filled in.
    ``roughness`` and ``metallic`` are constant factors in 0..1.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]
    texture: NDArray[np.uint8]
    seen: NDArray[np.bool_]
    roughness: float = 1.0
    metallic: float = 0.0
