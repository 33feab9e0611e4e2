"""The differentiable rasteriser on the CPU: torch's autograd around compiled loops (see ``differentiable.Raster``).

Pictures, or bands of their rows, are drawn by as many threads as torch may use; the loops hold no interpreter lock.
Sums over pictures are made in a fixed order, so the same inputs and number of threads give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils.weak import WeakTensorKeyDictionary

from meshdrop.models.raster import contract, cpu_antialias, cpu_interpolate, cpu_rasterize, cpu_texture
from meshdrop.models.raster.edges import far_corners

Array = NDArray[Any]

FLOATS = (torch.float32, torch.float64)


class NumbaRaster:
    """``differentiable.Raster`` on the CPU, in float32 or float64. Compiles its loops once a machine (some seconds)."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self._opposite = WeakTensorKeyDictionary()

    def rasterize(self, clip: Tensor, faces: Tensor, size: tuple[int, int]) -> Tensor:
        """See ``differentiable.Raster.rasterize``."""
        contract.check_rasterize(clip, faces, size, FLOATS)
        _check_range(faces, clip.shape[1])
        return _apply(_Rasterize, clip, faces, size)

    def interpolate(self, attribute: Tensor, fragments: Tensor, faces: Tensor) -> Tensor:
        """See ``differentiable.Raster.interpolate``."""
        contract.check_interpolate(attribute, fragments, faces, FLOATS)
        _check_range(faces, attribute.shape[-2])
        return _apply(_Interpolate, _one_or_each(attribute, 3), fragments, faces)

    def texture(self, image: Tensor, uv: Tensor) -> Tensor:
        """See ``differentiable.Raster.texture``."""
        contract.check_texture(image, uv, FLOATS)
        return _apply(_Texture, _one_or_each(image, 4), uv)

    def antialias(self, colour: Tensor, fragments: Tensor, clip: Tensor, faces: Tensor) -> Tensor:
        """See ``differentiable.Raster.antialias``."""
        contract.check_antialias(colour, fragments, clip, faces, FLOATS)
        _check_range(faces, clip.shape[1])
        if faces not in self._opposite:
            self._opposite[faces] = far_corners(_array(faces))
        return _apply(_Antialias, colour, fragments, clip, faces, self._opposite[faces])


class _Rasterize(Function):
    @staticmethod
    def forward(ctx: Any, clip: Tensor, faces: Tensor, size: tuple[int, int]) -> Tensor:
        corners, triangles = _array(clip), _array(faces)
        scale = np.array([1, size[1] * cpu_rasterize.HALF, size[0] * cpu_rasterize.HALF], corners.dtype)
        fragments = np.empty((len(corners), *size, 4), corners.dtype)
        _by_rows(
            fragments, lambda k, top, end: cpu_rasterize.draw(corners[k], triangles, scale, top, end, fragments[k])
        )
        drawn = torch.from_numpy(fragments)
        ctx.save_for_backward(clip, faces, drawn)
        return drawn

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        corners, triangles, fragments = map(_array, ctx.saved_tensors)
        given, pulled = _array(gradient), np.zeros_like(corners)
        _for_each(
            len(corners),
            lambda k: cpu_rasterize.draw_gradient(corners[k], triangles, fragments[k], given[k], pulled[k]),
        )
        return torch.from_numpy(pulled), None, None


class _Interpolate(Function):
    @staticmethod
    def forward(ctx: Any, attribute: Tensor, fragments: Tensor, faces: Tensor) -> Tensor:
        ctx.save_for_backward(attribute, fragments, faces)
        values, drawn, triangles = _array(attribute), _array(fragments), _array(faces)
        out = np.empty((*drawn.shape[:3], values.shape[-1]), values.dtype)
        _by_rows(
            out, lambda k, top, end: cpu_interpolate.interpolate(_of(values, k), drawn[k], triangles, top, end, out[k])
        )
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        values, drawn, triangles = map(_array, ctx.saved_tensors)
        given = _array(gradient)
        to_attribute = to_fragments = None
        if ctx.needs_input_grad[0]:
            to_attribute = _scattered(
                values,
                len(drawn),
                lambda k, out: cpu_interpolate.attribute_gradient(drawn[k], triangles, given[k], out),
            )
        if ctx.needs_input_grad[1]:
            pulled = np.empty_like(drawn)
            _by_rows(
                pulled,
                lambda k, top, end: cpu_interpolate.barycentric_gradient(
                    _of(values, k), drawn[k], triangles, given[k], top, end, pulled[k]
                ),
            )
            to_fragments = torch.from_numpy(pulled)
        return to_attribute, to_fragments, None


