"""Where a mesh agrees with a view and where it does not: outlines, measured depth, colours, each for itself.

Each question forgives what is no fault of a mesh: a pixel of the outline, the noise of the sensor, the exposure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_opening, gaussian_filter

from meshdrop.models.formats.cameras import Camera
from meshdrop.models.measure.figures import ColourQuality, DepthQuality, SilhouetteQuality
from meshdrop.models.raster.numba_raster import rasterize
from meshdrop.models.surface.prefilter import depth_noise

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: An outline may be so far off: a pixel of pose error and one of the mask's own.
RIM_PX = 2
#: A mask that covers more of its picture than this tells no object from a background.
WHOLE_PICTURE = 0.98
#: Nor does one with more than this of the picture's border.
WHOLE_BORDER = 0.9
#: Sigma of the blur before colours are compared.
BLUR_PX = 1.5
#: A camera's exposure and white balance explain no more than this between two pictures of one object.
GAINS, OFFSETS = (0.5, 2.0), (-0.15, 0.15)
#: Identical pictures have an infinite PSNR, which JSON cannot hold; 8-bit rounding alone costs 59 dB.
MAX_PSNR_DB = 100.0
#: The least variance that is worth explaining: a flat colour and the noise of a camera.
FLAT = 1e-4
#: Of the noise or half a footprint that a depth may be off; of the distance, what depth cameras are untrue by.
TOLERATED, UNTRUE_SHARE = 3.0, 0.005
#: So many tolerances, and such a share of the object's size, behind the measured surface there is another one.
BEHIND, BEHIND_SHARE = 3.0, 0.05


def silhouette_quality(mask: Bools, covered: Bools, picture_px: int) -> SilhouetteQuality | None:
    """The mask against what the mesh covers; ``picture_px`` has the whole picture, of which these may be a part.

    None where the mask is empty, covers the picture or goes all around its border: then it tells nothing of an object.
    """
    there = int(mask.sum())
    if not there or there > WHOLE_PICTURE * picture_px or (mask.size == picture_px and _goes_around(mask)):
        return None
    missing = int((mask & ~_widened(covered)).sum())
    surplus = int((covered & ~_widened(mask)).sum())
    union = int((mask | covered).sum())
    return SilhouetteQuality(
        object_px=there,
        missing_px=missing,
        surplus_px=surplus,
        missing_share=missing / there,
        surplus_share=surplus / there,
        rim_iou=1.0 - (missing + surplus) / union,
    )


def coverage(
    asked: Bools, covered: Bools, inside: Bools | None, depth: tuple[Floats, Floats] | None, behind_m: float
) -> float | None:
    """How much of the object is there: the share of the pixels ``asked`` for at which the mesh is and no hole shows its
    far side. That is told by ``inside``, where the back of a triangle is seen (None where a mesh may be open), and by
    depth: where it was measured, the mesh lies no more than ``behind_m`` behind it.

    ``depth`` is the measured and the rendered one in metres. What lacks in lines of a pixel or two is forgiven: edges
    inside of an outline are no better known than the outline. None where nothing is asked for.
    """
    if not asked.any():
        return None
    gone = asked & ~_widened(covered)
    if inside is not None:
        gone |= asked & inside
    if depth is not None:
        measured, rendered = depth
        gone |= asked & covered & (measured > 0) & (rendered - measured > behind_m)
    return 1.0 - int((binary_opening(gone, np.ones((3, 3), np.bool_)) & asked).sum()) / int(asked.sum())


def backs_seen(camera: Camera, vertices: Floats, faces: NDArray[np.int32]) -> Bools:
    """(H, W): where the nearest triangle turns its back on the camera. It winds counter-clockwise seen from outside."""
    seen = rasterize(camera, vertices, faces).face
    corners = vertices.astype(np.float64)[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    away = ((corners[:, 0] - camera.centre) * normals).sum(axis=1) > 0
    return np.asarray(np.where(seen >= 0, away[seen], False))


def another_surface_m(depth: DepthQuality | None, size_m: float) -> float:
    """How far behind a measured surface of a view what is rendered must be the far side of the object."""
    return max(BEHIND_SHARE * size_m, 0.0 if depth is None else BEHIND * depth.tolerance_mm / 1000.0)


def _goes_around(mask: Bools) -> bool:
    """Whether there is next to no background along the picture's border, as with masks that mark the background."""
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return bool(border.mean() > WHOLE_BORDER)


