"""Do the stated camera conventions hold? Measured by whether the views' depth maps agree with one another.

Files rarely say in which axes, which direction and which unit they were written, and a wrong guess bends a mesh
without any error. With depth and several cameras it can be measured: back-project the object's points of every view,
look at them from every other view, and count

* *consistent*: the point lies on the surface that the other view measured;
* *violating*: the point lies where the other view sees free space: in front of its surface, beside its silhouette,
  outside its picture though the silhouette lies wholly inside, or behind the camera;
* *hidden*: behind the other view's surface. This says nothing, and opposite views see little else of each other.

``score = consistent / (consistent + violating)``. The stated reading of the file competes with every other
combination of axes, pose direction and depth unit, and with other focal lengths. Readings that give the same relative
cameras are one reading. Nothing is repaired: a contradiction is refused with the table and the line that would cure it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.cameras import OPENCV_TO_OPENGL, Camera, opengl_camera_to_world
from models.capture import Capture, View
from models.problem import Problem
from models.sidecar import Axes, Pose, Sidecar

Array = NDArray[np.float64]
Verdict = Literal["verified", "contradicted", "inconclusive"]

#: Metres per depth count: Kinect and most sensors, RealSense D405, TUM, KITTI, Replica, centimetres, metres.
DEPTH_UNITS_M = (1e-3, 1e-4, 1 / 5000, 1 / 256, 1 / 6553.5, 1e-2, 1e-1, 1.0)
#: Focal lengths tried, as factors of the stated one; 711 px for 1111 px is a factor of 1.5625.
FOCAL_SCALES = (0.5, 0.64, 0.72, 0.8, 0.9, 1.11, 1.25, 1.39, 1.5625, 2.0)
#: Below this score the views contradict each other; true captures reach 0.8 to 1.0, false readings at most 0.4.
LEAST_SCORE = 0.6
#: A view is refused when its pairs score below ``LEAST_SCORE`` and this much below the pairs of the other views ...
REFUSED_VIEW_GAP = 0.3
#: ... and doubted from this gap on; the views of true captures stay within 0.05 of each other.
DOUBTED_VIEW_GAP = 0.1
#: Where views share no surface, at most this share of points may clash.
FEW_CLASHES = 0.02
#: The stated reading is proven when it leads every other by this much.
CLEAR_LEAD = 0.3
#: The stated reading is refuted when another beats it by this much.
CLEAR_DEFEAT = 0.2
#: Between these factors another focal length is a warning, no refutation: the score resolves no better.
FOCAL_DOUBT = (0.85, 1.18)
#: A focal length that explains the views better by this much is worth a warning.
FOCAL_WARNING = 0.08
#: Less evidence than this share of all projected points (and fewer than 40) proves nothing.
LEAST_EVIDENCE = 0.01
FEWEST_POINTS = 40

POINTS_A_VIEW = 300
MOST_VIEWS = 8
#: Depth maps are compared on a grid of about this many cells along the longer side.
GRID_SIDE = 256
#: Two surfaces agree within this share of the object's size, plus four sigma of the sensor's noise.
TOLERANCE_OF_SIZE = 0.03


@dataclass(frozen=True)
class Reading:
    """One way to read the file; ``focal_scale`` multiplies the stated focal lengths."""

    axes: Axes
    pose: Pose
    depth_unit_m: float
    focal_scale: float = 1.0

    def __str__(self) -> str:
        focal = "" if self.focal_scale == 1 else f", focal x {self.focal_scale:g}"
        return f"{self.axes}, {self.pose}, {self.depth_unit_m:.6g} m{focal}"


@dataclass(frozen=True)
class Score:
    """How well one reading makes the views agree; ``same_as`` are readings that cannot be told from it."""

    reading: Reading
    consistent: int
    violating: int
    hidden: int
    same_as: tuple[Reading, ...] = ()

    @property
    def score(self) -> float:
        """Consistent share of all points that say something, 0..1; 0 when none does."""
        return self.consistent / max(1, self.evidence)

    @property
    def evidence(self) -> int:
        """Points that say something."""
        return self.consistent + self.violating

    @property
    def clash(self) -> float:
        """Violating share of all points, 0..1: also says something where the views share no surface."""
        return self.violating / max(1, self.projected)

    @property
    def projected(self) -> int:
        """All points looked at."""
        return self.evidence + self.hidden

    @property
    def suffices(self) -> bool:
        """Whether there is enough evidence to judge by."""
        return self.evidence >= max(FEWEST_POINTS, LEAST_EVIDENCE * self.projected)


@dataclass(frozen=True)
class ViewScore:
    """One view as stated: the score of the pairs it takes part in, and of the pairs among the others, 0..1."""

    name: str
    score: float
    others: float

    @property
    def gap(self) -> float:
        """How much worse this view fits than the others fit among themselves."""
        return self.others - self.score


@dataclass(frozen=True)
class ProbeResult:
    """What the cross-view check found. ``table`` is sorted, best first; ``view_scores`` are for the stated reading."""

    verdict: Verdict
    reason: str
    stated: Score | None = None
    best_other: Score | None = None
    lead: float = 0.0
    table: tuple[Score, ...] = ()
    view_scores: tuple[ViewScore, ...] = ()
    problem: Problem | None = None
    warning: str | None = None

    def lines(self) -> list[str]:
        """The verdict and a short score table as plain text: the stated reading and the best rival of each sort."""
        head = [f"Conventions: {self.verdict}. {self.reason}"]
        if self.stated is None:
            return head
        best: dict[tuple[object, ...], Score] = {_sort_of(self.stated, self.stated): self.stated}
        for score in self.table:
            best.setdefault(_sort_of(score, self.stated), score)
        rows = [f"  {'score':>5}  {'agree':>6}  {'clash':>6}  {'hidden':>6}  reading"]
        for score in sorted(best.values(), key=lambda score: -score.score):
            mark = "  <- stated" if score is self.stated else ""
            counts = f"{score.consistent:6d}  {score.violating:6d}  {score.hidden:6d}"
            rows.append(f"  {score.score:5.3f}  {counts}  {score.reading}{mark}")
        return head + rows

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the whole table included."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "lead": round(self.lead, 4),
            "stated": None if self.stated is None else _score_json(self.stated),
            "best_other": None if self.best_other is None else _score_json(self.best_other),
            "table": [_score_json(score) for score in self.table],
            "view_scores": {view.name: round(view.score, 4) for view in self.view_scores},
            "warning": self.warning,
        }


def _sort_of(score: Score, stated: Score) -> tuple[object, ...]:
    """In what a reading differs from the stated one."""
    ours, theirs = score.reading, stated.reading
    return ours.axes, ours.pose, ours.depth_unit_m == theirs.depth_unit_m, ours.focal_scale == theirs.focal_scale


def _score_json(score: Score) -> dict[str, Any]:
    reading = score.reading
    return {
        "camera_axes": reading.axes,
        "pose": reading.pose,
        "depth_unit_m": reading.depth_unit_m,
        "focal_scale": reading.focal_scale,
        "score": round(score.score, 4),
        "consistent": score.consistent,
        "violating": score.violating,
        "hidden": score.hidden,
    }


def probe(capture: Capture, stated: Sidecar | None = None) -> ProbeResult:
    """Compare the stated reading of a capture with every other; takes well under a second of CPU for six views.

    ``stated`` is what the capture's sidecar said (``Expectation.stated``); without it the capture is taken
    as OpenGL camera-to-world. Deterministic.
    """
    stated = stated or Sidecar()
    views = [view for view in capture.views if view.depth is not None and _usable(view)]
    if len(views) < 2 or capture.depth_unit_m is None:
        return ProbeResult("inconclusive", "Fewer than two views have depth: conventions are taken as stated.")
    views = [views[index] for index in _spread(len(views), MOST_VIEWS)]
    reading = Reading(stated.camera_axes or "opengl", stated.pose or "camera_to_world", capture.depth_unit_m)
    maps = [_ViewMap.of(view, capture.depth_unit_m) for view in views]
    poses = {key: _poses(views, stated, *key) for key in _CONVENTIONS}
    table = _distinct_scores(reading, poses, maps)
    pairs = _pair_counts(maps, poses[reading.axes, reading.pose], reading)
    return _judge(table, _view_scores(views, pairs), views[0].camera.fx)


_CONVENTIONS: tuple[tuple[Axes, Pose], ...] = (
    ("opengl", "camera_to_world"),
    ("opencv", "camera_to_world"),
    ("opengl", "world_to_camera"),
    ("opencv", "world_to_camera"),
)


def _usable(view: View) -> bool:
    return view.depth is not None and bool(((view.depth > 0) & (view.mask >= 0.5)).any())


def _spread(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` indices, evenly spread."""
    return sorted({round(index) for index in np.linspace(0, count - 1, min(count, most))})


