"""Measuring a finished job: every model's delivered files, read back and compared with the capture.

Runs in a process of its own: the daemon sees only the JSON. One model's bad files never spoil another's figures.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from meshdrop.models.capture.capture import Capture, Subject, View
from meshdrop.models.contract.base import Progress
from meshdrop.models.files.limits import VIEWER_BYTES
from meshdrop.models.measure.agreement import backs_seen
from meshdrop.models.measure.figures import Measurement, ModelMeasurement, Quality, Topology, ViewQuality
from meshdrop.models.measure.frame import Frame, frame_of
from meshdrop.models.measure.judged_views import handed_cameras, handed_masks, views_to_judge
from meshdrop.models.measure.page_pictures import PAGE, save_view
from meshdrop.models.measure.pictures import Tiles, capture_sheet, chosen_views, contact_sheet, stills, tiles, windows
from meshdrop.models.measure.quality import compare, summarise
from meshdrop.models.measure.topology import topology
from meshdrop.models.mesh.mesh import MeshError, TexturedMesh, upright
from meshdrop.models.mesh.reload import check_files
from meshdrop.models.mesh.viewer_copy import viewer_copy
from meshdrop.models.raster.render import Picture, render

#: An odd number puts one sample on the pixel's centre, where measured depth belongs.
SAMPLES = 3


def measure(
    capture: Capture,
    model_dirs: Mapping[str, Path],
    out_dir: Path,
    report_progress: Progress,
    held_out: Mapping[str, Collection[str]] | None = None,
    listed: Mapping[str, Collection[str]] | None = None,
    elsewhere: Collection[str] = (),
    subjects: Mapping[str, Subject] | None = None,
) -> Measurement:
    """Read every model's files back, compare them with the capture and draw the previews.

    ``model_dirs`` maps a model's name to the folder that ``write_all`` filled; ``held_out`` names the views that a
    model was not fitted to, ``listed`` the files that its answer vouches for. Models in ``elsewhere`` do not stand
    in the capture's frame: their ``quality`` is None, and they are not on the contact sheet. ``subjects`` tells what a
    model took the capture for, an object where it says nothing. Writes into
    ``out_dir/previews``: ``capture.png``, ``contact.png`` and per model ``<model>/turntable_00.png`` ... and
    ``<model>/clay.png``; into ``out_dir/page`` what only the report's page shows (``models/measure/page_pictures.py``).
    Bad files end in that model's ``error``; errors of this machine (a full disk) are raised.
    """
    previews = out_dir / "previews"
    previews.mkdir(parents=True, exist_ok=True)
    report_progress(0.0, "capture picture")
    pictures = [_save(capture_sheet(capture), previews, "capture.png")]
    results: dict[str, ModelMeasurement] = {}
    sheets: dict[str, list[Tiles]] = {}
    for index, (name, folder) in enumerate(model_dirs.items()):

        def report_share(share: float, step: str, index: int = index, name: str = name) -> None:
            report_progress(100.0 * (index + share) / (len(model_dirs) + 0.1), f"{name}: {step}")

        not_fitted = frozenset((held_out or {}).get(name, ()))
        vouched = (listed or {}).get(name)
        subject = (subjects or {}).get(name, "object")
        compared = None if name in elsewhere else capture
        results[name], cells = _measure_model(
            name, folder, vouched, compared, subject, not_fitted, out_dir, report_share
        )
        if cells:
            sheets[name] = cells
    if sheets:
        report_progress(98.0, "contact sheet")
        pictures.append(_save(contact_sheet(sheets), previews, "contact.png"))
    report_progress(100.0, "measured")
    return Measurement(results, tuple(pictures))


def _measure_model(
    name: str,
    folder: Path,
    listed: Collection[str] | None,
    capture: Capture | None,
    subject: Subject,
    held_out: Collection[str],
    out_dir: Path,
    report_share: Progress,
) -> tuple[ModelMeasurement, list[Tiles]]:
    """One model's figures and its cells of the contact sheet (none when its files are bad or there is no capture)."""
    try:
        report_share(0.0, "reading the files back")
        files, mesh = check_files(folder, listed)
        masks = None if capture is None else handed_masks(folder, capture)
        cameras = {} if capture is None else handed_cameras(folder, capture, subject)
    except MeshError as error:
        return ModelMeasurement(error=error.to_json()), []
    shape = topology(mesh.vertices, mesh.faces)
    quality, cells = None, list[Tiles]()
    if capture is not None:
        seen = views_to_judge(capture, subject, masks, cameras)
        quality, cells = _compare_views(
            mesh,
            seen,
            held_out,
            out_dir / PAGE,
            name,
            report_share,
            scene=subject == "scene",
            closed=_closed(mesh, shape),
        )
    report_share(0.75, "turntable")
    pictures = _draw(upright(mesh, files.asset), out_dir / "previews" / name)
    viewer = _lighter(mesh, files.asset, out_dir / PAGE / name) if files.file_bytes["mesh.glb"] > VIEWER_BYTES else None
    return ModelMeasurement(files=files, topology=shape, quality=quality, pictures=pictures, viewer=viewer), cells