def _widened(outline: Bools) -> Bools:
    reach = np.arange(-RIM_PX, RIM_PX + 1)
    return np.asarray(binary_dilation(outline, np.hypot(reach[:, None], reach) <= RIM_PX + 0.5))


def depth_quality(
    measured: Floats, rendered: Floats, mask: Bools, covered: Bools, camera: Camera, size_m: float
) -> DepthQuality | None:
    """Errors of planar depth (metres, 0 = nothing) inside ``mask``, where the mesh covers the pixel too.

    ``size_m`` is the diagonal of the mesh's bounding box. None when nothing was measured on the object or the mesh
    covers none of it.
    """
    known = mask & (measured > 0)
    both = known & covered & (rendered > 0)
    if not both.any():
        return None
    signed = (rendered[both].astype(np.float64) - measured[both]) * 1000.0
    error = np.abs(signed)
    median = float(np.median(error))
    far_mm = float(np.median(measured[known])) * 1000.0
    resolution = max(1000.0 * depth_noise(measured, mask.astype(np.float32)), 0.5 * far_mm / max(camera.fx, camera.fy))
    tolerance = max(TOLERATED * resolution, UNTRUE_SHARE * far_mm)
    return DepthQuality(
        pixels=int(both.sum()),
        compared_share=int(both.sum()) / int(known.sum()),
        median_mm=median,
        p95_mm=float(np.quantile(error, 0.95)),
        bias_mm=float(np.median(signed)),
        within_1mm=float((error <= 1.0).mean()),
        within_2mm=float((error <= 2.0).mean()),
        within_5mm=float((error <= 5.0).mean()),
        median_share_of_size=median / 1000.0 / size_m,
        resolution_mm=resolution,
        tolerance_mm=tolerance,
        within_tolerance=float((error <= tolerance).mean()),
    )


def colour_quality(photo: Floats, rendered: Floats, both: Bools) -> ColourQuality | None:
    """Two pictures (H, W, 3), sRGB 0..1, over the pixels that show the object in ``both``; None without any."""
    if not both.any():
        return None
    wanted, given = (_blurred(picture, both)[both] for picture in (photo, rendered))
    gain, offset = _exposure(given, wanted)
    error = float(np.mean((given * gain + offset - wanted) ** 2))
    variance = float(np.mean((wanted - wanted.mean(axis=0)) ** 2))
    return ColourQuality(
        pixels=int(both.sum()),
        psnr_db=MAX_PSNR_DB if error == 0 else min(MAX_PSNR_DB, float(-10 * np.log10(error))),
        explained=max(-1.0, 1.0 - error / max(variance, FLAT)),
        gain=_three(gain),
        offset=_three(offset),
    )


def _three(values: Doubles) -> tuple[float, float, float]:
    red, green, blue = values.tolist()
    return red, green, blue


def _blurred(picture: Floats, inside: Bools) -> Doubles:
    """Smoothed by ``BLUR_PX`` over the pixels ``inside`` alone: what lies beside them does not bleed in."""
    weight = gaussian_filter(inside.astype(np.float64), BLUR_PX, mode="constant", truncate=3)
    kept = np.where(inside[..., None], picture, 0.0).astype(np.float64)
    smooth = gaussian_filter(kept, (BLUR_PX, BLUR_PX, 0), mode="constant", truncate=3)
    return np.asarray(smooth / np.maximum(weight, 1e-6)[..., None])


def _exposure(given: Doubles, wanted: Doubles) -> tuple[Doubles, Doubles]:
    """The gain and offset (3,) within their bounds that bring ``given`` (N, 3) nearest to ``wanted``, channel by
    channel, by least squares."""
    mean_given, mean_wanted = given.mean(axis=0), wanted.mean(axis=0)
    centred = given - mean_given
    variance = (centred**2).mean(axis=0)
    covariance = (centred * (wanted - mean_wanted)).mean(axis=0)
    flat = variance < 1e-9
    gain = np.where(flat, 1.0, covariance / np.where(flat, 1.0, variance)).clip(*GAINS)
    offset = (mean_wanted - gain * mean_given).clip(*OFFSETS)
    # where the offset met its bound, the gain that is best beside it
    bound = (offset == OFFSETS[0]) | (offset == OFFSETS[1])
    beside = (given * (wanted - offset)).mean(axis=0) / np.maximum((given**2).mean(axis=0), 1e-12)
    return np.where(bound, beside.clip(*GAINS), gain), offset