def _poses(views: Sequence[View], stated: Sidecar, axes: Axes, pose: Pose) -> list[Array]:
    """The stated matrices read in another way, as OpenGL camera-to-world."""
    world = np.eye(4) if stated.applied_transform is None else np.array(stated.applied_transform, dtype=np.float64)
    read = []
    for view in views:
        matrix: Array = world @ view.camera.c2w
        if stated.camera_axes == "opencv":
            matrix = matrix @ OPENCV_TO_OPENGL
        if stated.pose == "world_to_camera":
            matrix = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
        read.append(opengl_camera_to_world(matrix, axes, pose))
    return read


# -- counting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _ViewMap:
    """What one view contributes: sample points, and a coarse picture of silhouette and depth to test others against.

    ``rays`` (N, 3) are camera directions with z = -1, ``counts`` (N,) their raw depth. ``near`` and ``far`` (h, w) are
    the least and largest raw depth around each cell (inf and 0 without depth), ``inside`` (h, w) the silhouette grown
    by one cell. ``size`` is the object's extent and ``tolerance`` the agreement radius, in raw counts.
    """

    camera: Camera
    cell: int
    rays: Array
    counts: Array
    near: Array
    far: Array
    inside: NDArray[np.bool_]
    wholly_inside: bool
    size: float
    tolerance: float

    @staticmethod
    def of(view: View, unit: float) -> _ViewMap:
        """The map of a view with depth; ``unit`` is what its depth was multiplied by."""
        camera = view.camera
        raw = np.asarray(view.depth, dtype=np.float64) / unit
        mask = view.mask >= 0.5
        valid = mask & (raw > 0)
        rows, columns = _sample(valid)
        rays = np.stack(
            [
                (columns + 0.5 - camera.cx) / camera.fx,
                (camera.cy - rows - 0.5) / camera.fy,
                np.full(rows.size, -1.0),
            ],
            axis=1,
        )
        cell = max(1, max(camera.width, camera.height) // GRID_SIDE)
        size = float(np.median(raw[valid]) * np.sqrt(mask.sum()) / camera.fx)
        frame = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
        return _ViewMap(
            camera=camera,
            cell=cell,
            rays=rays,
            counts=raw[rows, columns],
            near=ndimage.minimum_filter(_blocks(np.where(valid, raw, np.inf), cell, np.inf, np.minimum), 3),
            far=ndimage.maximum_filter(_blocks(np.where(valid, raw, 0.0), cell, 0.0, np.maximum), 3),
            inside=ndimage.maximum_filter(_blocks(mask, cell, False, np.maximum), 3),
            wholly_inside=not any(edge.any() for edge in frame),
            size=size,
            tolerance=TOLERANCE_OF_SIZE * size + 4 * _noise(raw, valid),
        )


def _sample(valid: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of points to test, away from depth edges where the object is thick enough for that."""
    inner = ndimage.binary_erosion(valid, iterations=2)
    if inner.sum() < POINTS_A_VIEW // 2:
        inner = valid
    candidates = np.flatnonzero(inner)
    chosen = np.random.default_rng(0).choice(candidates, min(POINTS_A_VIEW, candidates.size), replace=False)
    rows, columns = np.divmod(np.sort(chosen), valid.shape[1])
    return rows, columns


def _blocks(picture: NDArray[Any], cell: int, empty: float, reduce: np.ufunc) -> NDArray[Any]:
    """(H, W) reduced to cells of ``cell`` x ``cell`` pixels."""
    height, width = -(-picture.shape[0] // cell), -(-picture.shape[1] // cell)
    padded = np.full((height * cell, width * cell), empty, dtype=picture.dtype)
    padded[: picture.shape[0], : picture.shape[1]] = picture
    result: NDArray[Any] = padded[::cell, ::cell]
    for offset in range(1, cell * cell):
        result = reduce(result, padded[offset // cell :: cell, offset % cell :: cell])
    return result


def _noise(raw: Array, valid: NDArray[np.bool_]) -> float:
    """Sigma of the depth noise in raw counts, from second differences along rows (their variance is 6 sigma^2)."""
    step = max(1, raw.shape[0] // GRID_SIDE)
    rows, good = raw[::step], valid[::step]
    triple = good[:, :-2] & good[:, 1:-1] & good[:, 2:]
    bend = np.abs(rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:])[triple]
    return float(np.median(bend)) / (0.6745 * 6**0.5) if bend.size else 0.0


def _pair_counts(maps: Sequence[_ViewMap], poses: Sequence[Array], reading: Reading) -> NDArray[np.int64]:
    """(V, V, 3): of view i's points seen from view j, how many are consistent, violating, hidden."""
    world = np.concatenate(
        [_world_points(source, pose, reading) for source, pose in zip(maps, poses, strict=True)]
    )
    owner = np.repeat(np.arange(len(maps)), [source.counts.size for source in maps])
    counts = np.zeros((len(maps), len(maps), 3), dtype=np.int64)
    for j, target in enumerate(maps):
        foreign = owner != j
        seen = (world[foreign] - poses[j][:3, 3]) @ poses[j][:3, :3]
        for kind, hits in enumerate(_classify(seen, target, reading)):
            counts[:, j, kind] = np.bincount(owner[foreign][hits], minlength=len(maps))
    return counts


def _world_points(source: _ViewMap, pose: Array, reading: Reading) -> Array:
    local = source.rays * (source.counts * reading.depth_unit_m)[:, None]
    local[:, :2] /= reading.focal_scale
    points: Array = local @ pose[:3, :3].T + pose[:3, 3]
    return points


def _classify(
    seen: Array, target: _ViewMap, reading: Reading
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Points (N, 3) in the target camera's frame: which are consistent, violating, hidden; each (N,)."""
    camera, unit = target.camera, reading.depth_unit_m
    z = -seen[:, 2]
    front = z > 1e-9
    safe = np.where(front, z, 1.0)
    u = camera.cx + camera.fx * reading.focal_scale * seen[:, 0] / safe
    v = camera.cy - camera.fy * reading.focal_scale * seen[:, 1] / safe
    framed = front & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    row = np.where(framed, v, 0).astype(np.intp) // target.cell
    column = np.where(framed, u, 0).astype(np.intp) // target.cell
    near, far = target.near[row, column] * unit, target.far[row, column] * unit
    slack = target.tolerance * unit / reading.focal_scale
    beside = framed & ~target.inside[row, column]
    unframed = ~framed if target.wholly_inside else ~front
    measured = framed & ~beside & np.isfinite(near)
    before = measured & (z < near - slack)
    behind = measured & (z > far + slack)
    return measured & ~before & ~behind, beside | unframed | before, behind


def _view_scores(views: Sequence[View], pairs: NDArray[np.int64]) -> tuple[ViewScore, ...]:
    """Each view's score over the pairs it takes part in, and the score of all pairs without it."""
    total = pairs.sum(axis=(0, 1))
    found = []
    for index, view in enumerate(views):
        own = pairs[index].sum(axis=0) + pairs[:, index].sum(axis=0)
        rest = total - own
        found.append(ViewScore(view.name, _share(own), _share(rest)))
    return tuple(found)


def _share(counts: NDArray[np.int64]) -> float:
    """The score of summed counts; 1 when they say too little to blame anybody."""
    evidence = int(counts[0] + counts[1])
    return float(counts[0] / evidence) if evidence >= FEWEST_POINTS else 1.0


# -- comparing -----------------------------------------------------------------------------------------------------


def _distinct_scores(
    stated: Reading, poses: dict[tuple[Axes, Pose], list[Array]], maps: Sequence[_ViewMap]
) -> tuple[Score, ...]:
    """Scores of all readings that differ in what they mean; the stated one comes first, unsorted otherwise."""
    conventions: list[tuple[Axes, Pose]] = [(stated.axes, stated.pose)]
    conventions += [key for key in _CONVENTIONS if key != conventions[0]]
    distinct: list[tuple[Axes, Pose]] = []
    twins: dict[tuple[Axes, Pose], list[tuple[Axes, Pose]]] = {}
    for key in conventions:
        twin = next((other for other in distinct if _same_cameras(poses[key], poses[other])), None)
        if twin is None:
            distinct.append(key)
        else:
            twins.setdefault(twin, []).append(key)
    units = [stated.depth_unit_m]
    units += [unit for unit in DEPTH_UNITS_M if abs(unit / stated.depth_unit_m - 1) > 0.02]
    readings = [Reading(*key, unit) for key in distinct for unit in units]
    readings += [replace(stated, focal_scale=scale) for scale in FOCAL_SCALES]
    return tuple(
        _score(reading, poses, maps, tuple(Reading(*key, reading.depth_unit_m) for key in twins.get(_key(reading), ())))
        for reading in readings
    )


def _key(reading: Reading) -> tuple[Axes, Pose]:
    return reading.axes, reading.pose


def _score(
    reading: Reading,
    poses: dict[tuple[Axes, Pose], list[Array]],
    maps: Sequence[_ViewMap],
    same_as: tuple[Reading, ...],
) -> Score:
    consistent, violating, hidden = _pair_counts(maps, poses[_key(reading)], reading).sum(axis=(0, 1))
    return Score(reading, int(consistent), int(violating), int(hidden), same_as)


def _same_cameras(left: Sequence[Array], right: Sequence[Array]) -> bool:
    """Whether two sets of poses differ by one rigid motion of the whole world, which no capture can show."""
    motion = left[0] @ np.linalg.inv(right[0])
    scale = max(1.0, float(np.abs([pose[:3, 3] for pose in left]).max()))
    return all(np.abs(a - motion @ b).max() < 1e-6 * scale for a, b in zip(left, right, strict=True))


def _judge(table: tuple[Score, ...], view_scores: tuple[ViewScore, ...], focal_px: float) -> ProbeResult:
    stated, others = table[0], [score for score in table[1:] if score.suffices]
    best = max(others, key=lambda score: score.score, default=None)
    rivals = [score.score for score in others if score.reading.focal_scale == 1]
    lead = stated.score - max(rivals, default=0.0)
    facts = ProbeResult(
        "inconclusive", "", stated, best, lead,
        tuple(sorted(table, key=lambda score: -score.score)), view_scores,
    )  # fmt: skip
    if not stated.suffices:
        return _judge_by_clashes(facts, others)
    beaten = best is not None and best.score - stated.score >= CLEAR_DEFEAT and best.score >= LEAST_SCORE
    near = best is not None and FOCAL_DOUBT[0] < best.reading.focal_scale < FOCAL_DOUBT[1]
    same_convention = best is not None and replace(best.reading, focal_scale=1.0) == stated.reading
    if best is not None and beaten and not (same_convention and near and stated.score >= LEAST_SCORE):
        return _contradicted(facts, _cure(stated, best, focal_px))
    worst = max(view_scores, key=lambda view: (view.gap, -view.score))
    if stated.score < LEAST_SCORE or (worst.score < LEAST_SCORE and worst.gap >= REFUSED_VIEW_GAP):
        return _contradicted(facts, _no_cure(worst))
    if lead < CLEAR_LEAD:
        reason = f"Another reading fits about as well (lead {lead:.2f}); the stated one is taken."
        return replace(facts, reason=reason, warning=reason)
    warning = _focal_warning(stated, others, focal_px) or _view_warning(worst)
    reason = f"Stated {stated.reading} scores {stated.score:.2f}, {lead:.2f} ahead of any other."
    return replace(facts, verdict="verified", reason=reason, warning=warning)


def _judge_by_clashes(facts: ProbeResult, others: Iterable[Score]) -> ProbeResult:
    """For views that share no surface, such as the six sides of a box: clashes can acquit, but not convict."""
    rivals = [score.clash for score in others if score.reading.focal_scale == 1]
    if facts.stated is not None and facts.stated.clash <= FEW_CLASHES and min(rivals, default=0.0) >= CLEAR_LEAD:
        reason = (
            f"The views share no surface, but as stated {facts.stated.clash:.1%} of the points clash; in every other "
            f"reading {min(rivals):.0%} or more do."
        )
        return replace(facts, verdict="verified", reason=reason)
    reason = "The views share too little surface to check the conventions; they are taken as stated."
    return replace(facts, reason=reason, warning=reason)


def _contradicted(facts: ProbeResult, cure: tuple[str, str]) -> ProbeResult:
    reason, fix = cure
    others = [score for score in facts.table if score is not facts.stated][:2]
    table = "; ".join(f"{score.score:.2f} {score.reading}" for score in others)
    stated = f"{facts.stated.score:.2f} {facts.stated.reading} (stated)" if facts.stated else ""
    message = f"{reason} Scores: {stated}; {table}."
    return replace(facts, verdict="contradicted", reason=reason, problem=Problem("convention", None, message, fix))


def _cure(stated: Score, best: Score, focal_px: float) -> tuple[str, str]:
    """What is wrong and the exact line for ``capture.json``, when one other reading makes the views agree."""
    was, would_be = stated.reading, best.reading
    if would_be.focal_scale != 1:
        focal = focal_px * would_be.focal_scale
        return (
            f"The depth maps contradict the stated focal length of {focal_px:.0f} px; about {focal:.0f} px fits.",
            f'If that is the lens, put "fl_x": {focal:.0f}, "fl_y": {focal:.0f} into capture.json; '
            "else check which image size the intrinsics were made for.",
        )
    lines = []
    if would_be.axes != was.axes:
        lines.append(f'"camera_axes": {json.dumps(would_be.axes)}')
    if would_be.pose != was.pose:
        lines.append(f'"pose": {json.dumps(would_be.pose)}')
    if would_be.depth_unit_m != was.depth_unit_m:
        lines.append(f'"depth_unit_m": {would_be.depth_unit_m:.6g}')
    return (
        f"The views contradict each other as stated ({was}), but agree as {would_be}.",
        f"If that is how the rig writes them, put {{{', '.join(lines)}}} into capture.json.",
    )


def _no_cure(worst: ViewScore) -> tuple[str, str]:
    if worst.others >= LEAST_SCORE and worst.gap >= REFUSED_VIEW_GAP:
        reason = (
            f"The {worst.name} view contradicts the others ({worst.score:.2f}), which agree among themselves "
            f"({worst.others:.2f})."
        )
    else:
        reason = (
            "The views contradict each other, and no other axes, pose direction, depth unit or focal length makes "
            f"them agree; the {worst.name} view fits worst ({worst.score:.2f})."
        )
    name = worst.name
    fix = f"Check the camera of {name}, the order of the files, and whether its depth and image are of one camera."
    return reason, fix


def _view_warning(worst: ViewScore) -> str | None:
    if worst.gap < DOUBTED_VIEW_GAP:
        return None
    return (
        f"The {worst.name} view agrees less with the others ({worst.score:.2f}) than they do among themselves "
        f"({worst.others:.2f}); check its camera's pose and its depth."
    )


def _focal_warning(stated: Score, others: Iterable[Score], focal_px: float) -> str | None:
    scaled = [score for score in others if score.reading.focal_scale != 1]
    best = max(scaled, key=lambda score: score.score, default=None)
    if best is None or best.score - stated.score < FOCAL_WARNING:
        return None
    return (
        f"The focal length of {focal_px:.0f} px fits the depth maps worse ({stated.score:.2f}) than "
        f"{focal_px * best.reading.focal_scale:.0f} px ({best.score:.2f}); check the calibration."
    )