class _Texture(Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, uv: Tensor) -> Tensor:
        ctx.save_for_backward(image, uv)
        texels, places = _array(image), _array(uv)
        out = np.empty((*places.shape[:3], texels.shape[-1]), texels.dtype)
        _by_rows(out, lambda k, top, end: cpu_texture.texture(_of(texels, k), places[k], top, end, out[k]))
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        texels, places = map(_array, ctx.saved_tensors)
        given = _array(gradient)
        to_image = to_uv = None
        if ctx.needs_input_grad[0]:
            to_image = _scattered(
                texels, len(places), lambda k, out: cpu_texture.image_gradient(places[k], given[k], out)
            )
        if ctx.needs_input_grad[1]:
            pulled = np.empty_like(places)
            _by_rows(
                pulled,
                lambda k, top, end: cpu_texture.uv_gradient(_of(texels, k), places[k], given[k], top, end, pulled[k]),
            )
            to_uv = torch.from_numpy(pulled)
        return to_image, to_uv


class _Antialias(Function):
    @staticmethod
    def forward(ctx: Any, colour: Tensor, fragments: Tensor, clip: Tensor, faces: Tensor, opposite: Array) -> Tensor:
        ctx.save_for_backward(colour, fragments, clip, faces)
        plain, drawn, corners, triangles = map(_array, (colour, fragments, clip, faces))
        out = plain.copy()
        ctx.blends = _for_each(
            len(plain), lambda k: cpu_antialias.blend(plain[k], drawn[k], corners[k], triangles, opposite, out[k])
        )
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, None, None]:
        plain, drawn, corners, triangles = map(_array, ctx.saved_tensors)
        given = _array(gradient)
        to_colour, to_clip = given.copy(), np.zeros_like(corners)

        def pull(k: int) -> None:
            pairs, weights = ctx.blends[k]
            cpu_antialias.blend_gradient(
                plain[k], drawn[k], corners[k], triangles, pairs, weights, given[k], to_colour[k], to_clip[k]
            )

        _for_each(len(plain), pull)
        return torch.from_numpy(to_colour), None, torch.from_numpy(to_clip), None, None


def _apply(function: type[Function], *arguments: Any) -> Tensor:
    result: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


def _array(tensor: Tensor) -> Array:
    """The tensor's own memory, or a copy where its elements do not lie in a row."""
    array: Array = tensor.detach().contiguous().numpy()
    return array


def _one_or_each(table: Tensor, sides: int) -> Tensor:
    """A table that all pictures share as (1, ...), one for each as (N, ...)."""
    return table if table.ndim == sides else table[None]


def _of(table: Array, picture: int) -> Array:
    """One picture's part of a table that has one part for all pictures or one for each."""
    part: Array = table[picture % len(table)]
    return part


def _check_range(faces: Tensor, count: int) -> None:
    low, high = (int(bound) for bound in torch.aminmax(faces))
    if low < 0 or high >= count:
        raise ValueError(f"faces name vertices {low}..{high}, but there are {count}")


def _scattered(like: Array, pictures: int, add: Callable[[int, Array], None]) -> Tensor:
    """The gradient of a table (1 or ``pictures``, ...), to whose parts ``add(picture, part)`` adds.

    A part that all pictures share is filled by several threads at once, each into its own copy.
    """
    if len(like) == pictures:
        out = np.zeros_like(like)
        _for_each(pictures, lambda k: add(k, out[k]))
        return torch.from_numpy(out)
    copies = np.zeros((min(pictures, torch.get_num_threads()), *like.shape[1:]), like.dtype)

    def fill(copy: int) -> None:
        for k in range(copy, pictures, len(copies)):
            add(k, copies[copy])

    _for_each(len(copies), fill)
    return torch.from_numpy(copies).sum(0, keepdim=True)


def _by_rows(pictures: Array, work: Callable[[int, int, int], None]) -> None:
    """Call ``work(picture, top, end)`` for bands of rows of ``pictures`` (N, H, ...), one band a thread at least."""
    count, height = pictures.shape[:2]
    bands = min(height, -(-torch.get_num_threads() // count))
    _for_each(
        count * bands,
        lambda job: work(job // bands, job % bands * height // bands, (job % bands + 1) * height // bands),
    )


def _for_each(count: int, work: Callable[[int], Any]) -> list[Any]:
    """``work`` of 0 to ``count`` - 1, done by as many threads as torch may use."""
    return list(_threads(torch.get_num_threads()).map(work, range(count)))


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "raster")
