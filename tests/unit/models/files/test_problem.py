"""Equal problems of many files are told once, with their number and first names; different ones each."""

from __future__ import annotations

from meshdrop.models.files.problem import Problem, told_once

BLACK = "The image is black."


def test_equal_problems_are_one() -> None:
    """Two hundred pictures were four hundred lines."""
    problems = [Problem("semantic", f"images/{n:03d}.png", BLACK, "Check the lamp.") for n in range(200)]
    (one,) = told_once(problems)
    assert (one.code, one.file, one.fix) == ("semantic", "images/000.png", "Check the lamp.")
    assert one.message == f"{BLACK} The same of 199 more: images/001.png, images/002.png, images/003.png and 196 more."


def test_sentences_that_differ_in_names_and_numbers_are_equal() -> None:
    problems = [
        Problem("calib", "transforms.json", f"View frame_{n}: the pose is off by {n}.5.", "Export it again.")
        for n in range(3)
    ]
    (one,) = told_once(problems)
    assert one.message == "View frame_0: the pose is off by 0.5. The same of 2 more."
    problems = [Problem("dims", f"{n}.png", f"{n}.png has {n * 10} pixels.", "Export it.") for n in range(4)]
    assert len(told_once(problems)) == 1


def test_different_problems_stay_apart_and_in_their_order() -> None:
    problems = [
        Problem("semantic", "a.png", BLACK, "Check the lamp."),
        Problem("set", "b.png", "The file is missing.", "Copy it."),
        Problem("semantic", "c.png", BLACK, "Check the export."),
        Problem("semantic", "d.png", BLACK, "Check the lamp."),
    ]
    assert [problem.file for problem in told_once(problems)] == ["a.png", "b.png", "c.png"]


def test_one_problem_is_itself() -> None:
    problem = Problem("set", None, "Nothing is there.", "Copy it.")
    assert told_once([problem]) == (problem,)
    assert told_once([]) == ()
