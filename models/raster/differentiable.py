"""The differentiable rasteriser: rasterize, interpolate, texture and antialias with gradients, as one interface.

The four operations and their gradients are those of Laine et al., "Modular Primitives for High-Performance
Differentiable Rendering" (2020), section 3, with the conventions of its program nvdiffrast. Two implementations keep
the same promises: ``torch_nvdiffrast`` on CUDA and ``torch_numba`` on the CPU. Nothing heavy is imported before
``choose`` or ``best_raster`` is called.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Raster(Protocol):
    """Draws triangles so that gradients flow back into positions, attributes and textures.

    All tensors lie on ``device``. Floats are float32 (``torch_numba`` takes float64 as well, all of a call's floats
    alike), face indices int32. N pictures of H rows and W columns show V vertices and F faces. Arguments of the wrong
    shape, dtype or device raise ``ValueError``. Face indices out of range are the caller's fault: the CPU raises
    ``ValueError``, CUDA draws nothing there.
    """

    device: torch.device

    def rasterize(self, clip: Tensor, faces: Tensor, size: tuple[int, int]) -> Tensor:
        """The nearest triangle behind every pixel's centre: fragments (N, H, W, 4).

        ``clip`` (N, V, 4) are clip-space corners with **y down**: row i's centre has y / w = (2 i + 1) / H - 1,
        column j's x / w = (2 j + 1) / W - 1; w > 0 is in front of the camera, and only what lies within
        -w <= z <= w is drawn. ``faces`` (F, 3), ``size`` (H, W). A fragment holds u, v (the perspective-correct
        barycentrics of corners 0 and 1; corner 2 has 1 - u - v), z / w, and the face's number + 1 (all 0 =
        background). Both sides of a triangle are drawn, the nearest z / w wins, and triangles may cross the camera
        plane. Corners are snapped to 1/16 of a pixel to decide what is covered, so that a shared edge leaves no
        pinhole; u and v come from the corners as given. Gradients flow through u and v into x, y and w of ``clip``;
        none flow through z / w, the face number and coverage.
        """
        ...

    def interpolate(self, attribute: Tensor, fragments: Tensor, faces: Tensor) -> Tensor:
        """A vertex attribute at every pixel: (N, H, W, C), 0 on the background.

        ``attribute`` (V, C) is shared by all pictures, (N, V, C) is one each. ``faces`` (F, 3) may be another set of
        indices for the same triangles, such as the corners of a UV atlas. Gradients flow to ``attribute`` and to
        the fragments' u and v.
        """
        ...

    def texture(self, image: Tensor, uv: Tensor) -> Tensor:
        """The picture's value at every coordinate: (N, H, W, C), bilinear, clamped to the border's texels.

        ``image`` (h, w, C) is shared by all pictures, (N, h, w, C) is one each. ``uv`` (N, H, W, 2) has **v down**:
        texel (row i, column j) has its centre at u = (j + 0.5) / w, v = (i + 0.5) / h. The background is looked up
        as well, wherever its uv points. Gradients flow to ``image`` and ``uv`` (none beyond the border's centres).
        """
        ...

    def antialias(self, colour: Tensor, fragments: Tensor, clip: Tensor, faces: Tensor) -> Tensor:
        """``colour`` (N, H, W, C) with its silhouettes blended by coverage, same shape (section 3.6).

        Where two neighbours show different triangles and a silhouette edge of the nearer one passes between their
        centres, the farther pixel's colour is mixed into the pixel that the edge cuts. ``clip`` and ``faces`` must
        be those of ``rasterize``; triangles that share an edge must share its vertex indices. Gradients flow to
        ``colour`` and, as the movement of the silhouettes, to x, y and w of ``clip``. A ``faces`` tensor must not be
        changed in place afterwards: its edge table is computed once and kept.
        """
        ...


@dataclass(frozen=True)
class Choice:
    """Which implementation is used here, and why, in words for a log or the operator."""

    name: Literal["nvdiffrast", "numba"]
    reason: str


def choose() -> Choice:
    """nvdiffrast where CUDA and nvdiffrast work, else numba on the CPU. Imports torch, and raises what that raises."""
    import torch  # noqa: PLC0415 - heavy

    if not torch.cuda.is_available():
        return Choice("numba", "torch sees no CUDA device, so the CPU rasteriser draws")
    if importlib.util.find_spec("nvdiffrast") is None:
        return Choice("numba", "there is a CUDA device, but nvdiffrast is not installed, so the CPU rasteriser draws")
    try:
        importlib.import_module("nvdiffrast.torch")
    except (ImportError, OSError) as error:
        return Choice("numba", f"nvdiffrast is installed but does not load ({error}), so the CPU rasteriser draws")
    return Choice("nvdiffrast", f"nvdiffrast draws on {torch.cuda.get_device_name()}")


def best_raster() -> Raster:
    """The implementation that ``choose`` names, ready to draw on its device."""
    if choose().name == "nvdiffrast":
        from meshdrop.models.raster.torch_nvdiffrast import NvdiffrastRaster  # noqa: PLC0415 - heavy

        return NvdiffrastRaster()
    from meshdrop.models.raster.torch_numba import NumbaRaster  # noqa: PLC0415 - heavy

    return NumbaRaster()
