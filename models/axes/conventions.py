"""Which way is up in each format's world, and who says so: the only place that knows. Standard library only.

``docs/capture-format.md`` shows the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meshdrop.models.axes.directions import AXES, Direction


@dataclass(frozen=True)
class Convention:
    """What a format's world has up (None: it says nothing of that), and who says so."""

    up: Direction | None
    source: str


CONVENTIONS: Mapping[str, Convention] = {
    "canonical": Convention(AXES["+y"], "the standard rig, docs/capture-format.md"),
    # nerfstudio, docs.nerf.studio, "Data conventions", World space: "the up vector is +Z". instant-ngp,
    # src/nerf_loader.cu: y after its permutation of axes, which is z in the file, unless "up" says otherwise;
    # scripts/colmap2nerf.py turns the cameras' mean up to it. Blender (NeRF-synthetic): its scenes have z up.
    "transforms": Convention(AXES["+z"], "nerfstudio, instant-ngp and Blender"),
    # Apple, ARConfiguration.WorldAlignment.gravity: y is parallel to gravity. The poses of the export are ARKit's.
    "polycam": Convention(AXES["+y"], "ARKit, whose y is parallel to gravity"),
    # bop_toolkit, docs/bop_datasets_format.md: w2c is the world's, of which nothing is said; each data set has its own.
    "bop": Convention(None, "BOP says nothing of its world"),
    # colmap.github.io, FAQ, "Manhattan world alignment" and "Geo-registration": a model has no direction of its own
    # until model_orientation_aligner or model_aligner gives it one, which the files do not tell.
    "colmap": Convention(None, "COLMAP finds its world up to a turn"),
    # github.com/Fyusion/LLFF: imgs2poses.py turns COLMAP's poses into its own, and no other.
    "llff": Convention(None, "LLFF keeps COLMAP's world"),
    # Microsoft Research, 7-Scenes: the world is that of the first frame of KinectFusion.
    "7-scenes": Convention(None, "7-Scenes and tsdf-fusion say nothing of their world"),
    # cvg.cit.tum.de, RGB-D SLAM dataset, "File Formats": the world is that of the motion capture system.
    "tum": Convention(None, "TUM RGB-D says nothing of its world"),
    # Apple, as above: the poses of both apps are ARKit's.
    "record3d": Convention(AXES["+y"], "ARKit, whose y is parallel to gravity"),
    "3d-scanner-app": Convention(AXES["+y"], "ARKit, whose y is parallel to gravity"),
}
