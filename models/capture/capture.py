"""A capture in memory: images, masks, depth in metres and cameras, whatever layout it came in.

``read_capture`` is the only way in. It checks bytes before it decodes, and reports everything that is
wrong at once. The layouts and rules are in ``docs/capture-format.md``.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture import agreement, mask_files
from meshdrop.models.capture.coarse import depth_as_large, mask_as_large, same_shape
from meshdrop.models.capture.decoding import NotInstalled, Pixels
from meshdrop.models.capture.layout import Expectation, ViewFiles, expect, most_bytes
from meshdrop.models.capture.masks import (
    background_colour,
    mask_from_border,
    mask_from_depth,
    soft_edges,
    straight_colour,
)
from meshdrop.models.capture.rig_profile import NO_RIGS, Rigs
from meshdrop.models.capture.turning import ViewPictures, turn
from meshdrop.models.capture.up import Up, stated_up
from meshdrop.models.files.folder import CaptureFolder
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.names import last_of, listing
from meshdrop.models.files.pictures import PictureInfo, PictureKind, judge_of
from meshdrop.models.files.png import Kind
from meshdrop.models.files.problem import CaptureError, Problem, told_once
from meshdrop.models.formats.cameras import Camera
from meshdrop.models.formats.sidecar import OWN_SIDECAR, Subject
from meshdrop.models.formats.stated_camera import (
    ROTATION_DOUBT,
    CameraError,
    PictureSizeError,
    rotation_error,
    stated_camera,
    stated_lens,
)
from meshdrop.models.lens.undone import LensesUndone

__all__ = ["Capture", "CaptureError", "MaskSource", "Problem", "Subject", "View", "read_capture", "read_stated_capture"]

MaskSource = Literal["file", "alpha", "depth", "border"]

DEFAULT_DEPTH_UNIT_M = 0.001
#: Floating-point depth without a stated unit is in metres when its middle lies below this, else in millimetres.
MOST_METRES = 50.0
#: The nearest and farthest that a camera may stand from the others, in metres.
BASELINE_RANGE_M = (0.01, 100.0)
#: A mask with less than this many object pixels, or less than this many background pixels, shows no object.
FEWEST_MASK_PIXELS = 16


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
    return _Reader(Path(folder), limits or CaptureLimits(), rigs).capture()


@dataclass(frozen=True)
class _Decoded:
    """One view's arrays, of one size: photograph (H, W, 3 or 4), depth in stated units, coverage in 0..1."""

    files: ViewFiles
    image: NDArray[np.uint8]
    depth: NDArray[Any] | None
    mask: NDArray[np.float32] | None


