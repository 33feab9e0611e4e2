"""Which way is up in a mesh's files, and the way back to the capture's world, in words for people.

The facts are those of ``models.measure.provenance.standing``, as the GLB's own extras say them.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshdrop.daemon.reporting.facts import ModelReport
from meshdrop.daemon.reporting.tables import dig


@dataclass(frozen=True)
class StandingWords:
    """How one mesh stands: a sentence, and the rows of the matrix from the GLB's scene to the capture's world."""

    sentence: str
    matrix: tuple[str, ...]


def standing(model: ModelReport) -> StandingWords | None:
    """The words for a model of the report; None where its files do not say it."""
    files = None if model.measured is None else model.measured.files
    asset = None if files is None else files.asset
    up, matrix = dig(asset, "world_up"), dig(asset, "to_capture_world")
    if not _is_row(up, 3) or not isinstance(matrix, list) or not all(_is_row(row, 4) for row in matrix):
        return None
    says = dig(asset, "world_up_says")
    told = [f"Up is {_axis(up)} of the capture's world{f', {says}' if says else ''}."]
    if up != [0.0, 1.0, 0.0]:
        told.append("A node of the GLB (and of a USDZ) turns that to +Y; OBJ and PLY hold the capture's own axes.")
    if origin := dig(asset, "origin_m"):
        told.append(f"All files are relative to ({', '.join(_number(value) for value in origin)}) m of that world.")
    told.append("This matrix takes a point of the GLB's scene back to the capture's world:")
    return StandingWords(" ".join(told), tuple("  ".join(map(_number, row)) for row in matrix))


def _axis(up: list[float]) -> str:
    for value, letter in zip(up, "XYZ", strict=True):
        if abs(value) > 1 - 1e-12:
            return f"{'+' if value > 0 else '-'}{letter}"
    return f"({', '.join(f'{value:.4f}' for value in up)})"


def _number(value: float) -> str:
    return f"{value:.10g}"


def _is_row(value: object, length: int) -> bool:
    return isinstance(value, list) and len(value) == length and all(isinstance(number, int | float) for number in value)
