"""The tables of the report page: which figure, in which unit, which direction is better, and how it is written.

Everything here turns values into text. A figure that was not taken is a dash, never a zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["higher", "lower", ""]

NOT_TAKEN = "–"
#: Units of lengths, areas and volumes.
LENGTHS = frozenset({"mm", "cm²", "cm³"})


@dataclass(frozen=True)
class Figure:
    """One row: where its value is, as names from the outside in, and how a person should read it.

    ``scale`` multiplies the stored value into ``unit``; ``digits`` are those behind the point.
    """

    label: str
    path: tuple[str, ...]
    unit: str
    better: Better
    digits: int
    meaning: str
    scale: float = 1.0

    def value(self, facts: Any) -> float | None:
        """The figure in its unit, or None when it was not taken; a mesh that is in no unit has no lengths."""
        if self.unit in LENGTHS and dig(facts, "registered") is False:
            return None
        found = dig(facts, *self.path)
        return None if found is None or isinstance(found, bool | str) else float(found) * self.scale

    def text(self, facts: Any) -> str:
        """The figure as written in a table, without its unit."""
        value = self.value(facts)
        return NOT_TAKEN if value is None else f"{value:,.{self.digits}f}"


@dataclass(frozen=True)
class Cell:
    """A table cell; ``leading`` marks the best of several."""

    text: str
    leading: bool = False


@dataclass(frozen=True)
class Row:
    """A figure's row over all models."""

    figure: Figure
    cells: tuple[Cell, ...]


MEAN = ("measured", "quality", "mean")
HELD_OUT = ("measured", "quality", "held_out")
SHAPE = ("measured", "topology")
FILES = ("measured", "files")

#: What decides first, what explains later.
MODEL_FIGURES: tuple[Figure, ...] = (
    Figure(
        "PSNR on the object",
        (*MEAN, "psnr_masked_db"),
        "dB",
        "higher",
        1,
        "How close the rendered colours are to the photographs, on the object's pixels; mean of the views.",
    ),
    Figure(
        "SSIM on the object",
        (*MEAN, "ssim_masked"),
        "",
        "higher",
        3,
        "How alike the fine structure is, 1 is identical; on the object's pixels, mean of the views.",
    ),
    Figure(
        "PSNR on the object, held-out views",
        (*HELD_OUT, "psnr_masked_db"),
        "dB",
        "higher",
        1,
        "The same over the views that the model never saw: worth more than the fitted ones.",
    ),
    Figure(
        "SSIM on the object, held-out views",
        (*HELD_OUT, "ssim_masked"),
        "",
        "higher",
        3,
        "The same over the views that the model never saw: worth more than the fitted ones.",
    ),
    Figure(
        "PSNR on the whole image",
        (*MEAN, "psnr_whole_db"),
        "dB",
        "higher",
        1,
        "Includes the white background, so a small object scores high whatever it looks like.",
    ),
    Figure(
        "SSIM on the whole image",
        (*MEAN, "ssim_whole"),
        "",
        "higher",
        3,
        "Includes the white background, so a small object scores high whatever it looks like.",
    ),
    Figure(
        "Silhouette overlap",
        (*MEAN, "silhouette_iou"),
        "%",
        "higher",
        2,
        "Intersection over union of the object's mask and the rendered silhouette.",
        100.0,
    ),
    Figure(
        "Depth error, median",
        (*MEAN, "depth_median_mm"),
        "mm",
        "lower",
        2,
        "Half of the measured depth pixels are closer to the mesh than this; mean of the views.",
    ),
    Figure(
        "Depth error, 95 %",
        (*MEAN, "depth_p95_mm"),
        "mm",
        "lower",
        2,
        "Nineteen in twenty measured depth pixels are closer to the mesh than this; mean of the views.",
    ),
    Figure(
        "Depth offset",
        (*MEAN, "depth_bias_mm"),
        "mm",
        "",
        2,
        "Median of mesh minus measurement: positive means that the mesh lies behind the measured surface.",
    ),
    Figure(
        "Depth within 1 mm",
        (*MEAN, "depth_within_1mm"),
        "%",
        "higher",
        1,
        "Share of the measured depth pixels that lie within 1 mm of the mesh.",
        100.0,
    ),
    Figure(
        "Depth within 2 mm",
        (*MEAN, "depth_within_2mm"),
        "%",
        "higher",
        1,
        "Share of the measured depth pixels that lie within 2 mm of the mesh.",
        100.0,
    ),
    Figure(
        "Depth within 5 mm",
        (*MEAN, "depth_within_5mm"),
        "%",
        "higher",
        1,
        "Share of the measured depth pixels that lie within 5 mm of the mesh.",
        100.0,
    ),
    Figure(
        "Surface that no camera saw",
        (*FILES, "unseen_share"),
        "%",
        "lower",
        1,
        "Share of the surface area whose texture was filled in.",
        100.0,
    ),
    Figure(
        "Texture used twice",
        (*FILES, "overlap_share"),
        "%",
        "lower",
        2,
        "Share of the used texels on which triangles lie over each other: paint for one shows on both.",
        100.0,
    ),
    Figure("Triangles", (*FILES, "faces"), "", "", 0, "Triangles in the mesh."),
    Figure("Vertices", (*FILES, "vertices"), "", "", 0, "Distinct places; the GLB repeats those on chart borders."),
    Figure("Time", ("seconds",), "s", "lower", 1, "Wall-clock time of the model's process."),
    Figure("CPU time", ("cpu_seconds",), "s", "lower", 1, "Processor time of the model's process, all cores together."),
    Figure("Peak memory", ("peak_rss_mib",), "MiB", "lower", 0, "Largest main memory of the model's process."),
    Figure("Peak GPU memory", ("peak_vram_mib",), "MiB", "lower", 0, "Largest GPU memory of the model's process."),
)

