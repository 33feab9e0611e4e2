"""What of a capture a surface is made of: views that agree, with cameras and masks that what was measured bears out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.capture import Capture, Subject, View
from meshdrop.models.contract.base import NoResult
from meshdrop.models.formats.cameras import Camera, common_point
from meshdrop.models.surface import tsdf, volume
from meshdrop.models.surface.open_surface import extract_open
from meshdrop.models.surface.range_view import RangeView, prepare, prepare_scene
from meshdrop.models.surface.volume import EmptyCapture
from meshdrop.models.views.agreement import agreed, disagreements, median_by_view
from meshdrop.models.views.depth_agreement import contradicted
from meshdrop.models.views.mask_agreement import compare_masks
from meshdrop.models.views.pose_refinement import RefinedPoses, refine_poses
from meshdrop.models.views.subject import likely_subject
from meshdrop.models.views.table import Plane, cut_free, masks_of

Floats = NDArray[np.float32]
Array = NDArray[np.float64]

#: A view that lies this many times farther from its neighbours than the views do in the middle is left out, ...
ODD = 3.0
#: ... if it is also farther than this share of its distance, and if so many views and such a share of them remain.
ODD_SHARE = 0.004
FEWEST_VIEWS, LEAST_SHARE = 3, 2 / 3
#: Depth that other views outvote, and what a mask lacks, are told from this share of a view's on.
TOLD_SHARE = 0.01
#: The table is looked for on a lattice of so many voxels, within this share of the cameras' distance.
TABLE_RESOLUTION, TABLE_REACH = 256, 0.6
NO_LIMIT = 1 << 30


@dataclass(frozen=True)
class Assembly:
    """``capture`` holds the views that are used, with the cameras and masks that are used; ``views`` are those,
    prepared. ``subject`` is what is made of them. ``cameras`` are the refined poses (4, 4) by view, empty when all
    stayed as stated. ``masks`` are those of an object that was cut free, (H, W) 0..1 by view, else empty, and ``table``
    the plane that it stands on. ``figures`` are plain JSON values."""

    capture: Capture
    views: tuple[RangeView, ...]
    subject: Subject
    cameras: Mapping[str, Array]
    masks: Mapping[str, Floats]
    table: Plane | None
    notes: tuple[str, ...]
    figures: Mapping[str, Any]

    @property
    def table_up(self) -> tuple[float, float, float] | None:
        """The normal of the plane that the object stands on, towards the object."""
        if self.table is None:
            return None
        x, y, z = (float(value) for value in self.table.normal)
        return x, y, z


def assemble(capture: Capture) -> Assembly:
    """Prepare all views, refine their poses, leave odd ones out and mend masks that the others contradict; of an object
    on a table cut it free.

    Raises ``EmptyCapture`` when a table was stated and none was found, and when a table or a scene has no depth.
    """
    subject = capture.subject or likely_subject(capture.views)
    if subject != "object" and not capture.has_depth:
        raise EmptyCapture(
            f"The capture is said to be a {subject}, and a {subject} is found from depth, which no view has.",
            'Send depth images, or masks of the object and "subject": "object".',
        )
    views = list(capture.views)
    ready_one = prepare if subject == "object" else prepare_scene
    ready = [ready_one(view) for view in views]
    refinement = refine_poses(views, ready)
    views = [replace(view, camera=camera) for view, camera in zip(views, refinement.cameras, strict=True)]
    ready = [replace(view, camera=camera) for view, camera in zip(ready, refinement.cameras, strict=True)]
    kept, odd, apart = _sorted_out(ready)
    left_out, notes, outvoted = [views[n].name for n in odd], [], dict[str, float]()
    for n, wrong in zip(kept, contradicted([ready[n] for n in kept]), strict=True):
        depth = views[n].depth
        if depth is not None and wrong.any():
            views[n] = replace(views[n], depth=np.where(wrong, np.float32(0), depth))
            outvoted[views[n].name] = round(float(wrong.sum() / (depth > 0).sum()), 4)
            ready[n] = replace(ready[n], depth=np.where(wrong, np.float32(0), ready[n].depth))
    ready = agreed([ready[n] for n in kept], apart[kept])
    masks: dict[str, Floats] = {}
    table = None
    if subject == "table":
        table, cut = _cut_from_table(ready, [view.camera for view in views])
        if table is not None:
            masks = dict(zip((view.name for view in views), cut, strict=True))
            views = [replace(view, mask=masks[view.name], mask_source="depth") for view in views]
            kept = [n for n in kept if views[n].mask.any()]
            ready = agreed([prepare(views[n]) for n in kept])
            notes.append("an object on a table: it was cut free from the plane that it stands on")
        elif capture.subject == "table":
            raise EmptyCapture(
                "The capture is said to show an object on a table, but in the middle of the views no plane was found "
                "that something stands on.",
                'See that the depth images show the table around the object, state "subject": "scene", or send masks.',
            )
        else:
            subject = "scene"
    if subject == "scene":
        notes.append("a scene: the surface is open, and what no camera measured is a hole")
    views = [views[n] for n in kept]
    mended: dict[str, float] = {}
    if subject == "object":
        masks_agree = compare_masks(views, ready)
        for n, found in masks_agree.contradictions.items():
            views[n] = replace(views[n], mask=np.maximum(views[n].mask, found.missing.astype(np.float32)))
            ready[n] = prepare(views[n])
            mended[found.name] = round(found.share, 4)
        ready = agreed(ready) if mended else ready
        ready = [
            replace(view, slack=max(view.slack, float(ragged) / tsdf.REACH))
            for view, ragged in zip(ready, masks_agree.raggedness, strict=True)
        ]
    moved = {view.name: camera.c2w for view, camera in zip(capture.views, refinement.cameras, strict=True)}
    return Assembly(
        capture=replace(capture, views=tuple(views)),
        views=tuple(ready),
        subject=subject,
        cameras=moved if refinement.kept else {},
        masks=masks,
        table=table,
        notes=(*notes, *_notes(capture.views, refinement, left_out, outvoted, mended)),
        figures={
            "subject": subject,
            "poses": _pose_figures(capture.views, refinement),
            "left_out": left_out,
            "depth_outvoted": outvoted,
            "masks_mended": mended,
        },
    )


def object_of(capture: Capture, model: str) -> Assembly:
    """``assemble`` for a model that makes closed objects; raises ``NoResult`` for a scene."""
    assembly = assemble(capture)
    if assembly.subject == "scene":
        raise NoResult(
            f"The capture shows a scene, and {model} makes closed objects.",
            'Take fusion for it; should it be an object, send masks, or state "subject": "object" or "table".',
        )
    return assembly


def _cut_from_table(ready: Sequence[RangeView], cameras: Sequence[Camera]) -> tuple[Plane | None, list[Floats]]:
    """The plane that an object in the middle of the views stands on, and the object's mask for each of ``cameras``."""
    middle = common_point([view.camera for view in ready])
    if middle is None:
        return None, []
    reach = TABLE_REACH * float(np.median([np.linalg.norm(view.camera.centre - middle) for view in ready]))
    try:
        grid = volume.scene_grid(ready, TABLE_RESOLUTION, (middle, reach))
        surface = extract_open(tsdf.fuse(ready, grid), NO_LIMIT)
    except EmptyCapture:
        # the middle of the views is empty: there is no table, which is no fault of a scene
        return None, []
    vertices = grid.world(surface.vertices)
    found = cut_free(vertices, surface.faces, [view.camera for view in ready], middle, grid.voxel)
    if found is None:
        return None, []
    return found.plane, masks_of(cameras, vertices, surface.faces, found.faces)


