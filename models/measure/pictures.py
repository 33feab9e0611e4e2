"""Pictures for people: photograph against render for every view, a turntable, and the bare shape.

Images are Pillow RGB images, arrays are (H, W, 3) float32 sRGB 0..1. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation

from meshdrop.models.capture.capture import Capture, View
from meshdrop.models.formats.cameras import Camera, look_at
from meshdrop.models.measure.figures import ViewQuality
from meshdrop.models.measure.frame import Frame, mesh_frame
from meshdrop.models.measure.quality import COVERED, over_white
from meshdrop.models.mesh.mesh import TexturedMesh
from meshdrop.models.raster import numba_raster as raster
from meshdrop.models.raster.render import Picture

Floats = NDArray[np.float32]
Colour = tuple[int, int, int]

PAPER: Colour = (250, 250, 249)
INK: Colour = (38, 40, 44)
FAINT_INK: Colour = (120, 124, 130)
STILL_BACKGROUND = (0.925, 0.93, 0.935)

TILE_PX = 232
GAP_PX = 8
LABEL_PX = 116
HEADER_PX = 92
#: A contact sheet of more rows is not looked at; larger captures show this many of their views, evenly spread.
MAX_ROWS = 12
#: Room around the largest object of the capture in a tile, as a share of its side.
TILE_MARGIN = 0.12

#: Colours of the difference picture: mean absolute difference of the channels, in sRGB values 0..1, to sRGB.
DIFFERENCE_STOPS = (0.0, 0.02, 0.06, 0.12, 0.18, 0.25)
DIFFERENCE_COLOURS = np.array(
    [(1, 1, 1), (1, 0.96, 0.75), (0.99, 0.75, 0.35), (0.92, 0.38, 0.16), (0.7, 0.08, 0.15), (0.28, 0, 0.12)]
)
NEAR_COLOUR, FAR_COLOUR = np.array([(0.99, 0.93, 0.75), (0.12, 0.2, 0.45)], np.float32)
MISSING = (0.16, 0.40, 0.92)
EXTRA = (0.55, 0.22, 0.78)

STILL_PX = 400
STILLS = 8
CLAY_STILLS = 4
STILL_ELEVATION = np.deg2rad(20.0)
STILL_SAMPLES = 2
#: Share of the still's half side that the object fills at its widest.
STILL_FILL = 0.9
CLAY = np.array([0.80, 0.785, 0.76], np.float32)
UNSEEN_CLAY = np.array([0.95, 0.62, 0.25], np.float32)
#: Lights in camera axes (x right, y up, z towards the camera) with their strength.
LIGHTS = (((-0.45, 0.65, 0.75), 0.7), ((0.8, 0.0, 0.45), 0.18))
AMBIENT = 0.34


@dataclass(frozen=True)
class PictureWindow:
    """A square cut from a view, in pixels; it may reach over the picture's edge, where the paper shows."""

    left: int
    top: int
    side: int

    def inside(self, frame: Frame) -> PictureWindow:
        """The same window, counted from the corner of ``frame``."""
        return PictureWindow(self.left - frame.left, self.top - frame.top, self.side)

    def visible(self, width: int, height: int) -> Frame:
        """The part of a picture of this size that lies in the window; at least one pixel."""
        left, top = min(max(self.left, 0), width - 1), min(max(self.top, 0), height - 1)
        right, bottom = min(self.left + self.side, width), min(self.top + self.side, height)
        return Frame(left, top, max(right - left, 1), max(bottom - top, 1))


@dataclass(frozen=True)
class Tiles:
    """The three small pictures of one view and one model, TILE_PX square each, and the caption below the render."""

    view: str
    held_out: bool
    photo: Image.Image
    render: Image.Image
    difference: Image.Image
    caption: str


def chosen_views(capture: Capture) -> list[int]:
    """Which views a contact sheet shows: all of them, or ``MAX_ROWS`` evenly spread ones."""
    count = len(capture.views)
    return sorted({round(k) for k in np.linspace(0, count - 1, min(count, MAX_ROWS))})


