"""What mask files mean: coverage of the object out of whatever numbers a program wrote, and masks that are inverted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.capture.masks import Mask, Rgb, background_colour, differs_from

#: Where the largest level of all masks lies below this share of what the files could hold, it is meant by white.
FAINT = 0.5
#: Depth, or the backdrop's colour, speaks for a side of the mask from this share on, and against it up to that one.
MOST_OF_IT = 0.5
HARDLY_ANY = 0.1
#: Depth that covers more of a picture than this says nothing about an object.
COMPLETE_DEPTH = 0.98
#: A mask that marks this share of the picture's edge marks the edge.
EDGE_SHARE = 0.9
#: So many of the views, of those that say anything, must say the same before masks are turned.
AGREED = 0.9
#: Outlines fit together from here on, and better than others by that much.
FITTING, CLEARLY_MORE_FITTING = 0.7, 0.15
#: Outlines that are all turned by a half fit together almost as well as they did: what counts is what they leave open.
LESS_OPEN = 0.6


@dataclass(frozen=True)
class MaskedView:
    """What speaks for or against a view's mask: its photograph (H, W, 3), and where depth was measured."""

    mask: Mask
    rgb: Rgb
    measured: NDArray[np.bool_] | None


def coverage(masks: Sequence[NDArray[Any] | None]) -> tuple[list[Mask | None], str | None]:
    """Every mask file's pixels as coverage in 0..1, and a sentence when their levels had to be stretched.

    Alpha where it says anything, else brightness. Programs that count (0 and 1, or an object's number) leave masks that
    look black: where all masks of a capture stay far below white, their largest level is white.
    """
    levels = [None if mask is None else _levels(mask) for mask in masks]
    most = max((float(level.max()) for level in levels if level is not None), default=0.0)
    if not 0 < most < FAINT:
        return levels, None
    told = f"The masks are faint: their largest level, {most:.2g} of white, was taken for white."
    return [None if level is None else level / np.float32(most) for level in levels], told


def _levels(mask: NDArray[Any]) -> Mask:
    if mask.ndim == 3 and mask.shape[2] in (2, 4) and mask[..., -1].min() < _full(mask):
        mask = mask[..., -1]
    elif mask.ndim == 3:
        mask = mask[..., : 1 if mask.shape[2] == 2 else 3].max(axis=2)
    shares: Mask = np.divide(mask, np.float32(_full(mask)), dtype=np.float32)
    return shares


def _full(mask: NDArray[Any]) -> int:
    return 1 if mask.dtype == np.bool_ else int(np.iinfo(mask.dtype).max)


def inverted(
    views: Sequence[MaskedView], outlines_agree: Callable[[Sequence[NDArray[np.bool_]]], float | None]
) -> str | None:
    """Why all masks are taken for inverted (they mark what is not the object), in a sentence; None where they are not.

    Three things can say so: depth was measured only where they mark nothing; they mark the picture's edge, and what
    they mark has the backdrop's one colour; they mark the edge, and their outlines fit together only when turned
    (``outlines_agree`` measures that, 0..1). Nothing is said unless hardly a view contradicts.
    """
    by_depth = [_by_depth(view) for view in views]
    if _agreed(by_depth):
        inside, outside = _median_shares([_depth_shares(view) for view in views])
        return (
            f"depth was measured in {outside:.0%} of what they leave out and in {inside:.0%} of what they mark "
            f"({_how_many(by_depth)} views)"
        )
    if any(vote is False for vote in by_depth):
        return None
    edges = [_edge_share(view.mask) for view in views]
    if np.mean([share >= EDGE_SHARE for share in edges]) < AGREED:
        return None
    by_backdrop = [_by_backdrop(view) for view in views]
    if _agreed(by_backdrop):
        return (
            f"they mark {np.median(edges):.0%} of the pictures' edge, and what they mark has the backdrop's colour "
            f"({_how_many(by_backdrop)} views)"
        )
    if any(vote is False for vote in by_backdrop):
        return None
    stated = outlines_agree([view.mask >= 0.5 for view in views])
    turned = outlines_agree([view.mask < 0.5 for view in views])
    if stated is None or turned is None or turned < FITTING or turned < stated + CLEARLY_MORE_FITTING:
        return None
    return (
        f"they mark {np.median(edges):.0%} of the pictures' edge, and their outlines agree to {turned:.0%} when "
        f"turned, to {stated:.0%} as they are ({len(views)} views)"
    )


