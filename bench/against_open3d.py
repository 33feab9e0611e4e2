"""Our mesh and Open3D's from the same frames, and figures of both by the same code.

Open3D lives in an environment of its own. It gets the frames as our reader understood them, in a NumPy archive:
``frames`` counts them, and frame n has ``colour_n`` (H, W, 3) float32 0..1, ``depth_n`` (H, W) float32 planar metres, 0
where nothing was measured or the mask says that it is not the object, ``intrinsics_n`` (3, 3), by which the first
pixel's centre is (0, 0), and ``world_to_camera_n`` (4, 4), OpenCV axes; beside them ``voxel_m``, ``farthest_m`` and
``least_weight``. What comes back holds ``vertices`` (V, 3) metres, ``faces`` (F, 3) and ``colours`` (V, 3) 0..1.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from meshdrop.models.capture.capture import Capture, View
from meshdrop.models.formats.cameras import OPENCV_TO_OPENGL, Camera
from meshdrop.models.measure.agreement import colour_quality, depth_quality
from meshdrop.models.measure.frame import frame_of
from meshdrop.models.measure.measure import SAMPLES
from meshdrop.models.measure.quality import COVERED, over_white, psnr
from meshdrop.models.raster.numba_raster import antialias, interpolate, rasterize
from meshdrop.models.raster.render import Picture

Draw = Callable[[Camera], Picture]

SCRIPT = Path(__file__).with_name("open3d_tsdf.py")
#: A voxel counts from one view on. Open3D wants more than the number it is given: with one, what a single view saw is a
#: hole, and with its own three, what three saw.
LEAST_WEIGHT = 0.5
#: Rows of the picture that shows both, and how high each is.
SHOWN, ROW_PX = 4, 240


class NotMade(Exception):
    """Open3D made no mesh; the message is a sentence."""


@dataclass(frozen=True)
class Agreement:
    """The share of the measured depth on the object that the mesh covers, PSNR in dB over the object's pixels that it
    covers, the same after a gain and an offset for each channel and a slight blur, median error and median offset of
    depth in millimetres, positive behind the measurement. None where there is nothing to take the figure from.
    """

    covered: float | None = None
    psnr_hit_db: float | None = None
    exposed_db: float | None = None
    median_mm: float | None = None
    bias_mm: float | None = None


@dataclass(frozen=True)
class Agreements:
    """Means over all views, and over those alone that no mesh was made from; None where there are none."""

    all_views: Agreement
    held_out: Agreement | None


def agreements(draw: Draw, capture: Capture, held_out: Collection[str], size_m: float) -> Agreements:
    """A mesh, drawn by ``draw``, against every view of ``capture``. ``size_m`` is the diagonal of its bounding box."""
    views = [view for view in capture.views if (view.mask >= COVERED).any()]
    rows = [_figures(draw(view.camera), view, size_m) for view in views]
    spared = [row for row, view in zip(rows, views, strict=True) if view.name in held_out]
    return Agreements(_mean(rows), _mean(spared) if spared else None)


def _mean(rows: Sequence[Agreement]) -> Agreement:
    def of(figure: str) -> float | None:
        told = [value for row in rows if (value := getattr(row, figure)) is not None]
        return float(np.mean(told)) if told else None

    return Agreement(**{figure.name: of(figure.name) for figure in fields(Agreement)})


def _figures(picture: Picture, view: View, size_m: float) -> Agreement:
    mask, hit, photo = view.mask >= COVERED, picture.alpha >= COVERED, over_white(view)
    measured = np.zeros_like(mask) if view.depth is None else mask & (view.depth > 0)
    colour = colour_quality(photo, picture.rgb, mask & hit)
    depth = view.depth
    error = None if depth is None else depth_quality(depth, picture.depth, mask, hit, view.camera, size_m)
    return Agreement(
        covered=float(hit[measured].mean()) if measured.any() else None,
        psnr_hit_db=psnr(photo, picture.rgb, mask & hit),
        exposed_db=None if colour is None else colour.psnr_db,
        median_mm=None if error is None else error.median_mm,
        bias_mm=None if error is None else error.bias_mm,
    )


# -- the way to Open3D and back --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ColouredMesh:
    """A mesh with sRGB colours 0..1 at its vertices."""

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    colours: NDArray[np.float32]

    def draw(self, camera: Camera) -> Picture:
        """As ``render`` draws a textured one, over white."""
        fragments = rasterize(camera, self.vertices, self.faces, SAMPLES)
        colour = antialias(fragments, interpolate(fragments, self.colours[self.faces]))
        alpha = antialias(fragments, np.ones((*fragments.face.shape, 1), np.float32))
        depth = np.ascontiguousarray(fragments.depth[SAMPLES // 2 :: SAMPLES, SAMPLES // 2 :: SAMPLES])
        rgb = np.clip(colour + (1 - alpha), 0, 1).astype(np.float32)
        return Picture(rgb=rgb, alpha=alpha[..., 0], depth=depth, seen=(alpha[..., 0] > 0).astype(np.float32))


@dataclass(frozen=True)
class Made:
    """Open3D's mesh and what it took."""

    mesh: ColouredMesh
    version: str
    cpu_s: float
    memory_mb: float