def _lighter(mesh: TexturedMesh, asset: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    copy = viewer_copy(mesh, VIEWER_BYTES, asset)
    if copy is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mesh.glb").write_bytes(copy.glb)
    return {"bytes": len(copy.glb), "faces": copy.faces, "texture_size": list(copy.texture_size)}


def _compare_views(
    mesh: TexturedMesh,
    capture: Capture,
    held_out: Collection[str],
    page: Path,
    name: str,
    report_share: Progress,
    *,
    scene: bool,
    closed: bool,
) -> tuple[Quality, list[Tiles]]:
    """Render every view once, for its figures, its tiles and the page's pictures; none of full size outlives its
    turn."""
    squares, chosen = windows(capture), set(chosen_views(capture))
    figures, small = [], []
    for index, one in enumerate(_compared(mesh, capture, held_out, scene=scene, closed=closed)):
        figures.append(one.figures)
        report_share(0.1 + 0.65 * (index + 1) / len(capture.views), f"view {one.figures.name}")
        if index in chosen:
            window = squares[index].inside(one.frame)
            small.append(tiles(one.view, one.picture, window, one.figures))
            save_view(one.view, one.picture, window, index, page, name)
    return summarise(figures), small


def compare_all(
    mesh: TexturedMesh, capture: Capture, held_out: Collection[str] = (), *, scene: bool = False
) -> Quality:
    """The figures of a mesh in all views of a capture, without pictures."""
    closed = _closed(mesh, topology(mesh.vertices, mesh.faces))
    return summarise([one.figures for one in _compared(mesh, capture, held_out, scene=scene, closed=closed)])


def _closed(mesh: TexturedMesh, shape: Topology) -> bool:
    """Whether a triangle's back can only be seen through a hole: all agree on a side, and that side is outside."""
    a, b, c = (mesh.vertices - mesh.vertices.mean(axis=0)).astype(np.float64)[mesh.faces].transpose(1, 0, 2)
    return shape.consistent_winding and float((a * np.cross(b, c)).sum()) > 0


@dataclass(frozen=True)
class _Compared:
    """One view beside its render, both cut to ``frame``."""

    frame: Frame
    view: View
    picture: Picture
    figures: ViewQuality


def _compared(
    mesh: TexturedMesh, capture: Capture, held_out: Collection[str], *, scene: bool, closed: bool
) -> Iterator[_Compared]:
    """Every view, one after the other. All the work is done inside the frame around the object and the mesh: outside of
    it both sides are white."""
    size_m = float(np.linalg.norm(np.ptp(mesh.vertices.astype(np.float64), axis=0)))
    for whole in capture.views:
        frame = frame_of(whole, mesh.vertices)
        view = frame.view(whole)
        picture = render(mesh, view.camera, background=(1.0, 1.0, 1.0), samples=SAMPLES)
        around, held = whole.mask.size - frame.pixels, whole.name in held_out
        inside = backs_seen(view.camera, mesh.vertices, mesh.faces) if closed and not scene else None
        figures = compare(view, picture, held_out=held, size_m=size_m, white_around=around, scene=scene, inside=inside)
        yield _Compared(frame, view, picture, figures)


def _draw(mesh: TexturedMesh, folder: Path) -> tuple[str, ...]:
    """Draw the stills of a mesh, +Y up, into ``folder``; returns their names relative to the folder above it."""
    folder.mkdir(exist_ok=True)
    drawn = stills(mesh)
    named = {f"turntable_{index:02d}.png": still for index, still in enumerate(drawn.turntable)}
    named["clay.png"] = drawn.clay
    return tuple(f"{folder.name}/{_save(still, folder, name)}" for name, still in named.items())


def _save(picture: Image.Image, folder: Path, name: str) -> str:
    """Run-length matches pack these pictures as well as deflate's whole search does, in half of the time."""
    picture.save(folder / name, "PNG", compress_type=zlib.Z_RLE)
    return name