def windows(capture: Capture) -> list[PictureWindow]:
    """One square per view around its object, of the same share of the picture's width in all views.

    A tile then keeps the objects' relative scale. A view without an object shows its middle.
    """
    centres, shares = [], [0.1]
    for view in capture.views:
        inside, (height, width) = view.mask >= COVERED, view.mask.shape
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not len(rows):
            centres.append((width / 2, height / 2))
            continue
        centres.append(((columns[0] + columns[-1] + 1) / 2, (rows[0] + rows[-1] + 1) / 2))
        shares.append(max(columns[-1] - columns[0], rows[-1] - rows[0]) / width * (1 + 2 * TILE_MARGIN))
    result = []
    for view, (x, y) in zip(capture.views, centres, strict=True):
        side = max(1, round(max(shares) * view.mask.shape[1]))
        result.append(PictureWindow(round(x - side / 2), round(y - side / 2), side))
    return result


def tiles(view: View, picture: Picture, window: PictureWindow, figures: ViewQuality) -> Tiles:
    """Cut and shrink the photograph, the render and their difference to the tiles of a contact sheet.

    ``view`` and ``picture`` may be a frame of the whole ones (``models/measure/frame.py``) that is white all around.
    """
    photo = over_white(view)
    return Tiles(
        view=figures.name,
        held_out=figures.held_out,
        photo=_tile(photo, window),
        render=_tile(picture.rgb, window),
        difference=_tile(difference(view, photo, picture), window),
        caption=_caption(figures),
    )


def difference(view: View, photo: Floats, picture: Picture) -> Floats:
    """Where the render is wrong: white to dark red over the mean absolute difference of the channels.

    Blue: the photograph shows the object and the mesh is missing. Violet: the mesh covers what is background.
    """
    error = np.abs(photo - picture.rgb).mean(axis=-1)
    colours = np.stack(
        [np.interp(error, DIFFERENCE_STOPS, DIFFERENCE_COLOURS[:, channel]) for channel in range(3)], axis=-1
    )
    there, covered = view.mask >= COVERED, picture.alpha >= COVERED
    colours[there & ~covered] = MISSING
    colours[covered & ~there] = EXTRA
    return colours.astype(np.float32)


def contact_sheet(models: Mapping[str, Sequence[Tiles]]) -> Image.Image:
    """One page: a row per view; the photograph, then render and difference of every model.

    Every model brings the same views in the same order. Raises ``ValueError`` when there is nothing to show.
    """
    if not models or not all(models.values()):
        raise ValueError("a contact sheet needs at least one model with at least one view")
    rows = next(iter(models.values()))
    step = TILE_PX + GAP_PX
    width = LABEL_PX + step * (1 + 2 * len(models)) + GAP_PX
    sheet = Image.new("RGB", (width, HEADER_PX + len(rows) * (step + 20) + GAP_PX), PAPER)
    draw = ImageDraw.Draw(sheet)
    _header(draw, sheet, list(models), width)
    for row, first in enumerate(rows):
        top = HEADER_PX + row * (step + 20)
        draw.text((GAP_PX * 2, top + 6), shown(first.view, 13), INK, _font(15))
        if first.held_out:
            draw.text((GAP_PX * 2, top + 26), "held out", FAINT_INK, _font(12))
        sheet.paste(first.photo, (LABEL_PX, top))
        for column, cells in enumerate(models.values()):
            left = LABEL_PX + step * (1 + 2 * column)
            sheet.paste(cells[row].render, (left, top))
            sheet.paste(cells[row].difference, (left + step, top))
            draw.text((left + 1, top + TILE_PX + 4), cells[row].caption, INK, _font(13))
    return sheet


@dataclass(frozen=True)
class Stills:
    """``turntable``: the textured mesh around +Y, the first one from +Z, with a mild headlight. ``clay``: the bare
    shape from four of the same sides, lit, side by side; surface that no camera saw is orange.
    """

    turntable: list[Image.Image]
    clay: Image.Image