class _Reader:
    """Reads one capture, collecting problems and warnings on the way."""

    def __init__(self, path: Path, limits: CaptureLimits, rigs: Rigs) -> None:
        self._path = path
        self._limits = limits
        self._rigs = rigs
        self._problems: list[Problem] = []
        #: What is wrong with single views, which may be done without.
        self._odd: dict[str, list[Problem]] = {}
        self._warnings: list[str] = []
        self._lenses = LensesUndone()
        self._bytes_left = limits.max_capture_bytes
        self._pixels_left = limits.max_capture_pixels
        self._converted: dict[str, list[str]] = {}
        self._lacking: set[str] = set()

    def capture(self) -> tuple[Capture, Expectation]:
        folder = CaptureFolder(self._path, self._limits)
        self._problems += folder.problems
        expectation = self._expectation(folder)
        self._warnings += expectation.notes
        decoded = [self._decode(folder, files, set(expectation.missing)) for files in expectation.views]
        unit = expectation.stated.depth_unit_m or self._measured_unit([view for view in decoded if view is not None])
        turned = self._turned([view for view in decoded if view is not None], expectation, unit)
        self._say_what_was_converted()
        views = self._of_one_size(turned)
        self._refuse_copies(views)
        cameras = self._cameras(expectation, {view.files.name: view.image.shape[:2] for view in views})
        views = self._masks_turned(views, cameras)
        finished = [self._view(view, cameras.get(view.files.name), unit) for view in views]
        expectation = self._without_odd_views(expectation)
        self._raise_if_any()
        whole = tuple(view for view in finished if view is not None)
        self._say_what_is_odd(whole)
        has_depth = any(view.depth is not None for view in whole)
        capture = Capture(
            name=self._path.resolve().name,
            layout=expectation.layout,
            views=whole,
            depth_unit_m=unit if has_depth else None,
            warnings=tuple(self._warnings),
            labels=expectation.stated.options.labels,
            up=stated_up(expectation),
            subject=expectation.stated.subject,
        )
        return capture, expectation

    def _raise_if_any(self) -> None:
        if self._problems:
            raise CaptureError(self._problems)

    def _report(self, code: str, file: str | None, message: str, fix: str) -> None:
        self._problems.append(Problem(code, file, message, fix))

    # -- files -----------------------------------------------------------------------------------------------------

    def _expectation(self, folder: CaptureFolder) -> Expectation:
        def read_sidecar(name: str) -> bytes:
            try:
                return folder.beginning(name, most_bytes(name, self._limits) + 1)
            except CaptureError as error:
                self._problems += error.problems
                return b""

        expectation = expect(folder.names, read_sidecar, self._limits, self._rigs).settled(self._limits.min_views)
        self._problems += expectation.problems
        blamed = {problem.file for problem in self._problems}
        self._problems += [problem for problem in expectation.awaited() if problem.file not in blamed]
        if expectation.kind == "unknown" and not self._problems:
            self._report(
                "set",
                None,
                "No capture was recognised: there is no views/ folder with view_00.png to view_05.png, no "
                "capture.json with cameras and no transforms.json.",
                "See docs/capture-format.md for the layouts that are read.",
            )
        if expectation.kind == "unknown":
            self._raise_if_any()
        return expectation

    def _decode(self, folder: CaptureFolder, files: ViewFiles, missing: set[str]) -> ViewPictures | None:
        before = len(self._problems)
        image = self._pixels(folder, files.image, "image", missing)
        depth = self._pixels(folder, files.depth, "depth", missing)
        mask = self._pixels(folder, files.mask, "mask", missing)
        if image is None or len(self._problems) > before or missing & {files.image, files.depth, files.mask}:
            return None
        return ViewPictures(files, image, depth, mask)

    def _measured_unit(self, views: Sequence[ViewPictures]) -> float:
        """What a number of depth is in metres where nothing states it: floating-point numbers tell by their size."""
        depths = [view.depth.values for view in views if view.depth is not None]
        if not depths or any(depth.dtype.kind != "f" for depth in depths):
            return DEFAULT_DEPTH_UNIT_M
        measured = [float(np.median(depth[depth > 0])) for depth in depths if (depth > 0).any()]
        middle = float(np.median(measured)) if measured else 1.0
        unit, word = (1.0, "metres") if middle < MOST_METRES else (DEFAULT_DEPTH_UNIT_M, "millimetres")
        self._warnings.append(
            f"Depth is in floating-point numbers, {middle:.3g} in the middle, and no unit is stated: taken for {word}."
        )
        return unit

    def _turned(self, views: list[ViewPictures], expectation: Expectation, unit: float) -> tuple[ViewPictures, ...]:
        """Photographs as their cameras see them, whatever the cameras noted of how they were held."""
        frames = expectation.stated.frames
        stated = dict(zip((files.name for files in expectation.views), frames, strict=True)) if frames else {}

        def size(name: str) -> tuple[float | None, float | None]:
            said = stated[name].intrinsics if name in stated else expectation.stated.intrinsics
            return said.w, said.h

        def disagreement(read: Sequence[ViewPictures]) -> float | None:
            return self._disagreement(read, expectation, unit)

        sizes = {view.files.name: size(view.files.name) for view in views}
        ours = expectation.kind == "frames" and all(last_of(name) == OWN_SIDECAR for name in expectation.sidecars)
        found = turn(views, "frames" if ours else expectation.layout, sizes, disagreement)
        self._warnings += [found.told] if found.told else []
        return found.views

    def _disagreement(self, views: Sequence[ViewPictures], expectation: Expectation, unit: float) -> float | None:
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
            depths = [view.depth.values * float(unit) for view in views if view.depth is not None]
            return agreement.colour_difference(cameras, images, depths)
        masks = [_outline(image) for image in images]
        if any(mask is None for mask in masks):
            return None
        agreed = agreement.outlines_agree(cameras, [mask for mask in masks if mask is not None])
        return None if agreed is None else 1 - agreed

    def _of_one_size(self, views: Sequence[ViewPictures]) -> list[_Decoded]:
        """Each view's depth and mask in the size of its photograph."""
        masks, told = mask_files.coverage([None if view.mask is None else view.mask.values for view in views])
        self._warnings += [told] if told else []
        fitted, coarse = [], Counter[str]()
        for view, mask in zip(views, masks, strict=True):
            depth = None if view.depth is None else view.depth.values
            depth = self._as_large(view, view.files.depth, depth, "depth", coarse)
            covered = self._as_large(view, view.files.mask, mask, "mask", coarse)
            if view.files.name not in self._odd:
                fitted.append(_Decoded(view.files, view.image.values, depth, covered))
        self._warnings += [
            f"{count} times {sizes}, which have the same shape: what lies between was interpolated."
            for sizes, count in coarse.items()
        ]
        return fitted

    def _as_large(
        self, view: ViewPictures, name: str | None, values: NDArray[Any] | None, what: str, coarse: Counter[str]
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
        self._odd.setdefault(view.files.name, []).append(Problem("dims", name, message, fix))
        return None

    def _masks_turned(self, views: list[_Decoded], cameras: Mapping[str, Camera]) -> list[_Decoded]:
        """The views with their masks, which are turned where they mark everything but the object."""
        masked = [view for view in views if view.mask is not None and view.files.name in cameras]
        if len(masked) < 2 or len(masked) < len(views):
            return views

        def outlines_agree(outlines: Sequence[NDArray[np.bool_]]) -> float | None:
            return agreement.outlines_agree([cameras[view.files.name] for view in masked], outlines)

        shown = [
            mask_files.MaskedView(view.mask, view.image[..., :3], None if view.depth is None else view.depth > 0)
            for view in masked
            if view.mask is not None
        ]
        why = mask_files.inverted(shown, outlines_agree)
        if why is None:
            return views
        self._warnings.append(f"The masks mark what is not the object: {why}. They were turned; white means object.")
        return [replace(view, mask=None if view.mask is None else 1 - view.mask) for view in views]

    def _say_what_was_converted(self) -> None:
        for phrase, names in self._converted.items():
            self._warnings.append(f"{len(names)} picture{'s' if len(names) > 1 else ''}: {phrase} ({listing(names)}).")

    def _pixels(self, folder: CaptureFolder, name: str | None, kind: Kind, missing: set[str]) -> Pixels | None:
        """The decoded pixels of one picture, or None after reporting why not."""
        if name is None or name in missing:
            return None
        try:
            content = folder.read(name, self._limits.max_file_bytes)
        except CaptureError as error:
            known = {(problem.code, problem.file) for problem in self._problems}  # the listing may have said so
            self._problems += [problem for problem in error.problems if (problem.code, problem.file) not in known]
            return None
        self._bytes_left -= len(content)
        if self._bytes_left < 0:
            self._report(
                "too_big",
                name,
                f"With this file the capture passes {self._limits.max_capture_bytes:,} bytes.",
                "Send fewer or smaller pictures, or raise the limit in the settings.",
            )
            self._raise_if_any()
        judge = judge_of(name, kind)
        verdict = judge.check(content, kind, self._limits, name)
        if isinstance(verdict, Problem):
            self._problems.append(verdict)
            return None
        if kind == "image":
            self._count_pixels(name, verdict)
        try:
            found = _decoder(judge)(content, verdict, kind)
        except NotInstalled as lacking:
            if judge.name not in self._lacking:
                self._report("picture", name, f"The {judge.name} is not read. {lacking}", lacking.fix)
            self._lacking.add(judge.name)
            return None
        except Exception as error:  # whatever a decoder stumbles over, the file is to blame
            fix = "Copy the file again."
            self._report(judge.undecodable, name, f"The {judge.name} cannot be decoded ({error}).", fix)
            return None
        for phrase in found.told:
            self._converted.setdefault(phrase, []).append(name)
        return found

    def _count_pixels(self, name: str, info: PictureInfo) -> None:
        """A few kilobytes can hold a picture of the largest size: many of them together must not fill the memory."""
        self._pixels_left -= info.width * info.height
        if self._pixels_left < 0:
            most = f"{self._limits.max_capture_pixels / 1e6:g} million"
            message = f"With this picture the photographs have more than {most} pixels together."
            self._report("too_big", name, message, "Send fewer views, or smaller pictures.")
            self._raise_if_any()

    # -- cameras ---------------------------------------------------------------------------------------------------

    def _cameras(self, expectation: Expectation, shapes: dict[str, tuple[int, ...]]) -> dict[str, Camera]:
        """Cameras of the views whose picture could be read, by view name."""
        cameras: dict[str, Camera] = {}
        frames = expectation.stated.frames or (None,) * len(expectation.views)
        for files, frame in zip(expectation.views, frames, strict=True):
            if files.name in shapes:
                height, width = shapes[files.name][:2]
                try:
                    camera = stated_camera(files.name, frame, expectation.stated, width, height)
                    self._lenses.state(files.name, stated_lens(frame, expectation.stated), camera)
                    cameras[files.name] = camera
                except PictureSizeError as error:
                    self._odd[files.name] = [Problem("calib", files.image, f"View {files.name}: {error}", error.fix)]
                except CameraError as error:
                    where = (expectation.sidecars or (None,))[-1]
                    self._report("calib", where, f"View {files.name}: {error}", error.fix)
        self._problems += self._lenses.problems((expectation.sidecars or (None,))[-1])
        self._check_baselines(expectation, cameras)
        self._say_inexact_rotations(expectation)
        return cameras

    def _say_inexact_rotations(self, expectation: Expectation) -> None:
        """The nearest rotations are used; data sets that were measured by hand have such poses."""
        frames = expectation.stated.frames or ()
        errors = {view.name: rotation_error(frame) for view, frame in zip(expectation.views, frames, strict=False)}
        inexact = {name: error for name, error in errors.items() if 2 * error > ROTATION_DOUBT}
        if inexact:
            self._warnings.append(
                f"{len(inexact)} of {len(errors)} poses are no exact rotations (up to {max(inexact.values()):.1%} off: "
                f"{listing(inexact)}); the nearest ones are used."
            )

    def _check_baselines(self, expectation: Expectation, cameras: dict[str, Camera]) -> None:
        if len(cameras) < 2 or len(cameras) < len(expectation.views):
            return
        poses = np.stack([camera.c2w for camera in cameras.values()])
        if np.abs(poses - poses[0]).max() < 1e-9:
            where = (expectation.sidecars or (None,))[-1]
            message = f"All {len(poses)} poses are the same: as stated, the camera never moved."
            self._report("calib", where, message, "Export the poses again; if the object was turned, state its turns.")
            return
        centres = np.stack([camera.centre for camera in cameras.values()])
        spread = float(np.linalg.norm(centres[:, None] - centres[None], axis=-1).max())
        low, high = BASELINE_RANGE_M
        # With depth the probe recognises coinciding cameras, and knows which reading of the file would part them.
        low = 0.0 if expectation.depth_stated else low
        # Of a model whose unit is arbitrary depth tells how large it is.
        high = float("inf") if expectation.depth_stated and expectation.layout in ("colmap", "llff") else high
        if not low <= spread <= high:
            where = (expectation.sidecars or (None,))[-1]
            self._report(
                "calib",
                where,
                f"The cameras stand at most {spread:.3g} m apart; {BASELINE_RANGE_M[0]:g} to {high:g} m is plausible.",
                'State positions in metres; if the poses are world-to-camera, add "pose": "world_to_camera".',
            )

    # -- meaning ---------------------------------------------------------------------------------------------------

    def _refuse_copies(self, views: list[_Decoded]) -> None:
        if len(views) > 1 and all(np.array_equal(views[0].image, view.image) for view in views[1:]):
            self._report(
                "semantic",
                views[0].files.image,
                f"All {len(views)} images are the same picture.",
                "Check that the rig moves, or that every camera writes its own file.",
            )

    def _without_odd_views(self, expectation: Expectation) -> Expectation:
        """What is left when a few views show nothing that can be used; too many of them are problems of the capture."""
        views, odd = expectation.views, self._odd
        rest = len(views) - len(odd)
        if 3 * rest < 2 * len(views) or rest < self._limits.min_views:
            self._problems += [problem for view in views for problem in odd.get(view.name, ())]
        elif odd:
            told = told_once([problem for view in views for problem in odd.get(view.name, ())])
            self._warnings += [f"Left out: {problem.file}: {problem.message} {problem.fix}" for problem in told]
            return expectation.without(odd)
        return expectation

    def _view(self, decoded: _Decoded, camera: Camera | None, unit: float) -> View | None:
        """The view, or None after noting what is odd about it."""
        before = len(self._problems)
        view = self._read_view(decoded, camera, unit)
        if found := self._problems[before:]:
            del self._problems[before:]
            self._odd.setdefault(decoded.files.name, []).extend(found)
        return view

    def _read_view(self, decoded: _Decoded, camera: Camera | None, unit: float) -> View | None:
        files, before = decoded.files, len(self._problems)
        self._check_light(files, decoded.image)
        if decoded.depth is not None:
            self._check_depth(files, decoded.depth)
        masked = self._mask(decoded) if len(self._problems) == before else None
        if masked is None or camera is None:
            return None
        rgb, mask, source = masked
        depth = None if decoded.depth is None else (decoded.depth * np.float32(unit)).astype(np.float32)
        camera, (rgb, mask, depth) = self._lenses.undone(files.name, camera, (rgb, mask, depth))
        if int((mask >= 0.5).sum()) < FEWEST_MASK_PIXELS:
            fix = "Leave the view out, or aim its camera at the object."
            self._report("semantic", files.image, "The object lies where the lens's picture is cut off.", fix)
            return None
        return View(files.name, camera, rgb, mask, depth, source)

    def _check_light(self, files: ViewFiles, image: NDArray[np.uint8]) -> None:
        if image[..., :3].max() < 8:
            self._report("semantic", files.image, "The image is black.", "Check the lamp, the shutter and the export.")

    def _check_depth(self, files: ViewFiles, depth: NDArray[np.uint16]) -> None:
        low, high = int(depth.min()), int(depth.max())
        fix = "Check the depth sensor and its export."
        if high == 0:
            self._report("semantic", files.depth, "The depth map is empty: nothing was measured in any pixel.", fix)
        elif low == high:
            self._report("semantic", files.depth, f"Every pixel of the depth map is {low}.", fix)

    def _mask(self, decoded: _Decoded) -> tuple[NDArray[np.uint8], NDArray[np.float32], MaskSource] | None:
        """(straight rgb, mask, source) by the first of: mask file, alpha, depth, border colour."""
        files, rgb = decoded.files, np.ascontiguousarray(decoded.image[..., :3])
        alpha = decoded.image[..., 3] if decoded.image.shape[2] == 4 else None
        source: MaskSource
        if decoded.mask is not None:
            mask, source, name = decoded.mask, "file", files.mask
        elif alpha is not None and alpha.min() < 255:
            mask, source, name = _share(alpha), "alpha", files.image
        elif decoded.depth is not None:
            mask, source, name = mask_from_depth(decoded.depth > 0, rgb), "depth", files.depth
        else:
            keyed = mask_from_border(rgb)
            if keyed is None:
                self._report(
                    "semantic",
                    files.image,
                    "Nothing says what is object and what is background: no mask, no alpha, no depth, and the "
                    "picture's edge is not of one colour.",
                    "Send masks/mask_XX.png, RGBA images or depth.",
                )
                return None
            mask, source, name = keyed, "border", files.image
        if not self._mask_shows_object(mask, source, name):
            return None
        background = background_colour(rgb) if source in ("depth", "border") else None
        if background is not None:
            mask = soft_edges(mask, rgb, background, centres_known=source == "depth")
        return self._straight(rgb, mask, source, files), mask, source

    def _mask_shows_object(self, mask: NDArray[np.float32], source: MaskSource, name: str | None) -> bool:
        inside = int((mask >= 0.5).sum())
        says = {"file": "The mask", "alpha": "The alpha channel", "depth": "Depth", "border": "The background colour"}
        if inside < FEWEST_MASK_PIXELS:
            fix = "White (or opaque) means object: check that the object is in the picture and the mask not inverted."
            self._report("semantic", name, f"{says[source]} marks no pixel as object.", fix)
            return False
        if source != "depth" and mask.size - inside < FEWEST_MASK_PIXELS:
            fix = "Send masks, or RGBA images with the background transparent."
            if source == "file":
                fix = "Check that the mask is not inverted, and that the picture shows all of the object."
            self._report("semantic", name, f"{says[source]} marks every pixel as object.", fix)
            return False
        return True

    def _straight(
        self, rgb: NDArray[np.uint8], mask: NDArray[np.float32], source: MaskSource, files: ViewFiles
    ) -> NDArray[np.uint8]:
        """Edge pixels freed from what was behind them, where coverage is known."""
        if source == "alpha":
            known = {"black": np.zeros(3), "white": np.full(3, 255.0)}
            colours, blended = straight_colour(rgb, mask, known)
            if blended is not None:
                self._warnings.append(
                    f"{files.image}: edge colours were blended with {blended} (alpha should be straight); undone."
                )
            return colours
        background = background_colour(rgb)
        if background is None:
            return rgb
        colours, _ = straight_colour(rgb, mask, {"backdrop": background})
        return np.where(mask[..., None] > 0, colours, rgb)

    def _say_what_is_odd(self, views: tuple[View, ...]) -> None:
        self._warnings += self._lenses.sentences()
        keyed = [view.name for view in views if view.mask_source == "border"]
        if keyed:
            self._warnings.append(
                f"No masks, alpha or depth: the object was cut out by the background's colour ({listing(keyed)}); "
                "parts of that colour are lost."
            )
        without = [view.name for view in views if view.depth is None]
        if len(without) == len(views):
            self._warnings.append("No depth: the shape comes from silhouettes, so hollows stay filled.")
        elif without:
            self._warnings.append(f"No depth for {len(without)} of {len(views)} views: {listing(without)}.")


def _size(pixels: NDArray[Any]) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]}"


def _decoder(kind: PictureKind) -> Callable[[bytes, PictureInfo, Kind], Pixels]:
    place, _, name = kind.decode.partition(":")
    found: Callable[[bytes, PictureInfo, Kind], Pixels] = getattr(importlib.import_module(place), name)
    return found


def _outline(image: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """What a photograph itself says is the object: its alpha, or what is not of its backdrop's colour."""
    if image.shape[2] == 4 and image[..., 3].min() < 255:
        return np.asarray(image[..., 3] >= 128)
    keyed = mask_from_border(image[..., :3])
    return None if keyed is None else np.asarray(keyed >= 0.5)


def _share(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """0..255 as 0..1."""
    return np.divide(levels, 255, dtype=np.float32)
