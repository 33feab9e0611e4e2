"""Pictures as their cameras see them: the turn that a camera noted is applied to a picture, or it is not.

Intrinsics and poses are of one of the two: of the picture as it is stored, or of the picture held upright. A stated
size decides where the two have different ones; else what the format's programs do with the note (``SEES``), unless what
the views show says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.decoding import Pixels
from meshdrop.models.capture.expectation import ViewFiles

Sees = Literal["stored", "upright"]

#: Which picture the cameras of a format are of where sizes do not tell; ``docs/capture-format.md`` says by whom.
SEES: Mapping[str, Sees] = {
    "canonical": "upright",
    "frames": "upright",
    "rig": "upright",
    "colmap": "stored",
    "transforms": "stored",
    "blender": "stored",
    "polycam": "stored",
    "bop": "stored",
    "llff": "stored",
    "7-scenes": "stored",
    "tum": "stored",
    "record3d": "stored",
    "3d-scanner-app": "stored",
}
#: The turn that takes each one back: only quarters have another.
UNDOES: Mapping[int, int] = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
#: One reading of the notes is believed against the format's custom when it disagrees this much less.
CLEARLY_BETTER = 0.8


@dataclass(frozen=True)
class ViewPictures:
    """One view's files as they were decoded.

    ``mask_turn`` is EXIF's number of the turn that may part the mask from its photograph, where the mask's shape does
    not tell; 1 where none can.
    """

    files: ViewFiles
    image: Pixels
    depth: Pixels | None
    mask: Pixels | None
    mask_turn: int = 1


@dataclass(frozen=True)
class Turned:
    """The views with their photographs turned or not, and a sentence about it; None where no camera noted a turn."""

    views: tuple[ViewPictures, ...]
    told: str | None = None


def upright(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels (H, W, ...) turned as EXIF's number says: 2 to 4 keep width and height, 5 to 8 exchange them."""
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}
    turned = np.rot90(values, turns[orientation])
    if orientation in (2, 4):
        turned = turned[:, ::-1]
    elif orientation in (5, 7):
        turned = turned[::-1]
    return np.ascontiguousarray(turned)


def turn(
    views: Sequence[ViewPictures],
    layout: str,
    sizes: Mapping[str, tuple[float | None, float | None]],
    disagreement: Callable[[Sequence[ViewPictures]], float | None],
) -> Turned:
    """Every photograph that has a note as its camera sees it; ``sizes`` are (w, h) stated for a view, by its name.

    ``disagreement`` measures how badly views fit together, None where that cannot be told; it is asked only about
    turns that leave a picture's size as it is, because a picture of another size fits no camera. Depth and masks are
    turned with their photograph, or back, where only that gives them its shape.
    """
    noted = [view for view in views if view.image.orientation != 1]
    if not noted:
        return Turned(tuple(views))
    custom = SEES.get(layout, "stored")
    by_size = {view.files.name: _by_size(view, sizes.get(view.files.name, (None, None))) for view in noted}
    open_ = frozenset(name for name, found in by_size.items() if found is None)

    def read(sees: Sees) -> tuple[ViewPictures, ...]:
        return tuple(_seen(view, by_size.get(view.files.name) or sees) for view in views)

    usual = read(custom)
    if not open_:
        return Turned(usual, _by_sizes_sentence(by_size))
    other: Sees = "stored" if custom == "upright" else "upright"
    if any(_is_quarter(view.image.orientation) and not _is_square(view) for view in noted if view.files.name in open_):
        return Turned(usual, _sentence(len(open_), custom, "as is usual for cameras of this kind"))
    ours, theirs = disagreement(usual), disagreement(read(other))
    if ours is None or theirs is None:
        return Turned(usual, _sentence(len(open_), custom, "as is usual for cameras of this kind"))
    if theirs < CLEARLY_BETTER * ours:
        return Turned(read(other), _sentence(len(open_), other, "because the views agree only so"))
    why = "and the views agree" if ours < CLEARLY_BETTER * theirs else "as is usual for cameras of this kind"
    return Turned(usual, _sentence(len(open_), custom, why))


def _by_size(view: ViewPictures, stated: tuple[float | None, float | None]) -> Sees | None:
    """What the stated size says, or that of a depth map that is no square; None where it says nothing."""
    height, width = view.image.values.shape[:2]
    if not _is_quarter(view.image.orientation) or width == height:
        return None
    w, h = stated
    for first, second in ((w, h), *(() if view.depth is None else (view.depth.values.shape[1::-1],))):
        if (first, second) == (width, height) or (second is None and first == width):
            return "stored"
        if (first, second) == (height, width) or (second is None and first == height):
            return "upright"
    return None


def _is_quarter(orientation: int) -> bool:
    return orientation >= 5


def _is_square(view: ViewPictures) -> bool:
    height, width = view.image.values.shape[:2]
    return bool(height == width)


def _seen(view: ViewPictures, sees: Sees) -> ViewPictures:
    orientation = view.image.orientation
    if orientation == 1:
        return view
    stored = _proportion(view.image.values.shape)
    image = view.image
    if sees == "upright":
        image = Pixels(upright(image.values, orientation), 1, image.told)

    def along(other: Pixels | None) -> Pixels | None:
        if other is None or other.orientation not in (1, orientation):
            return other
        shape = _proportion(other.values.shape)
        if sees == "stored":  # programs that cut objects out write masks of the picture that they show
            turn = UNDOES[orientation] if _is_quarter(orientation) and shape == -stored != 0 else 1
        else:
            noted = other.orientation == orientation  # a mask that a phone's own program wrote may have the note too
            turn = orientation if noted or (shape == stored != _proportion(image.values.shape)) else 1
        return other if turn == 1 else Pixels(upright(other.values, turn), 1, other.told)

    mask, open_ = along(view.mask), 1
    unturned = mask is not None and mask is view.mask and mask.orientation == 1
    if unturned and not (_is_quarter(orientation) and stored):
        open_ = orientation if sees == "upright" else UNDOES[orientation]
    return replace(view, image=image, depth=along(view.depth), mask=mask, mask_turn=open_)


def _proportion(shape: tuple[int, ...]) -> int:
    """-1, 0 or 1: upright, square or lying."""
    return (shape[1] > shape[0]) - (shape[1] < shape[0])


def _by_sizes_sentence(by_size: Mapping[str, Sees | None]) -> str:
    turned = sum(sees == "upright" for sees in by_size.values())
    kept = len(by_size) - turned
    parts = [_sentence(turned, "upright", "as the stated size asks for")] if turned else []
    parts += [_sentence(kept, "stored", "as the stated size asks for")] if kept else []
    return " ".join(parts)


def _sentence(count: int, sees: Sees, why: str) -> str:
    pictures = f"{count} picture{'s' if count > 1 else ''}"
    done = "turned upright" if sees == "upright" else "taken as stored, not turned"
    return f"{pictures} with a note of how the camera was held (EXIF): {done}, {why}."
