"""A view is prepared as of an object, with its silhouette, or as of a scene, without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from meshdrop.models.surface.range_view import prepare, prepare_scene
from tests.unit.models.views.scenes import BALL, ROOM, around, outward, photographed


def test_beyond_the_mask_nothing_is_measured_of_an_object() -> None:
    view = photographed(BALL, around(6), 0.002).views[0]
    assert view.depth is not None
    every = np.where(view.depth == 0, np.float32(3.0), view.depth)
    found = prepare(replace(view, depth=every))
    assert (found.depth[view.mask < 0.5] == 0).all()
    assert ((found.outline < 0) == (view.mask >= 0.5)).mean() > 0.99
    assert not found.open_border


def test_a_scene_has_no_silhouette_and_its_border_says_nothing() -> None:
    view = photographed(ROOM, outward(6), 0.002).views[0]
    found = prepare_scene(replace(view, mask=np.zeros_like(view.mask)))
    assert (found.outline < 0).all()
    assert found.open_border
    assert (found.depth > 0).mean() > 0.98


def test_facts_are_whole_and_measured_pixels_have_them_all() -> None:
    for view in (*photographed(BALL, around(6), 0.003).views, *photographed(ROOM, outward(6), 0.003).views):
        for found in (prepare(view), prepare_scene(view)):
            measured = found.depth > 0
            assert all(np.isfinite(fact).all() for fact in (found.depth, found.factor, found.outline, found.spread))
            assert ((found.factor > 0) == measured).all()
            # a distance to a plane is no longer than the way to it along a ray, which the planar depth difference is
            # at most 1 / cos times
            assert (found.factor <= 1 / np.cos(np.arctan(np.sqrt(2) / 2 / 0.6)) * 1.0001).all()
            assert (found.spread[measured] > 0).all()


def test_without_depth_or_object_all_is_empty() -> None:
    view = photographed(BALL, around(6)).views[0]
    assert not prepare(replace(view, depth=None)).depth.any()
    assert not prepare_scene(replace(view, depth=None)).depth.any()
    empty = prepare(replace(view, mask=np.zeros_like(view.mask)))
    assert not empty.depth.any()
    assert (empty.outline > 0).all()
