"""Pictures that are merely six: taken for the standard rig's where that is proven, and else never in silence."""

from __future__ import annotations

import shutil
from pathlib import Path

from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.probe.inspection import inspect
from tests.unit.models.synthetic import write_canonical


def as_numbers(folder: Path, *, depth: bool = True) -> Path:
    """The standard rig's pictures under names that any camera gives: rgb/0.png, depth/0.png."""
    write_canonical(folder)
    for place, target in (("views", "rgb"), ("depth", "depth")):
        for number, file in enumerate(sorted((folder / place).iterdir())):
            (folder / target).mkdir(exist_ok=True)
            file.rename(folder / target / f"{number}.png")
    for rest in ("capture.json", "masks", "views", *(() if depth else ("depth",))):
        path = folder / rest
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
    return folder


def test_pictures_that_are_merely_six_are_the_standard_rigs_where_their_depth_says_so(tmp_path: Path) -> None:
    found = inspect(as_numbers(tmp_path / "x"))
    assert found.ok, found.problems
    assert any("taken for those of the standard rig" in warning for warning in found.warnings)


def test_pictures_that_are_merely_six_are_refused_with_what_was_assumed(tmp_path: Path) -> None:
    """The turntable's pictures in another order: of pictures that say who they are that is another mistake."""
    folder = as_numbers(tmp_path / "x")
    for place in ("rgb", "depth"):
        for number in range(6):
            (folder / place / f"{number}.png").rename(folder / place / f"n{(number + 1) % 6}.png")
        for number in range(6):
            (folder / place / f"n{number}.png").rename(folder / place / f"{number}.png")
    found = inspect(folder)
    (problem,) = found.problems
    assert problem.code == "poses"
    assert "By their numbers alone" in problem.message
    assert '{"rig": "canonical"}' in problem.fix
    assert not any("depth agrees" in warning for warning in found.warnings)


def test_silhouettes_alone_do_not_make_six_pictures_the_standard_rigs(tmp_path: Path) -> None:
    folder = as_numbers(tmp_path / "x", depth=False)
    (problem,) = inspect(folder).problems
    assert problem.code == "poses"
    assert inspect(folder, CaptureLimits(default_rig="canonical")).ok
    (folder / "capture.json").write_text('{"rig": "canonical"}')
    assert inspect(folder).ok
