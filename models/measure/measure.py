"""Measuring a finished job: every model's delivered files, read back and compared with the capture.

Runs in a process of its own: the daemon sees only the JSON. One model's bad files never spoil another's figures.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from meshdrop.models.capture.capture import Capture
from meshdrop.models.contract.base import Progress
from meshdrop.models.files.limits import VIEWER_BYTES
from meshdrop.models.measure.figures import Measurement, ModelMeasurement, Quality
from meshdrop.models.measure.frame import frame_of
from meshdrop.models.measure.page_pictures import PAGE, save_view
from meshdrop.models.measure.pictures import Tiles, capture_sheet, chosen_views, contact_sheet, stills, tiles, windows
from meshdrop.models.measure.quality import compare, summarise
from meshdrop.models.measure.topology import topology
from meshdrop.models.mesh.mesh import MeshError, TexturedMesh, upright
from meshdrop.models.mesh.reload import check_files
from meshdrop.models.mesh.viewer_copy import viewer_copy
from meshdrop.models.raster.render import render

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
) -> Measurement:
    """Read every model's files back, compare them with the capture and draw the previews.

    ``model_dirs`` maps a model's name to the folder that ``write_all`` filled; ``held_out`` names the views that a
    model was not fitted to, ``listed`` the files that its answer vouches for. Models in ``elsewhere`` do not stand
    in the capture's frame: their ``quality`` is None, and they are not on the contact sheet. Writes into
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
        compared = None if name in elsewhere else capture
        results[name], cells = _measure_model(name, folder, vouched, compared, not_fitted, out_dir, report_share)
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
    held_out: Collection[str],
    out_dir: Path,
    report_share: Progress,
) -> tuple[ModelMeasurement, list[Tiles]]:
    """One model's figures and its cells of the contact sheet (none when its files are bad or there is no capture)."""
    try:
        report_share(0.0, "reading the files back")
        files, mesh = check_files(folder, listed)
    except MeshError as error:
        return ModelMeasurement(error=error.to_json()), []
    shape = topology(mesh.vertices, mesh.faces)
    quality, cells = None, list[Tiles]()
    if capture is not None:
        quality, cells = _compare_views(mesh, capture, held_out, out_dir / PAGE, name, report_share)
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
    mesh: TexturedMesh, capture: Capture, held_out: Collection[str], page: Path, name: str, report_share: Progress
) -> tuple[Quality, list[Tiles]]:
    """Render every view once, for its figures, its tiles and the page's pictures; none of full size outlives its turn.

    All the work is done inside the frame around the object and the mesh: outside of it both sides are white.
    """
    size_m = float(np.linalg.norm(np.ptp(mesh.vertices.astype(np.float64), axis=0)))
    squares, chosen = windows(capture), set(chosen_views(capture))
    figures, small = [], []
    for index, whole in enumerate(capture.views):
        report_share(0.1 + 0.65 * index / len(capture.views), f"view {whole.name}")
        frame = frame_of(whole, mesh.vertices)
        view = frame.view(whole)
        picture = render(mesh, view.camera, background=(1.0, 1.0, 1.0), samples=SAMPLES)
        around, held = whole.mask.size - frame.pixels, whole.name in held_out
        figures.append(compare(view, picture, held_out=held, size_m=size_m, white_around=around))
        if index in chosen:
            window = squares[index].inside(frame)
            small.append(tiles(view, picture, window, figures[-1]))
            save_view(view, picture, window, index, page, name)
    return summarise(figures), small


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
