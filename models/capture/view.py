"""One view of a capture: what in its pictures is the object, its colour there, and whether they show anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.expectation import ViewFiles
from meshdrop.models.capture.fitting import DepthNumbers, FittedView
from meshdrop.models.capture.masks import (
    background_colour,
    mask_from_border,
    mask_from_depth,
    soft_edges,
    straight_colour,
)
from meshdrop.models.files.problem import Findings
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.lens.undone import LensesUndone

MaskSource = Literal["file", "alpha", "depth", "border"]

#: A mask with less than this many object pixels, or less than this many background pixels, shows no object.
FEWEST_MASK_PIXELS = 16


#: How masks come with a capture of each format that has a place for them; white means object.
MASKS_GO = {
    "canonical": "masks/mask_XX.png, ",
    "transforms": 'a mask for each picture (white means object) and name it under "mask_path", ',
    "colmap": "masks (white means object) in masks/, called like the pictures, ",
    "llff": "masks (white means object) in masks/, called like the pictures, ",
    "polycam": "masks (white means object) in keyframes/masks/, called like the pictures, ",
    "rig": "masks (white means object) in masks/, called like the pictures, ",
    "bop": "masks (white means object) in mask/, ",
}


@dataclass(frozen=True)
class View:
    """One photograph with its camera: a pinhole, for a lens is undone in all three pictures.

    ``rgb`` (H, W, 3) uint8, sRGB, not multiplied by alpha: at soft edges it is the object's own colour, so that
    ``rgb * mask + background * (1 - mask)`` is the photograph over any background. Where ``mask`` is 0 it is whatever
    the file holds (for RGBA images: the object's colour for 3 pixels, then the hidden colour) and means nothing.
    ``mask`` (H, W) float32, coverage of the object in 0..1 (binary masks hold 0 and 1). ``depth`` (H, W) float32,
    planar z in metres, 0 where nothing was measured, not cut by the mask; None when the view has no depth.
    """

    name: str
    camera: Camera
    rgb: NDArray[np.uint8]
    mask: NDArray[np.float32]
    depth: NDArray[np.float32] | None
    mask_source: MaskSource


def read_view(
    fitted: FittedView, camera: Camera | None, numbers: DepthNumbers, lenses: LensesUndone, layout: str, found: Findings
) -> View | None:
    """The view through ``camera`` with its lens undone, or None after noting what is odd about it; ``numbers`` says
    what those of depth mean, and ``layout`` where masks would go.
    """
    seen = Findings(warnings=found.warnings)
    view = _view(fitted, camera, numbers, lenses, layout, seen)
    if seen.problems:
        found.odd.setdefault(fitted.files.name, []).extend(seen.problems)
    return view


def refuse_copies(views: Sequence[FittedView], found: Findings) -> None:
    """One picture, many times, is no capture."""
    if len(views) > 1 and all(np.array_equal(views[0].image, view.image) for view in views[1:]):
        message = f"All {len(views)} images are the same picture."
        fix = "Check that the rig moves, or that every camera writes its own file."
        found.report("semantic", views[0].files.image, message, fix)


def _view(
    fitted: FittedView, camera: Camera | None, numbers: DepthNumbers, lenses: LensesUndone, layout: str, found: Findings
) -> View | None:
    files = fitted.files
    _check_light(files, fitted.image, found)
    if fitted.depth is not None:
        _check_depth(files, fitted.depth, found)
    masked = None if found.problems else _mask(fitted, layout, found)
    if masked is None or camera is None:
        return None
    rgb, mask, source = masked
    depth = None if fitted.depth is None else numbers.metres(fitted.depth)
    # Undoing a lens moves a pixel together with its ray: the pinhole's rays are those that were measured along.
    camera, (rgb, mask, depth) = lenses.undone(files.name, camera, (rgb, mask, depth))
    depth = None if depth is None else numbers.planar(depth, camera)
    if int((mask >= 0.5).sum()) < FEWEST_MASK_PIXELS:
        fix = "Leave the view out, or aim its camera at the object."
        found.report("semantic", files.image, "The object lies where the lens's picture is cut off.", fix)
        return None
    return View(files.name, camera, rgb, mask, depth, source)


def _check_light(files: ViewFiles, image: NDArray[np.uint8], found: Findings) -> None:
    if image[..., :3].max() < 8:
        found.report("semantic", files.image, "The image is black.", "Check the lamp, the shutter and the export.")


def _check_depth(files: ViewFiles, depth: NDArray[Any], found: Findings) -> None:
    low, high = depth.min(), depth.max()
    fix = "Check the depth sensor and its export."
    if high == 0:
        found.report("semantic", files.depth, "The depth map is empty: nothing was measured in any pixel.", fix)
    elif low == high:
        found.report("semantic", files.depth, f"Every pixel of the depth map is {low:g}.", fix)


def _mask(
    fitted: FittedView, layout: str, found: Findings
) -> tuple[NDArray[np.uint8], NDArray[np.float32], MaskSource] | None:
    """(straight rgb, mask, source) by the first of: mask file, alpha, depth, border colour."""
    files, rgb = fitted.files, np.ascontiguousarray(fitted.image[..., :3])
    alpha = fitted.image[..., 3] if fitted.image.shape[2] == 4 else None
    source: MaskSource
    if fitted.mask is not None:
        mask, source, name = fitted.mask, "file", files.mask
    elif alpha is not None and alpha.min() < 255:
        mask, source, name = _share(alpha), "alpha", files.image
    elif fitted.depth is not None:
        mask, source, name = mask_from_depth(fitted.depth > 0, rgb), "depth", files.depth
    else:
        keyed = mask_from_border(rgb)
        if keyed is None:
            found.report(
                "semantic",
                files.image,
                "Nothing says what is object and what is background: no mask, no alpha, no depth, and the "
                "picture's edge is not of one colour.",
                f"Send {MASKS_GO.get(layout, '')}RGBA images or depth.",
            )
            return None
        mask, source, name = keyed, "border", files.image
    if not _mask_shows_object(mask, source, name, found):
        return None
    background = background_colour(rgb) if source in ("depth", "border") else None
    if background is not None:
        mask = soft_edges(mask, rgb, background, centres_known=source == "depth")
    return _straight(rgb, mask, source, files, found), mask, source


def _mask_shows_object(mask: NDArray[np.float32], source: MaskSource, name: str | None, found: Findings) -> bool:
    inside = int((mask >= 0.5).sum())
    says = {"file": "The mask", "alpha": "The alpha channel", "depth": "Depth", "border": "The background colour"}
    if inside < FEWEST_MASK_PIXELS:
        fix = "White (or opaque) means object: check that the object is in the picture and the mask not inverted."
        found.report("semantic", name, f"{says[source]} marks no pixel as object.", fix)
        return False
    if source != "depth" and mask.size - inside < FEWEST_MASK_PIXELS:
        fix = "Send masks, or RGBA images with the background transparent."
        if source == "file":
            fix = "Check that the mask is not inverted, and that the picture shows all of the object."
        found.report("semantic", name, f"{says[source]} marks every pixel as object.", fix)
        return False
    return True


def _straight(
    rgb: NDArray[np.uint8], mask: NDArray[np.float32], source: MaskSource, files: ViewFiles, found: Findings
) -> NDArray[np.uint8]:
    """Edge pixels freed from what was behind them, where coverage is known."""
    if source == "alpha":
        known = {"black": np.zeros(3), "white": np.full(3, 255.0)}
        colours, blended = straight_colour(rgb, mask, known)
        if blended is not None:
            found.warnings.append(
                f"{files.image}: edge colours were blended with {blended} (alpha should be straight); undone."
            )
        return colours
    background = background_colour(rgb)
    if background is None:
        return rgb
    colours, _ = straight_colour(rgb, mask, {"backdrop": background})
    return np.where(mask[..., None] > 0, colours, rgb)


def _share(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """0..255 as 0..1."""
    return np.divide(levels, 255, dtype=np.float32)