def made_by_open3d(python: Path, capture: Capture, voxel_m: float) -> Made:
    """Let the Open3D of the interpreter ``python`` fuse every view with depth; raises ``NotMade``."""
    with tempfile.TemporaryDirectory(prefix="meshdrop-bench-") as scratch:
        given, made = Path(scratch) / "frames.npz", Path(scratch) / "mesh.npz"
        hand_over(capture, voxel_m, given)
        command = [str(python), str(SCRIPT), str(given), str(made)]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise NotMade(f"{python} cannot be started: {error.strerror}") from None
        if ran.returncode:
            told = ran.stderr.strip().splitlines()
            raise NotMade(told[-1] if told else f"{python} ended with exit code {ran.returncode}")
        with np.load(made) as stored:
            mesh = ColouredMesh(stored["vertices"], stored["faces"], stored["colours"])
    cost = json.loads(ran.stdout.splitlines()[-1])
    return Made(mesh, cost["version"], cost["cpu_s"], cost["memory_mb"])


def hand_over(capture: Capture, voxel_m: float, file: Path) -> None:
    """Write what Open3D is given; raises ``NotMade`` where no view has depth."""
    frames = [frame for frame in map(open3d_frame, capture.views) if frame is not None]
    if not frames:
        raise NotMade("no view has depth on the object, and Open3D's fusion is made of depth alone")
    farthest = max(float(frame["depth"].max()) for frame in frames)
    facts = {"frames": len(frames), "voxel_m": voxel_m, "farthest_m": farthest, "least_weight": LEAST_WEIGHT}
    named: dict[str, Any] = {name: np.array(value) for name, value in facts.items()}
    named |= {f"{what}_{n}": array for n, frame in enumerate(frames) for what, array in frame.items()}
    np.savez(file, **named)


def open3d_frame(view: View) -> dict[str, NDArray[Any]] | None:
    """A view as Open3D takes it, by the names above; None when it measured nothing of the object."""
    if view.depth is None or not ((view.mask >= COVERED) & (view.depth > 0)).any():
        return None
    camera = view.camera
    lens = [[camera.fx, 0, camera.cx - 0.5], [0, camera.fy, camera.cy - 0.5], [0, 0, 1]]
    return {
        "colour": (view.rgb / np.float32(255)).astype(np.float32),
        "depth": np.where(view.mask >= COVERED, view.depth, 0).astype(np.float32),
        "intrinsics": np.array(lens, np.float64),
        "world_to_camera": OPENCV_TO_OPENGL @ camera.w2c,
    }


# -- to look at ------------------------------------------------------------------------------------------------------


def beside_each_other(columns: Sequence[tuple[Capture, Draw | None]], vertices: NDArray[np.float32]) -> Image.Image:
    """A few views, a row each, cut to the object and a mesh of these ``vertices``: a column shows a capture's
    photographs over white, or what is drawn from its cameras."""
    views = columns[0][0].views
    rows = sorted({round(k) for k in np.linspace(0, len(views) - 1, min(len(views), SHOWN))})
    frames = {row: frame_of(views[row], vertices) for row in rows}
    shown = [[_tile(frames[row].view(capture.views[row]), draw) for capture, draw in columns] for row in rows]
    width = max(tile.width for tiles in shown for tile in tiles)
    sheet = Image.new("RGB", (width * len(columns), ROW_PX * len(shown)), "white")
    for down, tiles in enumerate(shown):
        for across, tile in enumerate(tiles):
            sheet.paste(tile, (width * across + (width - tile.width) // 2, ROW_PX * down))
    return sheet


def _tile(view: View, draw: Draw | None) -> Image.Image:
    pixels = over_white(view) if draw is None else draw(view.camera).rgb
    picture = Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
    return picture.resize((max(1, round(picture.width * ROW_PX / picture.height)), ROW_PX), Image.Resampling.LANCZOS)