def otherwise(
    stated: Sequence[MaskedView],
    other: Sequence[MaskedView],
    outlines_agree: Callable[[Sequence[NDArray[np.bool_]]], float | None],
) -> str | None:
    """Why masks are taken as they lie in ``other``, in a phrase; None where as they are stated will do.

    Depth that was measured inside of them and not outside says so, or else their outlines, which leave little open.
    """
    leads = [(_lead(one), _lead(two)) for one, two in zip(stated, other, strict=True)]
    said = np.array([pair for pair in leads if None not in pair], dtype=float)
    if len(said) * 2 >= len(stated):
        as_is, turned = said.mean(axis=0)
        if as_is >= turned + CLEARLY_MORE_FITTING:
            return None
        if turned >= as_is + CLEARLY_MORE_FITTING:
            return f"the measured depth fits them to {turned:.0%} only so, to {as_is:.0%} as they were"
    before, after = (outlines_agree([view.mask >= 0.5 for view in views]) for views in (stated, other))
    if before is None or after is None or after < FITTING or 1 - after > LESS_OPEN * (1 - before):
        return None
    return f"all outlines agree to {after:.0%} only so, to {before:.0%} as they were"


def _lead(view: MaskedView) -> float | None:
    """By how much more of what a mask marks was measured than of what it leaves out."""
    shares = _depth_shares(view)
    return None if shares is None else shares[0] - shares[1]


def _agreed(votes: Sequence[bool | None]) -> bool:
    """Whether the views that say anything, most of all, say that masks are inverted."""
    said = [vote for vote in votes if vote is not None]
    return len(said) * 2 >= len(votes) and bool(said) and sum(said) >= AGREED * len(said)


def _how_many(votes: Sequence[bool | None]) -> str:
    return f"{sum(vote is True for vote in votes)} of {len(votes)}"


def _by_depth(view: MaskedView) -> bool | None:
    shares = _depth_shares(view)
    return None if shares is None else _vote(*shares)


def _vote(inside: float, outside: float) -> bool | None:
    """True: what marks an object lies outside of the mask; False: inside; None: in both or neither."""
    if outside >= MOST_OF_IT and inside <= HARDLY_ANY:
        return True
    return False if inside >= MOST_OF_IT and outside <= HARDLY_ANY else None


def _depth_shares(view: MaskedView) -> tuple[float, float] | None:
    """Measured share of what the mask marks, and of what it leaves out."""
    if view.measured is None or view.measured.mean() > COMPLETE_DEPTH:
        return None
    return _shares(view.measured, view.mask)


def _shares(what: NDArray[np.bool_], mask: Mask) -> tuple[float, float] | None:
    inside = mask >= 0.5
    if not inside.any() or inside.all():
        return None
    return float(what[inside].mean()), float(what[~inside].mean())


def _median_shares(shares: Sequence[tuple[float, float] | None]) -> tuple[float, float]:
    said = np.array([share for share in shares if share is not None])
    inside, outside = np.median(said, axis=0)
    return float(inside), float(outside)


def _by_backdrop(view: MaskedView) -> bool | None:
    backdrop = background_colour(view.rgb)
    shares = None if backdrop is None else _shares(differs_from(view.rgb, backdrop), view.mask)
    return None if shares is None else _vote(*shares)


def _edge_share(mask: Mask) -> float:
    return float(np.mean(np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]) >= 0.5))
