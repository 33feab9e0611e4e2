"""Figures of a good mesh as the measuring process answers them, with whatever a test wants to be otherwise."""

from __future__ import annotations

from typing import Any

MEAN: dict[str, Any] = {
    "views": 2,
    "psnr_masked_db": 31.24,
    "ssim_masked": 0.9314,
    "psnr_whole_db": 38.0,
    "ssim_whole": 0.98,
    "silhouette_iou": 0.991,
    "unseen_share": 0.01,
    "depth_median_mm": 0.731,
    "depth_p95_mm": 2.1,
    "depth_bias_mm": -0.02,
    "depth_within_1mm": 0.66,
    "depth_within_2mm": 0.95,
    "depth_within_5mm": 1.0,
    "depth_median_share_of_size": 0.0007,
    "depth_compared_share": 0.99,
    "depth_within_tolerance": 0.99,
    "silhouette_rim_iou": 0.999,
    "missing_share": 0.0,
    "surplus_share": 0.001,
    "colour_psnr_db": 40.0,
    "colour_explained": 0.99,
    "coverage": 1.0,
}
DEPTH: dict[str, Any] = {
    "pixels": 100,
    "compared_share": 0.99,
    "median_mm": 0.731,
    "p95_mm": 2.1,
    "bias_mm": -0.02,
    "within_1mm": 0.66,
    "within_2mm": 0.95,
    "within_5mm": 1.0,
    "median_share_of_size": 0.0007,
    "resolution_mm": 1.0,
    "tolerance_mm": 4.0,
    "within_tolerance": 0.99,
}
SILHOUETTE: dict[str, Any] = {
    "object_px": 10_000,
    "missing_px": 0,
    "surplus_px": 10,
    "missing_share": 0.0,
    "surplus_share": 0.001,
    "rim_iou": 0.999,
}
COLOUR: dict[str, Any] = {
    "pixels": 9_000,
    "psnr_db": 40.0,
    "explained": 0.99,
    "gain": [1.0, 1.1, 0.9],
    "offset": [0.0, 0.01, -0.01],
}
VIEW: dict[str, Any] = {
    "name": "front",
    "held_out": False,
    "psnr_masked_db": 31.2,
    "ssim_masked": 0.93,
    "psnr_whole_db": 38.0,
    "ssim_whole": 0.98,
    "silhouette_iou": 0.99,
    "unseen_share": 0.01,
    "depth": DEPTH,
    "silhouette": SILHOUETTE,
    "colour": COLOUR,
    "coverage": 1.0,
}


def view(name: str = "front", *, held_out: bool = False, **parts: Any) -> dict[str, Any]:
    """A view of a good mesh; a part that is a dict changes what stands in it, anything else takes its place."""
    changed = {key: {**VIEW[key], **part} if isinstance(part, dict) else part for key, part in parts.items()}
    return {**VIEW, "name": name, "held_out": held_out, **changed}


def quality(*views: dict[str, Any], **means: Any) -> dict[str, Any]:
    """What was measured of a mesh in these views, else in two good ones."""
    return {"mean": {**MEAN, **means}, "held_out": None, "views": list(views) or [view("front"), view("back")]}
