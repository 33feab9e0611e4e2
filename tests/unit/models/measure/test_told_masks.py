"""A view that the model did not have is judged by its own depth and the others' masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from meshdrop.models.capture.capture import Capture
from meshdrop.models.measure.judged_views import views_to_judge
from meshdrop.models.measure.told_masks import told_mask
from meshdrop.models.views.assembly import assemble
from tests.unit.models.views.scenes import ON_TABLE, above, photographed


@pytest.fixture(scope="module")
def cut_free() -> Capture:
    """A ball on a table that was measured too, with the masks that cut it free."""
    made_of = assemble(photographed(ON_TABLE, above(12, 160), 0.002, "depth"))
    assert made_of.subject == "table"
    views = tuple(replace(view, mask=made_of.masks[view.name]) for view in made_of.capture.views)
    return replace(made_of.capture, views=views)


def test_it_is_what_the_cut_would_have_been(cut_free: Capture) -> None:
    for index in (0, 5):
        view, others = cut_free.views[index], [view for n, view in enumerate(cut_free.views) if n != index]
        told = told_mask(view, others)
        assert told is not None
        both, either = (told * view.mask >= 0.5).sum(), (told + view.mask >= 0.5).sum()
        assert both / either > 0.9


def test_held_out_views_of_a_table_are_judged(cut_free: Capture) -> None:
    masks = {view.name: view.mask for view in cut_free.views[1:]}
    judged = views_to_judge(cut_free, "table", masks)
    assert 0.5 < judged.views[0].mask.sum() / cut_free.views[0].mask.sum() < 1.5
    assert all(np.array_equal(view.mask, masks[view.name]) for view in judged.views[1:])


def test_without_depth_or_with_few_others_nothing_is_told(cut_free: Capture) -> None:
    view, *others = cut_free.views
    assert told_mask(replace(view, depth=None), others) is None
    assert told_mask(view, others[:3]) is None
