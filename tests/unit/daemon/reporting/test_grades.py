"""The verdict: four questions, the worst answer, the worst view, and figures that never help by being worse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshdrop.daemon.reporting.grades import LIMITS, VERDICTS, Appraisal, appraise, likeness
from meshdrop.daemon.workers.answers import value_of
from meshdrop.models.measure.figures import MeanQuality, Quality
from meshdrop.models.measure.measure import compare_all
from meshdrop.models.mesh.mesh import TexturedMesh
from tests import meshes
from tests.figures import MEAN, quality, view
from tests.photographs import photographed


def judged(*views: dict[str, Any]) -> Appraisal:
    return appraise(value_of(Quality, quality(*views)))


def answers(found: Appraisal) -> dict[str, str | None]:
    return {answer.question: answer.verdict for answer in found.answers}


def everywhere(**parts: Any) -> list[dict[str, Any]]:
    """The same in three views."""
    return [view(name, **parts) for name in ("front", "left", "top")]


def test_a_good_mesh_is_good_in_all_four() -> None:
    found = judged(*everywhere())
    assert found.verdict == "normal"
    assert set(answers(found).values()) == {"normal"}
    assert found.worst_view is None
    assert [answer.wants for answer in found.answers] == [""] * 4


@pytest.mark.parametrize(
    ("question", "parts", "verdict"),
    [
        ("silhouettes", {"silhouette": {"rim_iou": 0.97}}, "warning"),
        ("silhouettes", {"silhouette": {"rim_iou": 0.84}}, "failure"),
        ("depth", {"depth": {"within_tolerance": 0.85}}, "warning"),
        ("depth", {"depth": {"within_tolerance": 0.1}}, "failure"),
        ("depth", {"depth": {"bias_mm": 3.0}}, "warning"),  # three times its resolution, and all within the tolerance
        ("depth", {"depth": {"bias_mm": -3.0}}, "warning"),
        ("colours", {"colour": {"explained": 0.5, "psnr_db": 20.0}}, "warning"),
        ("colours", {"colour": {"explained": -0.4, "psnr_db": 13.0}}, "failure"),
        ("coverage", {"coverage": 0.95}, "warning"),
        ("coverage", {"coverage": 0.6}, "failure"),
    ],
)
def test_the_worst_answer_is_the_verdict(question: str, parts: dict[str, Any], verdict: str) -> None:
    found = judged(*everywhere(**parts))
    assert answers(found) == {one: verdict if one == question else "normal" for one in answers(found)}
    assert found.verdict == verdict
    (short,) = found.short_of("normal")
    assert short.wants.startswith("a usable mesh has" if verdict == "failure" else "a good mesh has")


def test_a_flat_object_is_not_asked_for_contrast() -> None:
    """Of a white cup next to nothing is there to be explained; 40 dB say that its colour is right."""
    assert answers(judged(*everywhere(colour={"explained": 0.0, "psnr_db": 40.0})))["colours"] == "normal"


@pytest.mark.parametrize("views", [3, 6, 60])
def test_one_bad_view_keeps_a_mesh_from_being_good_and_is_named(views: int) -> None:
    """A mirror that one view of six sees is gone: the mean hides it."""
    good = [view(f"view_{index}") for index in range(views - 1)]
    found = judged(*good, view("left", coverage=0.9))
    assert (found.verdict, answers(found)["coverage"]) == ("warning", "warning")
    assert found.worst_view is not None
    assert (found.worst_view.name, found.worst_view.question) == ("left", "coverage")
    assert "90.0 % of the object is there" in found.worst_view.says
    assert "(least in left: 90.0 %)" in next(one.says for one in found.answers if one.question == "coverage")


def test_one_bad_view_of_many_makes_no_failure() -> None:
    good = [view(f"view_{index}") for index in range(11)]
    lost: dict[str, Any] = {"silhouette": {"rim_iou": 0.0}, "depth": {"within_tolerance": 0.0}, "coverage": 0.0}
    assert judged(*good, view("left", **lost)).verdict == "warning"


def test_held_out_views_decide() -> None:
    fitted = everywhere()
    held_out = view("back", held_out=True, coverage=0.5)
    found = judged(*fitted, held_out)
    assert (found.verdict, found.views) == ("failure", "held out")
    assert judged(*everywhere(coverage=0.5), view("back", held_out=True)).verdict == "warning"


def test_a_held_out_view_that_tells_nothing_leaves_the_answer_to_the_others() -> None:
    """Of a table's object a view that the model never had has no mask."""
    nothing = {"depth": None, "silhouette": None, "colour": None, "coverage": None}
    found = judged(*everywhere(coverage=0.5), view("back", held_out=True, **nothing))
    assert (found.verdict, found.views) == ("failure", "all")


def test_what_was_not_measured_stays_open() -> None:
    found = judged(*everywhere(depth=None))
    assert (found.verdict, answers(found)["depth"]) == ("normal", None)
    assert "nothing can be told" in next(one.says for one in found.answers if one.question == "depth")


def test_without_outlines_and_depth_nothing_is_good() -> None:
    """A closed box around everything with the whole picture as its mask agrees with itself."""
    assert judged(*everywhere(depth=None, silhouette=None)).verdict == "warning"
    assert judged(*everywhere(silhouette=None)).verdict == "normal"  # a scene has depth


