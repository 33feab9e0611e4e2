"""A capture in memory: images, masks, depth in metres and cameras, whatever layout it came in.

``read_capture`` is the only way in. It checks bytes before it decodes, and reports everything that is
wrong at once. The layouts and rules are in ``docs/capture-format.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from meshdrop.models.capture.fitting import DepthNumbers, as_cameras_see, masks_turned, of_one_size
from meshdrop.models.capture.layout import Expectation, expect, most_bytes
from meshdrop.models.capture.pictures import PictureReader
from meshdrop.models.capture.rig_profile import NO_RIGS, Rigs
from meshdrop.models.capture.turning import ViewPictures
from meshdrop.models.capture.up import Up, stated_up
from meshdrop.models.capture.view import MaskSource, View, read_view, refuse_copies
from meshdrop.models.capture.view_cameras import view_cameras
from meshdrop.models.files.folder import CaptureFolder
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.names import listing
from meshdrop.models.files.problem import CaptureError, Findings, Problem, told_once
from meshdrop.models.formats.sidecar import Subject
from meshdrop.models.lens.undone import LensesUndone

__all__ = ["Capture", "CaptureError", "MaskSource", "Problem", "Subject", "View", "read_capture", "read_stated_capture"]

DEFAULT_DEPTH_UNIT_M = 0.001
#: Floating-point depth without a stated unit is in metres when its middle lies below this, else in millimetres.
MOST_METRES = 50.0


@dataclass(frozen=True)
class Capture:
    """A whole capture.

    ``layout`` is "canonical" for the standard rig, else the format in which its cameras were stated. ``warnings`` are
    sentences for the operator; ``labels`` come from ``capture.json`` as they are. ``origin_m`` is the point of the
    stated world that is (0, 0, 0) here. ``up`` is which way is up where that is stated; see ``models.capture.up``.
    ``subject`` is what the sender says that it shows; None leaves it to its content (``models.views.subject``).
    """

    name: str
    layout: str
    views: tuple[View, ...]
    depth_unit_m: float | None
    warnings: tuple[str, ...] = ()
    labels: dict[str, Any] = field(default_factory=dict)
    origin_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    up: Up | None = None
    subject: Subject | None = None

    @property
    def has_depth(self) -> bool:
        """Whether any view has depth."""
        return any(view.depth is not None for view in self.views)


def read_capture(folder: Path, limits: CaptureLimits | None = None, rigs: Rigs = NO_RIGS) -> Capture:
    """The capture in ``folder``, checked and decoded; raises ``CaptureError`` with everything that is wrong.

    Nothing is written. Needs about 20 bytes of memory a pixel and view, and with a lens 15 a pixel of the largest. The
    conventions are taken as stated: whether they are *true* is the question of ``models.probe.probe``. ``rigs`` are the
    stored profiles, for a folder as it was dropped; the service's own copy of a capture holds its profile.
    """
    return read_stated_capture(folder, limits, rigs)[0]


def read_stated_capture(
    folder: Path, limits: CaptureLimits | None = None, rigs: Rigs = NO_RIGS
) -> tuple[Capture, Expectation]:
    """Like ``read_capture``, with what the folder's names and sidecars said."""
    path, limits, found, lenses = Path(folder), limits or CaptureLimits(), Findings(), LensesUndone()
    files = CaptureFolder(path, limits)
    found.problems += files.problems
    expectation = _expectation(files, limits, rigs, found)
    found.warnings += expectation.notes
    reader, missing = PictureReader(files, limits, found), frozenset(expectation.missing)
    pictures = [read for view in expectation.views if (read := reader.read(view, missing)) is not None]
    unit_m = expectation.stated.depth_unit_m or _measured_unit(pictures, found)
    numbers = DepthNumbers(unit_m, expectation.stated.depth_type == "ray")
    upright = as_cameras_see(pictures, expectation, numbers, found)
    reader.say_what_was_converted()
    fitted = of_one_size(upright, found)
    refuse_copies(fitted, found)
    cameras = view_cameras(expectation, {view.files.name: view.image.shape for view in fitted}, lenses, found)
    fitted = masks_turned(fitted, cameras, found)
    layout = expectation.layout
    views = [read_view(view, cameras.get(view.files.name), numbers, lenses, layout, found) for view in fitted]
    expectation = _without_odd_views(expectation, limits, found)
    found.raise_if_any()
    whole = tuple(view for view in views if view is not None)
    found.warnings += [*lenses.sentences(), *_what_is_odd(whole)]
    capture = Capture(
        name=path.resolve().name,
        layout=layout,
        views=whole,
        depth_unit_m=unit_m if any(view.depth is not None for view in whole) else None,
        warnings=tuple(found.warnings),
        labels=expectation.stated.options.labels,
        up=stated_up(expectation),
        subject=expectation.stated.subject,
    )
    return capture, expectation


