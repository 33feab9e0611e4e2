"""A view's photograph, depth and mask as they belong together: upright, of one size, white where the object is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture import agreement, mask_files
from meshdrop.models.capture.expectation import Expectation, ViewFiles
from meshdrop.models.capture.masks import mask_from_border
from meshdrop.models.capture.turning import ViewPictures, turn, upright
from meshdrop.models.files.names import last_of
from meshdrop.models.files.problem import Findings, Problem
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.formats.sidecar import OWN_SIDECAR
from meshdrop.models.formats.stated_camera import CameraError, stated_camera
from meshdrop.models.lens.coarse import depth_as_large, mask_as_large, same_shape


@dataclass(frozen=True)
class FittedView:
    """One view's arrays, of one size: photograph (H, W, 3 or 4), depth in stated units, coverage in 0..1.

    ``mask_turn`` is EXIF's number of the turn that the mask, and not the photograph, may have been made with or
    without: its shape does not tell. 1 where none can be meant.
    """

    files: ViewFiles
    image: NDArray[np.uint8]
    depth: NDArray[Any] | None
    mask: NDArray[np.float32] | None
    mask_turn: int = 1


@dataclass(frozen=True)
class DepthNumbers:
    """What a number of depth means: ``unit_m`` metres, along the pixel's ray or along the optical axis."""

    unit_m: float
    along_ray: bool = False

    def metres(self, depth: NDArray[Any]) -> NDArray[np.float32]:
        """Along whatever is stated."""
        return (depth * np.float32(self.unit_m)).astype(np.float32)

    def planar(self, metres: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
        """Metres along the optical axis of the pinhole ``camera``."""
        return metres / camera.ray_lengths() if self.along_ray else metres


def as_cameras_see(
    views: Sequence[ViewPictures], expectation: Expectation, numbers: DepthNumbers, found: Findings
) -> tuple[ViewPictures, ...]:
    """Photographs as their cameras see them, whatever the cameras noted of how they were held."""
    frames = expectation.stated.frames
    stated = dict(zip((files.name for files in expectation.views), frames, strict=True)) if frames else {}

    def size(name: str) -> tuple[float | None, float | None]:
        said = stated[name].intrinsics if name in stated else expectation.stated.intrinsics
        return said.w, said.h

    def disagreement(read: Sequence[ViewPictures]) -> float | None:
        return _disagreement(read, expectation, numbers)

    sizes = {view.files.name: size(view.files.name) for view in views}
    ours = expectation.kind == "frames" and all(last_of(name) == OWN_SIDECAR for name in expectation.sidecars)
    turned = turn(views, "frames" if ours else expectation.layout, sizes, disagreement)
    found.warnings += [turned.told] if turned.told else []
    return turned.views


def of_one_size(views: Sequence[ViewPictures], found: Findings) -> list[FittedView]:
    """Each view's depth and mask in the size of its photograph; views in which that cannot be are odd."""
    masks, told = mask_files.coverage([None if view.mask is None else view.mask.values for view in views])
    found.warnings += [told] if told else []
    fitted, coarse = [], Counter[str]()
    for view, mask in zip(views, masks, strict=True):
        depth = None if view.depth is None else view.depth.values
        depth = _as_large(view, view.files.depth, depth, "depth", coarse, found)
        covered = _as_large(view, view.files.mask, mask, "mask", coarse, found)
        if view.files.name not in found.odd:
            fitted.append(FittedView(view.files, view.image.values, depth, covered, view.mask_turn))
    found.warnings += [
        f"{count} times {sizes}, which have the same shape: what lies between was interpolated."
        for sizes, count in coarse.items()
    ]
    return fitted


def masks_turned(views: list[FittedView], cameras: Mapping[str, Camera], found: Findings) -> list[FittedView]:
    """The views with their masks, which are turned where they mark everything but the object, or lie otherwise than
    their photographs."""
    if len(views) < 2 or not all(view.mask is not None and view.files.name in cameras for view in views):
        return views

    def outlines_agree(outlines: Sequence[NDArray[np.bool_]]) -> float | None:
        return agreement.outlines_agree([cameras[view.files.name] for view in views], outlines)

    views = _masks_laid(views, outlines_agree, found)
    why = mask_files.inverted(_masked(views), outlines_agree)
    if why is None:
        return views
    found.warnings.append(f"The masks mark what is not the object: {why}. They were turned; white means object.")
    return [replace(view, mask=None if view.mask is None else 1 - view.mask) for view in views]


def _masks_laid(
    views: list[FittedView], outlines_agree: Callable[[Sequence[NDArray[np.bool_]]], float | None], found: Findings
) -> list[FittedView]:
    """The views with masks that lie as their photographs do, where the notes of these leave that open."""
    laid = [
        view if view.mask is None or view.mask_turn == 1 else replace(view, mask=upright(view.mask, view.mask_turn))
        for view in views
    ]
    count = sum(view.mask_turn != 1 for view in views)
    why = mask_files.otherwise(_masked(views), _masked(laid), outlines_agree) if count else None
    if why is None:
        return views
    found.warnings.append(
        f"{count} mask{'s' if count > 1 else ''} of pictures with a note of how the camera was held (EXIF) lay "
        f"otherwise than the pictures and {'were' if count > 1 else 'was'} turned: {why}."
    )
    return laid


def _masked(views: Sequence[FittedView]) -> list[mask_files.MaskedView]:
    """What speaks for or against the masks of views that have one."""
    return [
        mask_files.MaskedView(view.mask, view.image[..., :3], None if view.depth is None else view.depth > 0)
        for view in views
        if view.mask is not None
    ]


def _disagreement(views: Sequence[ViewPictures], expectation: Expectation, numbers: DepthNumbers) -> float | None:
    """How badly photographs fit together under their cameras: by colours where depth tells, else by outlines."""
    frames = dict(
        zip((files.name for files in expectation.views), expectation.stated.frames or (None,) * 6, strict=False)
    )
    try:
        cameras = [
            stated_camera(
                view.files.name, frames.get(view.files.name), expectation.stated, *view.image.values.shape[1::-1]
            )
            for view in views
        ]
    except CameraError:
        return None
    images = [view.image.values for view in views]
    if all(view.depth is not None and view.depth.values.shape == view.image.values.shape[:2] for view in views):
        depths = [
            numbers.planar(numbers.metres(view.depth.values), camera)
            for view, camera in zip(views, cameras, strict=True)
            if view.depth is not None
        ]
        return agreement.colour_difference(cameras, images, depths)
    masks = [_outline(image) for image in images]
    if any(mask is None for mask in masks):
        return None
    agreed = agreement.outlines_agree(cameras, [mask for mask in masks if mask is not None])
    return None if agreed is None else 1 - agreed


def _outline(image: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """What a photograph itself says is the object: its alpha, or what is not of its backdrop's colour."""
    if image.shape[2] == 4 and image[..., 3].min() < 255:
        return np.asarray(image[..., 3] >= 128)
    keyed = mask_from_border(image[..., :3])
    return None if keyed is None else np.asarray(keyed >= 0.5)


def _as_large(
    view: ViewPictures, name: str | None, values: NDArray[Any] | None, what: str, coarse: Counter[str], found: Findings
) -> NDArray[Any] | None:
    """Depth or a mask in the size of its photograph; a view with one of another shape is odd."""
    image = view.image.values
    if values is None or values.shape == image.shape[:2]:
        return values
    if min(values.shape) > 1 and same_shape(values, image.shape[1], image.shape[0]):
        coarse[f"{what} of {_size(values)} for pictures of {_size(image)}"] += 1
        as_large = depth_as_large if what == "depth" else mask_as_large
        return as_large(values, image.shape[1], image.shape[0])
    message = f"{_size(values)} pixels, but the image {view.files.image} has {_size(image)}."
    fix = "Export depth and masks in the image's size and perspective."
    found.odd.setdefault(view.files.name, []).append(Problem("dims", name, message, fix))
    return None


def _size(pixels: NDArray[Any]) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]}"
