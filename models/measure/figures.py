"""What was measured of finished meshes, as values. The service reads this file too: nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from meshdrop.models.mesh.facts import MeshFacts


@dataclass(frozen=True)
class Topology:
    """Facts about a surface whose equal positions are welded, so that UV seams do not open it.

    ``watertight``: every edge joins exactly two triangles. ``boundary_edges`` have one triangle,
    ``non_manifold_edges`` three or more. ``non_manifold_vertices`` counts the extra sheets that touch at a vertex only.
    ``consistent_winding``: neighbours agree on which side is outside. ``components`` are joined through edges;
    ``largest_component_share`` is the largest one's part of the area, 0..1. ``genus`` (handles, summed over the
    components) and ``volume_m3`` (positive when the normals point outwards) exist for closed, consistently wound
    surfaces only. ``bounds_m`` holds the lower and the upper corner, ``size_m`` the sides of that box.
    """

    vertices: int
    faces: int
    watertight: bool
    consistent_winding: bool
    components: int
    largest_component_share: float
    boundary_edges: int
    non_manifold_edges: int
    non_manifold_vertices: int
    degenerate_faces: int
    genus: int | None
    area_m2: float
    volume_m3: float | None
    bounds_m: tuple[tuple[float, ...], tuple[float, ...]]
    size_m: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under the names above."""
        return asdict(self)


@dataclass(frozen=True)
class DepthQuality:
    """Rendered against measured depth over the pixels that have both. Lower is better for lengths, higher for shares.

    ``median_mm`` and ``p95_mm`` of the absolute error; ``bias_mm`` is the median of rendered minus measured (positive:
    the mesh lies behind the measurement). ``within_*`` are shares of the compared pixels, 0..1.
    ``compared_share`` is the part of the measured object pixels that the mesh covers. ``median_share_of_size`` is the
    median error divided by the diagonal of the mesh's bounding box.

    ``resolution_mm`` is what this view can tell at all: its measured noise, or half of a pixel's footprint where that
    is more. ``tolerance_mm`` is three times that, or half a per cent of the distance where that is more: no depth
    camera is truer. ``within_tolerance`` is the share of the compared pixels within it.
    """

    pixels: int
    compared_share: float
    median_mm: float
    p95_mm: float
    bias_mm: float
    within_1mm: float
    within_2mm: float
    within_5mm: float
    median_share_of_size: float
    resolution_mm: float
    tolerance_mm: float
    within_tolerance: float


@dataclass(frozen=True)
class SilhouetteQuality:
    """The mask against the mesh's outline, in pixels of the view, where the mask tells the object from a background.

    Pixels within ``RIM_PX`` of the other outline are forgiven: a pixel of pose error is no missing limb.
    ``missing_px`` are the object's that the mesh lacks, ``surplus_px`` the mesh's that are background; both as shares
    of ``object_px``. ``rim_iou`` is the overlap that forgives the rim: 1 is full.
    """

    object_px: int
    missing_px: int
    surplus_px: int
    missing_share: float
    surplus_share: float
    rim_iou: float


@dataclass(frozen=True)
class ColourQuality:
    """The photograph against the render where the mesh covers the object, after a ``gain`` and an ``offset`` for each
    channel of this view: exposure and white balance are no fault of a mesh.

    Both sides are blurred by ``BLUR_PX`` first, so that a texture which is a pixel off is not taken for another one.
    ``psnr_db`` of what is left over ``pixels``; ``explained`` is the share of the photograph's variance that the render
    accounts for: 1 is all of it, 0 what one flat colour would do, less is worse than that. Higher is better for both.
    """

    pixels: int
    psnr_db: float
    explained: float
    gain: tuple[float, float, float]
    offset: tuple[float, float, float]


@dataclass(frozen=True)
class ViewQuality:
    """One view's figures. PSNR in dB and SSIM: higher is better; ``silhouette_iou`` 0..1: higher is better.

    ``held_out`` views were not used to make the mesh and are worth more. Masked figures are None when the view shows
    no object, ``depth`` when nothing was measured or nothing of it is covered. ``unseen_share`` is the part of the
    rendered object, 0..1, whose texture was filled in. ``silhouette`` is None where the mask tells nothing: it is
    empty, covers the whole picture, or the capture is of a scene. ``colour`` is None where the mesh covers nothing of
    the object. ``coverage`` is the share of the object's pixels at which the mesh is, 0..1; in a scene of the measured
    ones. ``depth_elsewhere``: depth was measured beside the object, and nowhere on it.
    """

    name: str
    held_out: bool
    psnr_masked_db: float | None
    ssim_masked: float | None
    psnr_whole_db: float
    ssim_whole: float
    silhouette_iou: float
    unseen_share: float | None
    depth: DepthQuality | None
    silhouette: SilhouetteQuality | None = None
    colour: ColourQuality | None = None
    coverage: float | None = None
    depth_elsewhere: bool = False


@dataclass(frozen=True)
class MeanQuality:
    """Means of the per-view figures over the ``views`` that have them; None where no view has one."""

    views: int
    psnr_masked_db: float | None
    ssim_masked: float | None
    psnr_whole_db: float | None
    ssim_whole: float | None
    silhouette_iou: float | None
    unseen_share: float | None
    depth_median_mm: float | None
    depth_p95_mm: float | None
    depth_bias_mm: float | None
    depth_within_1mm: float | None
    depth_within_2mm: float | None
    depth_within_5mm: float | None
    depth_median_share_of_size: float | None
    depth_compared_share: float | None = None
    depth_within_tolerance: float | None = None
    silhouette_rim_iou: float | None = None
    missing_share: float | None = None
    surplus_share: float | None = None
    colour_psnr_db: float | None = None
    colour_explained: float | None = None
    coverage: float | None = None


@dataclass(frozen=True)
class Quality:
    """All figures of one mesh: over all views, over the held-out ones alone (None without any), and per view."""

    mean: MeanQuality
    held_out: MeanQuality | None
    views: tuple[ViewQuality, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under the names above; never a NaN or an infinity."""
        return asdict(self)


@dataclass(frozen=True)
class ModelMeasurement:
    """One model's figures, or why there are none. ``error`` is ``{code, message, fix}``; with an error the figures
    that could not be taken are None. ``pictures`` are paths relative to the previews folder. ``viewer`` tells of the
    lighter copy that was made for the page, ``{bytes, faces, texture_size}``; None when ``mesh.glb`` itself will do, or
    when no copy is light enough.
    """

    error: Mapping[str, str] | None = None
    files: MeshFacts | None = None
    topology: Topology | None = None
    quality: Quality | None = None
    viewer: Mapping[str, Any] | None = None
    pictures: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under the names above."""
        return {
            "error": None if self.error is None else dict(self.error),
            "files": None if self.files is None else self.files.to_json(),
            "topology": None if self.topology is None else self.topology.to_json(),
            "quality": None if self.quality is None else self.quality.to_json(),
            "viewer": None if self.viewer is None else dict(self.viewer),
            "pictures": list(self.pictures),
        }


@dataclass(frozen=True)
class Measurement:
    """All models' figures by name, and the pictures that belong to the capture as a whole."""

    models: Mapping[str, ModelMeasurement]
    pictures: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under the names above."""
        return {
            "models": {name: facts.to_json() for name, facts in self.models.items()},
            "pictures": list(self.pictures),
        }
