"""How well views fit together: best where nothing is wrong with them, and no answer where nothing can be said."""

from __future__ import annotations

import numpy as np

from meshdrop.models.capture.agreement import colour_difference, outlines_agree
from tests.unit.models.synthetic import ANIMAL, ring_rig

RIG = [camera for _, camera in ring_rig(8, 96)]
DEPTHS = [ANIMAL.depth(camera) for camera in RIG]
OUTLINES = [depth > 0 for depth in DEPTHS]


def coloured(index: int) -> np.ndarray:
    v, u = np.indices(DEPTHS[index].shape) + 0.5
    place = RIG[index].unproject(u, v, DEPTHS[index])
    return np.asarray(np.clip(128 + 90 * np.sin(20 * place), 0, 255).astype(np.uint8))


def test_colours_fit_best_where_they_lie_and_exposure_does_not_count() -> None:
    images = [coloured(index) for index in range(8)]
    true = colour_difference(RIG, images, DEPTHS)
    turned = colour_difference(RIG, [image[::-1, ::-1] for image in images], DEPTHS)
    brighter = colour_difference(RIG, [image // 2 + 20 * (i % 3) for i, image in enumerate(images)], DEPTHS)
    assert true is not None
    assert turned is not None
    assert brighter is not None
    assert true < 0.6 * turned
    assert brighter < true


def test_outlines_fit_best_where_they_lie() -> None:
    true = outlines_agree(RIG, OUTLINES)
    assert true is not None
    assert true > 0.75
    turned = outlines_agree(RIG, [mask[::-1, ::-1] for mask in OUTLINES])
    inverted = outlines_agree(RIG, [~mask for mask in OUTLINES])
    assert turned is not None
    assert inverted is not None
    assert 1 - turned > 1.5 * (1 - true)
    assert inverted < true - 0.3


def test_nothing_is_said_without_anything_to_go_by() -> None:
    nothing = [np.zeros_like(depth) for depth in DEPTHS]
    assert colour_difference(RIG, [coloured(index) for index in range(8)], nothing) is None
    assert outlines_agree([RIG[0], RIG[0]], OUTLINES[:2]) is None, "they look along one line"
    assert outlines_agree(RIG, [np.zeros_like(mask) for mask in OUTLINES]) == 0