VIEW_FIGURES: tuple[Figure, ...] = (
    Figure("PSNR, object", ("psnr_masked_db",), "dB", "higher", 1, "On the object's pixels."),
    Figure("SSIM, object", ("ssim_masked",), "", "higher", 3, "On the object's pixels."),
    Figure("PSNR, whole", ("psnr_whole_db",), "dB", "higher", 1, "On the whole image over white."),
    Figure("SSIM, whole", ("ssim_whole",), "", "higher", 3, "On the whole image over white."),
    Figure("Silhouette", ("silhouette_iou",), "%", "higher", 2, "Intersection over union of the silhouettes.", 100.0),
    Figure("Depth, median", ("depth", "median_mm"), "mm", "lower", 2, "Median absolute depth error."),
    Figure("95 %", ("depth", "p95_mm"), "mm", "lower", 2, "95th percentile of the absolute depth error."),
    Figure("≤ 1 mm", ("depth", "within_1mm"), "%", "higher", 1, "Share of compared pixels within 1 mm.", 100.0),
    Figure("≤ 2 mm", ("depth", "within_2mm"), "%", "higher", 1, "Share of compared pixels within 2 mm.", 100.0),
    Figure("≤ 5 mm", ("depth", "within_5mm"), "%", "higher", 1, "Share of compared pixels within 5 mm.", 100.0),
    Figure(
        "Compared",
        ("depth", "compared_share"),
        "%",
        "higher",
        1,
        "Share of the measured object pixels that the mesh covers.",
        100.0,
    ),
)