def test_depth_that_lies_beside_the_object_speaks_against_the_masks() -> None:
    """Masks that mark the background leave a block with holes that agrees with itself and touches nothing measured."""
    found = judged(*everywhere(depth=None, depth_elsewhere=True))
    assert (found.verdict, answers(found)["depth"]) == ("warning", "warning")
    mesh = meshes.sphere()
    capture = photographed(mesh)
    inverted = tuple(replace(view, mask=1 - view.mask) for view in capture.views)
    assert appraise(compare_all(mesh, replace(capture, views=inverted))).verdict == "failure"


def test_a_mesh_of_which_nothing_is_known_fails() -> None:
    assert judged(*everywhere(depth=None, silhouette=None, colour=None, coverage=None)).verdict == "failure"


@pytest.mark.parametrize(
    ("psnr", "ssim", "word"),
    [
        (25.0, 0.85, "close"),
        (24.99, 0.99, "fair"),
        (60.0, 0.8499, "fair"),
        (20.0, 0.75, "fair"),
        (19.99, 1.0, "unlike"),
        (60.0, 0.7499, "unlike"),
    ],
)
def test_likeness_has_words_of_its_own(psnr: float, ssim: float, word: str) -> None:
    mean = value_of(MeanQuality, {**MEAN, "psnr_masked_db": psnr, "ssim_masked": ssim})
    assert likeness(mean).split(":")[0] == word
    assert likeness(replace(mean, ssim_masked=None)) == "not compared"


SHARES = st.floats(0.0, 1.0)
VIEWS = st.builds(
    lambda rim, within, bias, explained, psnr, there, held_out: view(
        held_out=held_out,
        silhouette={"rim_iou": rim},
        depth={"within_tolerance": within, "bias_mm": bias},
        colour={"explained": explained, "psnr_db": psnr},
        coverage=there,
    ),
    *(SHARES, SHARES, st.floats(-9.0, 9.0), st.floats(-1.0, 1.0), st.floats(5.0, 60.0), SHARES, st.booleans()),
)
#: Where a figure stands in a view, and how to make it worse by a share of what there is to lose.
WORSE: dict[tuple[str, str], Any] = {
    ("silhouette", "rim_iou"): lambda value, by: value * (1 - by),
    ("depth", "within_tolerance"): lambda value, by: value * (1 - by),
    ("depth", "bias_mm"): lambda value, by: value * (1 + 9 * by),
    ("colour", "explained"): lambda value, by: value - by * (value + 1),
    ("colour", "psnr_db"): lambda value, by: value * (1 - by),
    ("coverage", ""): lambda value, by: value * (1 - by),
}


@settings(max_examples=400, deadline=None)
@given(st.lists(VIEWS, min_size=1, max_size=5), st.data())
def test_a_worse_figure_never_earns_a_better_verdict(views: list[dict[str, Any]], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(views) - 1))
    part, name = data.draw(st.sampled_from(sorted(WORSE)))
    by = data.draw(SHARES)
    one = views[index]
    before = one[part] if not name else one[part][name]
    after = WORSE[part, name](before, by)
    worse = {**one, part: after if not name else {**one[part], name: after}}
    changed = [*views[:index], worse, *views[index + 1 :]]
    assert VERDICTS.index(judged(*changed).verdict) >= VERDICTS.index(judged(*views).verdict)


def cut(mesh: TexturedMesh, share: float, seed: int) -> TexturedMesh:
    """The mesh without so many of its triangles: those farthest in a direction that may be any."""
    aim = np.random.default_rng(seed).normal(size=3)
    along = mesh.vertices[mesh.faces].mean(axis=1) @ aim
    kept = along < np.quantile(along, 1 - share)
    return replace(mesh, faces=mesh.faces[kept], uv=mesh.uv[kept])


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("depth", [True, False])
def test_a_mesh_without_a_part_is_never_good(share: float, seed: int, depth: bool) -> None:
    mesh = meshes.sphere()
    capture = photographed(mesh, depth=depth)
    assert appraise(compare_all(mesh, capture)).verdict == "normal"
    found = appraise(compare_all(cut(mesh, share, seed), capture))
    assert found.verdict != "normal"


def test_a_mesh_that_is_inside_out_is_not_called_missing() -> None:
    """Its triangles agree on a side that is not the outer one: their backs tell nothing."""
    mesh = meshes.torus()
    turned = replace(mesh, faces=mesh.faces[:, ::-1].copy(), uv=mesh.uv[:, ::-1].copy())
    assert answers(appraise(compare_all(turned, photographed(mesh))))["coverage"] == "normal"


def test_another_exposure_of_a_view_changes_no_verdict() -> None:
    mesh = meshes.torus()
    capture = photographed(mesh)
    dark = replace(capture.views[0], rgb=(capture.views[0].rgb * 0.7).astype(np.uint8))
    exposed = replace(capture, views=(dark, *capture.views[1:]))
    assert appraise(compare_all(mesh, exposed)).verdict == appraise(compare_all(mesh, capture)).verdict == "normal"


def test_a_larger_mesh_is_not_good() -> None:
    mesh = meshes.torus()
    capture = photographed(mesh)
    for by in (0.9, 1.1, 2.0):
        assert (
            appraise(compare_all(replace(mesh, vertices=mesh.vertices * np.float32(by)), capture)).verdict != "normal"
        )


def test_every_limit_is_a_step_down() -> None:
    for limit in LIMITS:
        assert limit.worst <= limit.normal
        assert limit.usable is None or limit.usable < limit.normal