def _sorted_out(views: Sequence[RangeView]) -> tuple[list[int], list[int], Array]:
    """The numbers of the views to use, and of those whose surfaces lie too far from everybody else's: one after the
    other, so that none is judged by one that is out already; and how far each view lies from those that are used, as
    ``median_by_view`` gives it."""
    distance = np.array([float(np.median(view.depth[view.depth > 0])) if view.depth.any() else 1.0 for view in views])
    pairs, odd = disagreements(views), set[int]()
    while len(views) - len(odd) - 1 >= max(FEWEST_VIEWS, LEAST_SHARE * len(views)):
        apart = median_by_view(pairs, len(views))
        told = apart[apart > 0]
        if len(told) < FEWEST_VIEWS:
            break
        beyond = np.flatnonzero(apart > np.maximum(ODD * float(np.median(told)), ODD_SHARE / distance))
        if not len(beyond):
            break
        # of two that only see each other both lie apart: the one that more views contradict is wrong
        contradicted = [sum(deviation for pair, deviation in pairs.items() if n in pair) for n in beyond]
        worst = int(beyond[np.argmax(contradicted)])
        odd.add(worst)
        pairs = {pair: deviation for pair, deviation in pairs.items() if worst not in pair}
    kept = [n for n in range(len(views)) if n not in odd]
    return kept, sorted(odd), median_by_view(pairs, len(views))


def _pose_figures(views: Sequence[View], refinement: RefinedPoses) -> dict[str, Any]:
    return {
        "before_mm": None if refinement.before_m is None else round(1000 * refinement.before_m, 4),
        "after_mm": None if refinement.after_m is None else round(1000 * refinement.after_m, 4),
        "moved": {
            view.name: {"mm": round(motion.millimetres, 3), "degrees": round(motion.degrees, 4)}
            for view, motion in zip(views, refinement.motions, strict=True)
        },
    }


def _notes(
    views: Sequence[View],
    refinement: RefinedPoses,
    left_out: Sequence[str],
    outvoted: Mapping[str, float],
    mended: Mapping[str, float],
) -> list[str]:
    notes = []
    if refinement.kept and refinement.before_m is not None and refinement.after_m is not None:
        most = max(range(len(views)), key=lambda n: refinement.motions[n].millimetres)
        motion = refinement.motions[most]
        notes.append(
            f"cameras were moved so that the views' surfaces lie {1000 * refinement.after_m:.2f} instead of "
            f"{1000 * refinement.before_m:.2f} mm apart; {views[most].name} by most, {motion.millimetres:.1f} mm and "
            f"{motion.degrees:.2f} degrees"
        )
    if left_out:
        notes.append(f"made without {', '.join(left_out)}: the surface measured there lies beside that of the others")
    if told := [f"{name} ({share:.0%} of it)" for name, share in outvoted.items() if share >= TOLD_SHARE]:
        notes.append(f"depth that looks through what other views measured was not believed: {', '.join(told)}")
    if told := [f"{name} ({share:.0%} of the object)" for name, share in mended.items() if share >= TOLD_SHARE]:
        lacking = ", ".join(told)
        notes.append(f"masks lack what other views measured, and were not believed there: {lacking}")
    return notes
