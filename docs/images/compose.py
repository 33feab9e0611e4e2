"""Compose docs/images/snail.png, the README's picture, from what `meshdrop demo` made of the sample capture.

    python docs/images/compose.py demo/outbox/snail

On the left the capture, in the middle the delivered mesh.glb read back and rendered, on the right two of its clay
previews, where orange is surface that no camera saw. The figures below are those of report.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from meshdrop.models.formats.cameras import Camera, look_at
from meshdrop.models.measure.pictures import TILE_PX
from meshdrop.models.mesh.mesh import read_mesh
from meshdrop.models.raster.render import render

TARGET = Path(__file__).parent / "snail.png"
SIZE = (1600, 720)
PAPER, INK, FAINT = (250, 250, 248), (38, 42, 46), (112, 118, 124)
HERO_PX, CLAY_PX, TILE = 660, 310, 148
TOP, LEFT, MIDDLE, RIGHT = 88, 40, 530, 1260


def hero(model: Path) -> Image.Image:
    """The textured mesh from the front right, slightly above."""
    mesh = read_mesh(model)
    corners = np.stack([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)]).astype(np.float64)
    azimuth, elevation = np.deg2rad([76.0, 14.0])
    flat = float(np.cos(elevation))
    direction = (float(np.sin(azimuth)) * flat, float(np.sin(elevation)), float(np.cos(azimuth)) * flat)
    pose = look_at(direction, (0.0, 1.0, 0.0), 2.5)
    pose[:3, 3] += corners.mean(axis=0)
    focal = 2.55 * HERO_PX
    camera = Camera(HERO_PX, HERO_PX, focal, focal, HERO_PX / 2, HERO_PX / 2, pose)
    background = (PAPER[0] / 255, PAPER[1] / 255, PAPER[2] / 255)
    return Image.fromarray(np.rint(render(mesh, camera, background).rgb * 255).astype(np.uint8))


def photograph(file: Path) -> Image.Image:
    """One photograph on paper, without the empty rim that all views of the sample have."""
    with Image.open(file) as image:
        rgba = image.convert("RGBA")
    paper = Image.new("RGBA", rgba.size, (*PAPER, 255))
    paper.alpha_composite(rgba)
    rim = rgba.width // 16
    cut = paper.convert("RGB").crop((rim, rim, rgba.width - rim, rgba.height - rim))
    return cut.resize((TILE, TILE), Image.Resampling.LANCZOS)


def depth_tiles(sheet: Path, count: int) -> list[Image.Image]:
    """The depth row of the capture's own preview, white taken for paper."""
    with Image.open(sheet) as image:
        row = image.convert("RGB")
    step = (row.width - 8) // count
    top = row.height - TILE_PX - 8
    cuts = [row.crop((8 + step * k, top, 8 + step * k + TILE_PX, top + TILE_PX)) for k in range(count)]
    return [_on_paper(cut, (255, 255, 255)).resize((TILE, TILE), Image.Resampling.LANCZOS) for cut in cuts]


def clay(sheet: Path, column: int) -> Image.Image:
    """One of the four clay stills; the orange part was seen by no camera."""
    with Image.open(sheet) as image:
        side = image.height
        still = image.convert("RGB").crop((side * column, 0, side * (column + 1), side))
    return _on_paper(still, still.getpixel((2, 2))).resize((CLAY_PX, CLAY_PX), Image.Resampling.LANCZOS)


def _on_paper(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """The picture multiplied so that its flat background becomes the paper's colour."""
    scale = np.array(PAPER) / np.array(background)
    return Image.fromarray(np.rint(np.clip(np.asarray(image) * scale, 0, 255)).astype(np.uint8))


def caption(report: dict) -> str:
    """One line of figures as the report has them."""
    measured = report["models"][report["best"]]["measured"]
    mean, shape = measured["quality"]["mean"], measured["topology"]
    parts = [f"{measured['files']['faces']:,} triangles", "closed surface" if shape["watertight"] else "open surface"]
    parts += [f"{mean['psnr_masked_db']:.1f} dB", f"SSIM {mean['ssim_masked']:.3f}"]
    return "   ".join([*parts, f"median depth error {mean['depth_median_mm']:.2f} mm"])


def compose(folder: Path) -> Image.Image:
    """The whole picture from one outbox folder."""
    page = Image.new("RGB", SIZE, PAPER)
    draw = ImageDraw.Draw(page)
    photographs = [photograph(file) for file in sorted((folder / "capture" / "views").glob("*.png"))]
    depths = depth_tiles(folder / "previews" / "capture.png", len(photographs))
    for number, tile in enumerate(photographs + depths):
        page.paste(tile, (LEFT + number % 3 * TILE, TOP + number // 3 * TILE))
    page.paste(hero(folder / "fusion"), (MIDDLE, TOP - 60))
    for row, column in enumerate((3, 0)):
        page.paste(clay(folder / "previews" / "fusion" / "clay.png", column), (RIGHT, TOP - 20 + row * CLAY_PX))
    heading = ImageFont.load_default(30)
    draw.text((LEFT, 30), "six photographs, six depth maps", INK, heading)
    draw.text((MIDDLE + 20, 30), "one textured mesh, measured", INK, heading)
    draw.text((RIGHT + 30, 30), "seen by no camera", INK, heading)
    draw.rectangle((RIGHT - 2, 34, RIGHT + 20, 56), (242, 158, 64))
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    draw.text((MIDDLE + 20, 660), caption(report), FAINT, ImageFont.load_default(25))
    return page.point(lambda level: level & 0xFE)  # half the levels: nobody sees it, and the file is a fifth smaller


if __name__ == "__main__":
    compose(Path(sys.argv[1])).save(TARGET, optimize=True)