def _expectation(folder: CaptureFolder, limits: CaptureLimits, rigs: Rigs, found: Findings) -> Expectation:
    """What the folder should hold; raises ``CaptureError`` where nothing of the kind is recognised."""

    def read_sidecar(name: str) -> bytes:
        try:
            return folder.beginning(name, most_bytes(name, limits) + 1)
        except CaptureError as error:
            found.problems += error.problems
            return b""

    expectation = expect(folder.names, read_sidecar, limits, rigs).settled(limits.min_views)
    found.problems += expectation.problems
    blamed = {problem.file for problem in found.problems}
    found.problems += [problem for problem in expectation.awaited() if problem.file not in blamed]
    if expectation.kind == "unknown" and not found.problems:
        found.report(
            "set",
            None,
            "No capture was recognised: there is no views/ folder with view_00.png to view_05.png, no "
            "capture.json with cameras and no transforms.json.",
            "See docs/capture-format.md for the layouts that are read.",
        )
    if expectation.kind == "unknown":
        found.raise_if_any()
    return expectation


def _measured_unit(views: Sequence[ViewPictures], found: Findings) -> float:
    """What a number of depth is in metres where nothing states it: floating-point numbers tell by their size."""
    depths = [view.depth.values for view in views if view.depth is not None]
    if not depths or any(depth.dtype.kind != "f" for depth in depths):
        return DEFAULT_DEPTH_UNIT_M
    measured = [float(np.median(depth[depth > 0])) for depth in depths if (depth > 0).any()]
    middle = float(np.median(measured)) if measured else 1.0
    unit_m, word = (1.0, "metres") if middle < MOST_METRES else (DEFAULT_DEPTH_UNIT_M, "millimetres")
    found.warnings.append(
        f"Depth is in floating-point numbers, {middle:.3g} in the middle, and no unit is stated: taken for {word}."
    )
    return unit_m


def _without_odd_views(expectation: Expectation, limits: CaptureLimits, found: Findings) -> Expectation:
    """What is left when a few views show nothing that can be used; too many of them are problems of the capture."""
    views, odd = expectation.views, found.odd
    rest = len(views) - len(odd)
    if 3 * rest < 2 * len(views) or rest < limits.min_views:
        found.problems += [problem for view in views for problem in odd.get(view.name, ())]
    elif odd:
        told = told_once([problem for view in views for problem in odd.get(view.name, ())])
        found.warnings += [f"Left out: {problem.file}: {problem.message} {problem.fix}" for problem in told]
        return expectation.without(odd)
    return expectation


def _what_is_odd(views: tuple[View, ...]) -> list[str]:
    """What makes a poorer mesh, as sentences."""
    told = []
    keyed = [view.name for view in views if view.mask_source == "border"]
    if keyed:
        told.append(
            f"No masks, alpha or depth: the object was cut out by the background's colour ({listing(keyed)}); "
            "parts of that colour are lost."
        )
    without = [view.name for view in views if view.depth is None]
    if len(without) == len(views):
        told.append("No depth: the shape comes from silhouettes, so hollows stay filled.")
    elif without:
        told.append(f"No depth for {len(without)} of {len(views)} views: {listing(without)}.")
    return told