SHAPE_FIGURES: tuple[Figure, ...] = (
    Figure("Pieces", (*SHAPE, "components"), "", "", 0, "Separate pieces of surface."),
    Figure(
        "Area in the largest piece",
        (*SHAPE, "largest_component_share"),
        "%",
        "higher",
        1,
        "Share of the surface area in the largest piece.",
        100.0,
    ),
    Figure(
        "Handles (genus)",
        (*SHAPE, "genus"),
        "",
        "",
        0,
        "Through-holes like that of a cup's handle; closed surfaces only.",
    ),
    Figure("Open edges", (*SHAPE, "boundary_edges"), "", "lower", 0, "Edges with one triangle only: rims of holes."),
    Figure(
        "Non-manifold edges", (*SHAPE, "non_manifold_edges"), "", "lower", 0, "Edges shared by three or more triangles."
    ),
    Figure(
        "Pinched vertices",
        (*SHAPE, "non_manifold_vertices"),
        "",
        "lower",
        0,
        "Places where two sheets touch at a point only.",
    ),
    Figure("Degenerate triangles", (*SHAPE, "degenerate_faces"), "", "lower", 0, "Triangles without an area."),
    Figure("Surface area", (*SHAPE, "area_m2"), "cm²", "", 1, "Area of the whole surface.", 1e4),
    Figure("Volume", (*SHAPE, "volume_m3"), "cm³", "", 1, "Enclosed volume; closed surfaces only.", 1e6),
)


def dig(facts: Any, *path: str) -> Any:
    """What stands under the names ``path``, of values or of JSON objects; None as soon as one of them is missing."""
    for name in path:
        facts = facts.get(name) if isinstance(facts, Mapping) else getattr(facts, name, None)
    return facts


def rows(figures: Sequence[Figure], models: Mapping[str, Any]) -> list[Row]:
    """A row per figure that at least one model has; the best value is marked when several models compete."""
    table = []
    for figure in figures:
        values = [figure.value(facts) for facts in models.values()]
        taken = [value for value in values if value is not None]
        if not taken:
            continue
        best = max(taken) if figure.better == "higher" else min(taken)
        texts = [figure.text(facts) for facts in models.values()]
        leader = texts[values.index(best)]
        # compared as written: what reads the same is no lead
        competes = figure.better != "" and len(taken) > 1 and len({*texts} - {NOT_TAKEN}) > 1
        table.append(Row(figure, tuple(Cell(text, leading=competes and text == leader) for text in texts)))
    return table


def median(rows: Sequence[Any], name: str) -> float | None:
    """The middle one of what the rows have under ``name``; None when none has anything there."""
    values = sorted(value for row in rows if (value := dig(row, name)) is not None)
    return values[(len(values) - 1) // 2] if values else None


def used(figures: Sequence[Figure], items: Sequence[Any]) -> list[Figure]:
    """The figures that at least one of ``items`` has."""
    return [figure for figure in figures if any(figure.value(item) is not None for item in items)]


def decibels(value: float) -> str:
    """One digit behind the point, as everywhere else."""
    return f"{value:.1f}"


def duration(seconds: float) -> str:
    """``75.2`` -> ``1 min 15 s``; under a minute with one decimal."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """A file size in the unit that keeps it short: ``1536`` -> ``1.5 kB`` (decimal units, as file managers show)."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def percent(share: float) -> str:
    """A share 0..1 as per cent."""
    return f"{100 * share:.1f} %"


def number(value: float, scale: float = 1.0) -> str:
    """Counts in full, other numbers with four significant digits."""
    return f"{value:,}" if isinstance(value, int) and scale == 1.0 else f"{value * scale:.4g}"


def flat(facts: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested JSON value as lines of dotted name and text, for the fine print."""
    if isinstance(facts, Mapping):
        return [line for key, value in facts.items() for line in flat(value, f"{prefix}.{key}" if prefix else str(key))]
    if isinstance(facts, list | tuple):
        if any(isinstance(item, Mapping | list | tuple) for item in facts):
            return [line for index, item in enumerate(facts) for line in flat(item, f"{prefix}[{index}]")]
        return [(prefix, ", ".join(_scalar(item) for item in facts))]
    return [(prefix, _scalar(facts))]


def _scalar(value: Any) -> str:
    if value is None:
        return NOT_TAKEN
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