def stills(mesh: TexturedMesh) -> Stills:
    """Draw ``STILLS`` pictures of a mesh that stands on +Y, ``CLAY_STILLS`` of them bare as well."""
    surface = _Surface.of(mesh)
    every = STILLS // CLAY_STILLS
    turntable: list[Image.Image] = []
    clay = Image.new("RGB", (STILL_PX * CLAY_STILLS, STILL_PX))
    for index, camera in enumerate(still_cameras(mesh)):
        still = _Still.of(surface, camera)
        turntable.append(still.textured())
        if index % every == 0:
            clay.paste(still.bare(), (STILL_PX * (index // every), 0))
    return Stills(turntable, clay)


def still_cameras(mesh: TexturedMesh) -> list[Camera]:
    """``STILLS`` cameras on a circle around the mesh, slightly above it, +Y up, all with one focal length.

    The focal length is the longest one that keeps the whole mesh inside every still.
    """
    used = mesh.vertices[np.unique(mesh.faces)].astype(np.float64)
    centre = (used.min(axis=0) + used.max(axis=0)) / 2
    distance = 5.0 * max(float(np.linalg.norm(used - centre, axis=1).max()), 1e-9)
    poses = []
    for angle in np.arange(STILLS) * 2 * np.pi / STILLS:
        flat = np.cos(STILL_ELEVATION)
        direction = (float(np.sin(angle) * flat), float(np.sin(STILL_ELEVATION)), float(np.cos(angle) * flat))
        pose = look_at(direction, (0.0, 1.0, 0.0), distance)
        pose[:3, 3] += centre
        poses.append(pose)
    widest = max(_reach(used, pose) for pose in poses)
    focal = STILL_FILL * STILL_PX / 2 / widest
    return [Camera(STILL_PX, STILL_PX, focal, focal, STILL_PX / 2, STILL_PX / 2, pose) for pose in poses]


def capture_sheet(capture: Capture) -> Image.Image:
    """What was delivered: every view with its background dimmed and its mask outlined, and its depth below."""
    squares = windows(capture)
    chosen = [(capture.views[k], squares[k]) for k in chosen_views(capture)]
    step = TILE_PX + GAP_PX
    rows = 2 if capture.has_depth else 1
    top = 30
    sheet = Image.new("RGB", (step * len(chosen) + GAP_PX, top + step * rows), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, (whole, window) in enumerate(chosen):
        left = GAP_PX + step * column
        frame = window.visible(whole.camera.width, whole.camera.height)
        view, cut = frame.view(whole), window.inside(frame)
        draw.text((left + 1, 8), shown(view.name, 26), INK, _font(14))
        sheet.paste(_tile(_outlined(view, whole.camera.width), cut), (left, top))
        if view.depth is not None:
            sheet.paste(_tile(_depth_colours(view.depth, view.mask), cut), (left, top + step))
    return sheet


def shown(text: str, length: int) -> str:
    """Untrusted text for a picture: control characters and direction marks replaced, cut to ``length`` characters."""
    clean = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return clean if len(clean) <= length else clean[: length - 1] + "…"


def _caption(figures: ViewQuality) -> str:
    if figures.psnr_masked_db is None or figures.ssim_masked is None:
        return "no object in this view"
    parts = [f"{figures.psnr_masked_db:.1f} dB", f"SSIM {figures.ssim_masked:.3f}", f"IoU {figures.silhouette_iou:.3f}"]
    if figures.depth is not None:
        parts.append(f"{figures.depth.median_mm:.2g} mm")
    return "   ".join(parts)


def _header(draw: ImageDraw.ImageDraw, sheet: Image.Image, models: list[str], width: int) -> None:
    step = TILE_PX + GAP_PX
    draw.text((LABEL_PX + 1, 62), "photograph", INK, _font(16))
    for column, name in enumerate(models):
        left = LABEL_PX + step * (1 + 2 * column)
        draw.text((left + 1, 62), shown(name, 24), INK, _font(16))
        draw.text((left + step + 1, 62), "difference", FAINT_INK, _font(16))
    draw.text((GAP_PX * 2, 17), "difference", FAINT_INK, _font(12))
    ramp = np.linspace(0, DIFFERENCE_STOPS[-1], 140)
    bar = np.stack([np.interp(ramp, DIFFERENCE_STOPS, DIFFERENCE_COLOURS[:, k]) for k in range(3)], axis=-1)
    sheet.paste(_image(np.repeat(bar[None], 12, axis=0).astype(np.float32)), (LABEL_PX, 18))
    draw.rectangle((LABEL_PX, 18, LABEL_PX + 139, 29), outline=(200, 200, 200))
    draw.text((LABEL_PX, 33), "0", FAINT_INK, _font(11))
    draw.text((LABEL_PX + 140, 33), "25 %", FAINT_INK, _font(11), anchor="ra")
    left = LABEL_PX + 160
    for colour, text in ((MISSING, "mesh missing"), (EXTRA, "mesh too much")):
        fill = tuple(round(255 * value) for value in colour)
        draw.rectangle((left, 18, left + 11, 29), fill=fill)
        draw.text((left + 17, 17), text, FAINT_INK, _font(12))
        left += 110
    draw.line((GAP_PX * 2, HEADER_PX - 8, width - GAP_PX, HEADER_PX - 8), fill=(222, 222, 220))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own typeface, so that pictures look the same on every machine."""
    return ImageFont.load_default(size)


def _image(pixels: Floats) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def _tile(pixels: Floats, window: PictureWindow) -> Image.Image:
    return cut_square(pixels, window, TILE_PX)


def cut_square(pixels: Floats, window: PictureWindow, side: int) -> Image.Image:
    """The window's part of a picture (H, W, 3), white where it reaches over the edge, ``side`` pixels square."""
    box = (window.left, window.top, window.left + window.side, window.top + window.side)
    height, width = pixels.shape[:2]
    inside = (max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height))
    cut = Image.new("RGB", (window.side, window.side), (255, 255, 255))
    cut.paste(_image(pixels[inside[1] : inside[3], inside[0] : inside[2]]), (inside[0] - box[0], inside[1] - box[1]))
    return cut.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)


def _reach(points: NDArray[np.float64], pose: NDArray[np.float64]) -> float:
    """The farthest that ``points`` go from the middle of the picture at a focal length of one pixel."""
    u, v, _ = Camera(1, 1, 1.0, 1.0, 0.0, 0.0, pose).project(points)
    return float(max(np.abs(u).max(), np.abs(v).max()))


@dataclass(frozen=True)
class _Surface:
    """A mesh ready to be lit: vertex normals (V, 3) and, for every triangle, the normal of its plane (F, 3)."""

    mesh: TexturedMesh
    normals: Floats
    planes: Floats

    @classmethod
    def of(cls, mesh: TexturedMesh) -> _Surface:
        a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
        return cls(mesh, mesh.vertex_normals(), np.cross(b - a, c - a))

    def facing(self, camera: Camera) -> Floats:
        """Normals at the triangles' corners (F, 3, 3) in camera axes, on the side that the camera sees.

        So the inside of an open surface is lit like its outside.
        """
        towards = camera.centre.astype(np.float32) - self.mesh.vertices[self.mesh.faces[:, 0]]
        side = np.where((towards * self.planes).sum(axis=1) < 0, np.float32(-1), np.float32(1))
        local: Floats = (self.normals @ camera.c2w[:3, :3].astype(np.float32))[self.mesh.faces]
        return local * side[:, None, None]


@dataclass(frozen=True)
class _Still:
    """One side of a mesh, rasterised once for both of its pictures. Light is worked out at the corners of the
    triangles and interpolated (Gouraud, 1971).
    """

    surface: _Surface
    frame: Frame
    fragments: raster.Fragments
    coverage: Floats
    normals: Floats
    uv: Floats

    @classmethod
    def of(cls, surface: _Surface, whole: Camera) -> _Still:
        mesh, frame = surface.mesh, mesh_frame(whole, surface.mesh.vertices)
        camera = frame.camera(whole)
        fragments = raster.rasterize(camera, mesh.vertices, mesh.faces, STILL_SAMPLES)
        coverage = raster.antialias(fragments, np.ones((*fragments.face.shape, 1), np.float32))
        uv = raster.interpolate(fragments, mesh.uv)
        return cls(surface, frame, fragments, coverage, surface.facing(camera), uv)

    def textured(self) -> Image.Image:
        """The texture under a mild headlight."""
        headlight = np.asarray((0.8 + 0.2 * np.maximum(self.normals[..., 2:], 0)) / 255, np.float32)
        colours = raster.texture(self.fragments, self.surface.mesh.texture, self.uv)
        colours *= raster.interpolate(self.fragments, headlight)
        return self._on_paper(raster.antialias(self.fragments, colours))

    def bare(self) -> Image.Image:
        """Clay under ``LIGHTS``, orange where the texture was filled in."""
        light = raster.interpolate(self.fragments, _lit(self.normals))
        marks = self.surface.mesh.seen[..., None].view(np.uint8)
        seen = raster.texture(self.fragments, marks, self.uv, nearest=True)
        # one light for both materials: they are mixed after averaging, on a quarter of the numbers
        every, clay = (raster.antialias(self.fragments, layer) for layer in (light, light * seen))
        return self._on_paper(every * UNSEEN_CLAY + clay * (CLAY - UNSEEN_CLAY))

    def _on_paper(self, pixels: Floats) -> Image.Image:
        """A whole still with ``pixels`` (H, W, 3), premultiplied by coverage, over its background."""
        paper = (1 - self.coverage) * np.asarray(STILL_BACKGROUND, np.float32)
        still = Image.new("RGB", (STILL_PX, STILL_PX), _levels(STILL_BACKGROUND))
        still.paste(_image(pixels + paper), (self.frame.left, self.frame.top))
        return still


def _levels(colour: tuple[float, float, float]) -> Colour:
    red, green, blue = (round(255 * value) for value in colour)
    return red, green, blue


def _lit(normals: Floats) -> Floats:
    """Diffuse shading (..., 1) of unit normals (..., 3) in camera axes under ``LIGHTS``."""
    shade: Floats = np.full((*normals.shape[:-1], 1), AMBIENT, np.float32)
    for direction, strength in LIGHTS:
        towards = np.asarray(direction, np.float32) / np.float32(np.linalg.norm(direction))
        shade += np.float32(strength) * np.maximum(normals @ towards, 0)[..., None]
    return shade


def _outlined(view: View, whole_width: int) -> Floats:
    """The photograph, dimmed where the mask says background, with a line along the mask's edge.

    The line is as thick as suits a photograph of ``whole_width`` pixels.
    """
    inside = view.mask >= COVERED
    rgb: Floats = view.rgb.astype(np.float32) / np.float32(255)
    rgb = np.where(inside[..., None], rgb, np.float32(0.25) * rgb + np.float32(0.7))
    reach = max(1, round(whole_width / 400))
    rgb[binary_dilation(inside, iterations=reach) & ~inside] = (0.9, 0.1, 0.45)
    return rgb


def _depth_colours(depth: Floats, mask: Floats) -> Floats:
    """Near is light, far is dark blue, nothing measured is white, object without depth is red."""
    measured = depth > 0
    colours = np.ones((*depth.shape, 3), np.float32)
    if not measured.any():
        return colours
    metres = depth[measured]
    near, far = np.quantile(metres, [0.01, 0.99])
    position = np.clip((metres - near) / max(float(far - near), 1e-6), 0, 1).astype(np.float32)[:, None]
    colours[measured] = (1 - position) * NEAR_COLOUR + position * FAR_COLOUR
    colours[~measured & (mask >= COVERED)] = (0.85, 0.2, 0.2)
    return colours
