"""The pictures inside report.html that are not previews: each view's photograph, render and difference, to be wiped
from one to the next.

They are JPEGs, cut to the object like the tiles of the contact sheet, and stay in the measuring process's own folder:
only the page carries them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from meshdrop.models.capture.capture import View
from meshdrop.models.measure.pictures import PictureWindow, cut_square, difference
from meshdrop.models.measure.quality import over_white
from meshdrop.models.raster.render import Picture

Floats = NDArray[np.float32]

#: Below the measuring process's folder; ``NN`` is the number of the view in the capture:
#: ``page/NN_photo.jpg``, ``page/MODEL/NN_render.jpg``, ``page/MODEL/NN_difference.jpg`` and ``page/MODEL/mesh.glb``.
PAGE = "page"
#: Longest side of a picture; the page shows them about so large.
SIDE_PX = 520
JPEG_QUALITY = 88


def save_view(view: View, picture: Picture, window: PictureWindow, index: int, folder: Path, model: str) -> None:
    """Save one view's three pictures below ``folder``; ``view`` and ``picture`` as ``models.measure.pictures.tiles``
    takes them."""
    photo, stem = over_white(view), f"{index:02d}"
    (folder / model).mkdir(parents=True, exist_ok=True)
    side = min(window.side, SIDE_PX)
    if not (folder / f"{stem}_photo.jpg").exists():
        _save(cut_square(photo, window, side), folder / f"{stem}_photo.jpg")
    _save(cut_square(picture.rgb, window, side), folder / model / f"{stem}_render.jpg")
    _save(cut_square(difference(view, photo, picture), window, side), folder / model / f"{stem}_difference.jpg")


def _save(picture: Image.Image, file: Path) -> None:
    picture.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
