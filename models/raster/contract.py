"""What the four operations ask of their arguments, for every implementation alike."""

from __future__ import annotations

import torch
from torch import Tensor

#: Face numbers travel as float32 in the fragments; above this they would no longer be whole.
MOST_FACES = 1 << 24


def check_rasterize(clip: Tensor, faces: Tensor, size: tuple[int, int], floats: tuple[torch.dtype, ...]) -> None:
    """Raises ``ValueError`` for anything that ``Raster.rasterize`` does not take; ``floats`` are the dtypes it does."""
    _check("clip", clip, ("N", "V", 4), floats)
    _check_faces(faces, clip)
    if min(size) < 1:
        raise ValueError(f"size is {size}, expected a height and a width of 1 or more")


def check_interpolate(attribute: Tensor, fragments: Tensor, faces: Tensor, floats: tuple[torch.dtype, ...]) -> None:
    """Raises ``ValueError`` for anything that ``Raster.interpolate`` does not take."""
    _check("fragments", fragments, ("N", "H", "W", 4), floats)
    _check("attribute", attribute, ("N", "V", "C") if attribute.ndim == 3 else ("V", "C"), (fragments.dtype,))
    _check_faces(faces, fragments)
    _check_together("attribute", attribute, "fragments", fragments)
    if attribute.ndim == 3 and len(attribute) != len(fragments):
        raise ValueError(f"attribute is for {len(attribute)} pictures, the fragments are of {len(fragments)}")


def check_texture(image: Tensor, uv: Tensor, floats: tuple[torch.dtype, ...]) -> None:
    """Raises ``ValueError`` for anything that ``Raster.texture`` does not take."""
    _check("uv", uv, ("N", "H", "W", 2), floats)
    _check("image", image, ("N", "h", "w", "C") if image.ndim == 4 else ("h", "w", "C"), (uv.dtype,))
    _check_together("image", image, "uv", uv)
    if image.ndim == 4 and len(image) != len(uv):
        raise ValueError(f"image is for {len(image)} pictures, uv is of {len(uv)}")


def check_antialias(
    colour: Tensor, fragments: Tensor, clip: Tensor, faces: Tensor, floats: tuple[torch.dtype, ...]
) -> None:
    """Raises ``ValueError`` for anything that ``Raster.antialias`` does not take."""
    _check("fragments", fragments, ("N", "H", "W", 4), floats)
    _check("colour", colour, ("N", "H", "W", "C"), (fragments.dtype,))
    _check("clip", clip, ("N", "V", 4), (fragments.dtype,))
    _check_faces(faces, fragments)
    _check_together("colour", colour, "fragments", fragments)
    _check_together("clip", clip, "fragments", fragments)
    if colour.shape[:3] != fragments.shape[:3] or len(clip) != len(fragments):
        raise ValueError(
            f"colour {tuple(colour.shape)}, fragments {tuple(fragments.shape)} and clip {tuple(clip.shape)} are not "
            f"of the same pictures"
        )


def _check_faces(faces: Tensor, beside: Tensor) -> None:
    _check("faces", faces, ("F", 3), (torch.int32,))
    _check_together("faces", faces, "the others", beside)
    if len(faces) > MOST_FACES:
        raise ValueError(f"{len(faces):,} faces are more than the {MOST_FACES:,} that fragments can tell apart")


def _check_together(name: str, tensor: Tensor, other: str, beside: Tensor) -> None:
    if tensor.device != beside.device:
        raise ValueError(f"{name} lies on {tensor.device}, {other} on {beside.device}")


def _check(name: str, tensor: Tensor, shape: tuple[str | int, ...], dtypes: tuple[torch.dtype, ...]) -> None:
    """``shape`` holds a number where the side must be just that, and a letter where it may be anything above 0."""
    fits = tensor.ndim == len(shape) and all(
        have == want if isinstance(want, int) else have > 0 for want, have in zip(shape, tensor.shape, strict=True)
    )
    if not fits or tensor.dtype not in dtypes:
        kinds = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        sides = ", ".join(map(str, shape))
        kind = str(tensor.dtype).removeprefix("torch.")
        raise ValueError(f"{name} is {kind} {tuple(tensor.shape)}, expected {kinds} ({sides})")
