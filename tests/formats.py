"""One scene written in every format that is read. The writers belong to the tests: no reader writes its own exam."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from meshdrop.models.formats.cameras import Camera, look_at
from tests.pictures import npy
from tests.unit.models.synthetic import ANIMAL, Scene, photograph, write_png

Array = NDArray[np.float64]
Rig = Sequence[tuple[str, Camera]]

#: Metres a count.
UNIT_M = 0.001
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def odd_rig(size: int = 96, *, plain: bool = False, metres: float = 1.8) -> list[tuple[str, Camera]]:
    """Six cameras at no special places, turned about their axes; ``plain``: square pixels and a centred principal
    point, which is all that Blender's format can say.
    """
    found = []
    for index in range(6):
        angle = 0.3 + index * math.tau / 6
        c2w = look_at((math.sin(angle), 0.25 + 0.1 * index, math.cos(angle)), (0.1, 1.0, 0.05), metres + 0.03 * index)
        width, height = size, size - 8
        fx = 1.7 * size
        fy, cx, cy = (fx, width / 2, height / 2) if plain else (fx * 1.01, width / 2 + 1.25, height / 2 - 2.5)
        found.append((f"v{index:03d}", Camera(width, height, fx, fy, cx, cy, c2w)))
    return found


def pictures(scene: Scene, camera: Camera, index: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(RGB, depth in counts, mask) of one view."""
    depth = scene.depth(camera)
    counts = np.rint(depth / UNIT_M).astype(np.uint16)
    return photograph(depth, index), counts, np.where(depth > 0, 255, 0).astype(np.uint8)


def _write_pictures(folder: Path, scene: Scene, rig: Rig, image: str, depth: str | None, mask: str | None) -> None:
    """Files by patterns such as ``images/{name}.png``; ``{number}`` is the view's place."""
    for number, (name, camera) in enumerate(rig):
        rgb, counts, cut = pictures(scene, camera, number)
        path = folder / image.format(name=name, number=number)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".jpg":
            Image.fromarray(rgb).save(path, quality=95)
        else:
            write_png(path, rgb)
        if depth is not None:
            write_png(folder / depth.format(name=name, number=number), counts)
        if mask is not None:
            write_png(folder / mask.format(name=name, number=number), cut)


# -- JSON formats ---------------------------------------------------------------------------------------------------


def _intrinsics(camera: Camera) -> dict[str, float]:
    return {
        "w": camera.width,
        "h": camera.height,
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "cx": camera.cx,
        "cy": camera.cy,
    }


def nerfstudio(folder: Path, rig: Rig, scene: Scene = ANIMAL) -> None:
    """transforms.json as ns-process-data writes it: a turned world, undone by ``applied_transform``."""
    turn = np.array([[0, 0, 1.0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]])
    frames = [
        {
            "file_path": f"images/{name}.png",
            "depth_file_path": f"depth/{name}.png",
            "mask_path": f"masks/{name}.png",
            "transform_matrix": (turn @ camera.c2w).tolist(),
            **_intrinsics(camera),
        }
        for name, camera in rig
    ]
    _write_pictures(folder, scene, rig, "images/{name}.png", "depth/{name}.png", "masks/{name}.png")
    table = {"camera_model": "OPENCV", "k1": 0.0, "applied_transform": turn[:3].tolist(), "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(table))


def instant_ngp(folder: Path, rig: Rig, scene: Scene = ANIMAL) -> None:
    """transforms.json as colmap2nerf.py writes it, with depth under instant-ngp's own keys."""
    _, first = rig[0]
    frames = [
        {
            "file_path": f"./images/{name}.png",
            "depth_path": f"./depth/{name}.png",
            "sharpness": 17.5,
            "transform_matrix": camera.c2w.tolist(),
        }
        for name, camera in rig
    ]
    _write_pictures(folder, scene, rig, "images/{name}.png", "depth/{name}.png", None)
    table = {
        "camera_angle_x": 2 * math.atan(first.width / 2 / first.fx),
        **_intrinsics(first),
        "k1": 0,
        "p2": 0,
        "aabb_scale": 4,
        "integer_depth_scale": UNIT_M,
        "frames": frames,
    }
    (folder / "transforms.json").write_text(json.dumps(table))


def blender(folder: Path, rig: Rig, scene: Scene = ANIMAL) -> None:
    """NeRF-synthetic: no suffixes, an angle of view, the mask in alpha, and depth as 8-bit pictures beside."""
    _, first = rig[0]
    frames = []
    for index, (name, camera) in enumerate(rig):
        rgb, counts, mask = pictures(scene, camera, index)
        write_png(folder / f"train/{name}.png", np.dstack([rgb, mask]))
        write_png(folder / f"train/{name}_depth_0001.png", (counts // 16).astype(np.uint8))
        frames.append({"file_path": f"./train/{name}", "rotation": 0.01, "transform_matrix": camera.c2w.tolist()})
    table = {"camera_angle_x": 2 * math.atan(first.width / 2 / first.fx), "frames": frames}
    (folder / "transforms_train.json").write_text(json.dumps(table, indent=4))


def own(folder: Path, rig: Rig, scene: Scene = ANIMAL) -> None:
    """capture.json with frames, OpenCV and world-to-camera, as it states itself."""
    frames = [
        {
            "file_path": f"images/{name}.png",
            "depth_file_path": f"depth/{name}.png",
            "mask_path": f"masks/{name}.png",
            "transform_matrix": np.linalg.inv(camera.c2w @ FLIP).tolist(),
            **_intrinsics(camera),
        }
        for name, camera in rig
    ]
    _write_pictures(folder, scene, rig, "images/{name}.png", "depth/{name}.png", "masks/{name}.png")
    table = {"camera_axes": "opencv", "pose": "world_to_camera", "depth_unit_m": UNIT_M, "frames": frames}
    (folder / "capture.json").write_text(json.dumps(table))


def bop_cameras(rig: Rig) -> dict[str, Any]:
    """What scene_camera.json holds."""
    entries = {}
    for number, (_, camera) in enumerate(rig):
        w2c = np.linalg.inv(camera.c2w @ FLIP)
        entries[str(number)] = {
            "cam_K": [camera.fx, 0.0, camera.cx - 0.5, 0.0, camera.fy, camera.cy - 0.5, 0.0, 0.0, 1.0],
            "cam_R_w2c": w2c[:3, :3].ravel().tolist(),
            "cam_t_w2c": (1000 * w2c[:3, 3]).tolist(),
            "depth_scale": 1000 * UNIT_M,
        }
    return entries


def bop(folder: Path, rig: Rig, scene: Scene = ANIMAL) -> None:
    """A BOP scene: world-to-camera in millimetres, pixels counted from the centre of the first one."""
    entries = bop_cameras(rig)
    _write_pictures(
        folder, scene, rig, "rgb/{number:06d}.png", "depth/{number:06d}.png", "mask_visib/{number:06d}_000000.png"
    )
    (folder / "scene_camera.json").write_text(json.dumps(entries))
    (folder / "scene_gt.json").write_text(json.dumps({key: [{"obj_id": 1}] for key in entries}))


def polycam_camera(camera: Camera) -> dict[str, Any]:
    """What one file of a raw export holds."""
    table = {f"t_{row}{column}": camera.c2w[row, column] for row in range(3) for column in range(4)}
    return {
        **table,
        "fx": camera.fx,
        "fy": camera.fy,
        "cx": camera.cx,
        "cy": camera.cy,
        "width": camera.width,
        "height": camera.height,
        "blur_score": 31.5,
        "neighbors": [],
    }


def polycam(folder: Path, rig: Rig, scene: Scene = ANIMAL, *, coarse: int = 1, suffix: str = "png") -> None:
    """A raw export: both sets of pictures, of which the corrected one counts, and depth in fewer pixels."""
    base = folder / "keyframes"
    _write_pictures(base, scene, rig, f"corrected_images/{{name}}.{suffix}", None, "masks/{name}.png")
    for index, (name, camera) in enumerate(rig):
        table = polycam_camera(camera) | {"timestamp": 1000 + index}
        _, counts, _ = pictures(scene, camera, index)
        write_png(base / f"depth/{name}.png", np.ascontiguousarray(counts[::coarse, ::coarse]))
        write_png(base / f"confidence/{name}.png", np.full(counts.shape, 255, np.uint8))
        for place, shift in (("corrected_cameras", 0.0), ("cameras", 0.02)):
            file = base / f"{place}/{name}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(table | {"t_03": table["t_03"] + shift}))
    _write_pictures(base, scene, rig, f"images/{{name}}.{suffix}", None, None)
    (folder / "mesh_info.json").write_text("{}")


# -- recordings of apps and sensors ---------------------------------------------------------------------------------


def llff_table(rig: Rig) -> Array:
    """Rows of 3 x 5 (down, right, backwards, place, height-width-focal) and two bounds."""
    found = []
    for _, camera in rig:
        right, up, backwards, place = camera.c2w[:3].T
        columns = np.stack([-up, right, backwards, place, [camera.height, camera.width, camera.fx]], axis=1)
        found.append([*columns.ravel(), 0.5, 5.0])
    return np.array(found)


def llff(folder: Path, rig: Rig, scene: Scene = ANIMAL) -> None:
    """poses_bounds.npy beside images/, depth/ and masks/."""
    _write_pictures(folder, scene, rig, "images/{name}.png", "depth/{name}.png", "masks/{name}.png")
    (folder / "poses_bounds.npy").write_bytes(npy(llff_table(rig)))


def pose_text(camera: Camera) -> str:
    """A .pose.txt: OpenCV axes, camera-to-world."""
    return "\n".join(" ".join(f"{value:.9e}" for value in row) for row in camera.c2w @ FLIP) + "\n"


def seven_scenes(folder: Path, rig: Rig, scene: Scene = ANIMAL) -> None:
    """As tsdf-fusion has them: the intrinsics above the frames."""
    _, first = rig[0]
    frames = folder / "rgbd-frames"
    _write_pictures(frames, scene, rig, "frame-{number:06d}.color.png", "frame-{number:06d}.depth.png", None)
    for number, (_, camera) in enumerate(rig):
        (frames / f"frame-{number:06d}.pose.txt").write_text(pose_text(camera))
    K = np.array([[first.fx, 0, first.cx - 0.5], [0, first.fy, first.cy - 0.5], [0, 0, 1]])
    np.savetxt(folder / "camera-intrinsics.txt", K)


def trajectory_words(camera: Camera) -> str:
    """Place and turn of a trajectory's line: OpenCV axes, camera-to-world, the real part last."""
    pose = camera.c2w @ FLIP
    w, x, y, z = quaternion(pose[:3, :3])
    return " ".join(f"{value:.9f}" for value in (*pose[:3, 3], x, y, z, w))


def tum(folder: Path, rig: Rig, scene: Scene = ANIMAL) -> None:
    """A sequence at thirty pictures a second with depth 5 ms later and a trajectory of a hundred poses a second."""
    texts: dict[str, list[str]] = {name: [f"# {name}"] for name in ("rgb", "depth", "groundtruth")}
    for number, (_, camera) in enumerate(rig):
        time = 1305031102.175304 + number / 30
        rgb, counts, _ = pictures(scene, camera, number)
        write_png(folder / f"rgb/{time:.6f}.png", rgb)
        write_png(folder / f"depth/{time + 0.005:.6f}.png", counts * 5)
        texts["rgb"].append(f"{time:.6f} rgb/{time:.6f}.png")
        texts["depth"].append(f"{time + 0.005:.6f} depth/{time + 0.005:.6f}.png")
        texts["groundtruth"].append(f"{time - 0.004:.4f} {trajectory_words(camera)}")
        # The next pose is another's: nearest in time is what counts.
        texts["groundtruth"].append(f"{time + 0.016:.4f} 9 9 9 0 0 0 1")
    for name, lines in texts.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    _, first = rig[0]
    (folder / "capture.json").write_text(json.dumps(_intrinsics(first)))


def record3d_table(rig: Rig) -> dict[str, Any]:
    """metadata.json: the camera matrix column by column, turns and places."""
    _, first = rig[0]
    poses = []
    for _, camera in rig:
        w, x, y, z = quaternion(camera.c2w[:3, :3])
        poses.append([x, y, z, w, *camera.c2w[:3, 3]])
    K = [first.fx, 0, 0, 0, first.fy, 0, first.cx, first.cy, 1]
    return {"w": first.width, "h": first.height, "K": K, "fps": 60, "poses": poses}


def record3d(folder: Path, rig: Rig, scene: Scene = ANIMAL) -> None:
    """An export as EXR + RGB; depth is not read from OpenEXR."""
    _write_pictures(folder, scene, rig, "rgb/{number}.png", None, None)
    (folder / "metadata.json").write_text(json.dumps(record3d_table(rig)))


def scanner_app_camera(camera: Camera, number: int) -> dict[str, Any]:
    """What one file of the 3d Scanner App holds."""
    return {
        "cameraPoseARFrame": camera.c2w.ravel().tolist(),
        "intrinsics": [camera.fx, 0, camera.cx, 0, camera.fy, camera.cy, 0, 0, 1],
        "frame_index": number,
        "time": number / 30,
    }


def scanner_app(folder: Path, rig: Rig, scene: Scene = ANIMAL) -> None:
    """ "All Data": poses without pictures too, and the sensor's doubts."""
    _write_pictures(folder, scene, rig, "frame_{number:05d}.jpg", "depth_{number:05d}.png", None)
    for number, (_, camera) in enumerate([*rig, *rig[:2]]):
        table = scanner_app_camera(camera, number)
        (folder / f"frame_{number:05d}.json").write_text(json.dumps(table))
        write_png(folder / f"conf_{number:05d}.png", np.full((12, 16), 2, np.uint8))
    (folder / "info.json").write_text("{}")


# -- COLMAP ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ColmapImage:
    """A row of COLMAP's images file."""

    number: int
    quaternion: tuple[float, ...]
    translation: tuple[float, ...]
    camera: int
    name: str


def quaternion(R: Array) -> tuple[float, ...]:
    """w x y z of a rotation, by the eigenvector of its quadratic form: another way than any reader goes."""
    (a, b, c), (d, e, f), (g, h, i) = R
    K = np.array(
        [[a - e - i, 0, 0, 0], [d + b, e - a - i, 0, 0], [g + c, h + f, i - a - e, 0], [h - f, c - g, d - b, a + e + i]]
    )
    x, y, z, w = np.linalg.eigh(K / 3, "L")[1][:, 3]
    return (-w, -x, -y, -z) if w < 0 else (w, x, y, z)


def colmap_images(rig: Rig, suffix: str = "png") -> list[ColmapImage]:
    """Rows of an images file, in an order that is not that of the names."""
    rows = []
    for index, (name, camera) in enumerate(rig):
        w2c = np.linalg.inv(camera.c2w @ FLIP).astype(np.float64)
        turn = tuple(float(value) for value in quaternion(w2c[:3, :3]))
        rows.append(ColmapImage(index + 1, turn, tuple(w2c[:3, 3].tolist()), index + 1, f"{name}.{suffix}"))
    return rows[::-1]


def colmap_text_files(rig: Rig) -> dict[str, bytes]:
    """sparse/0 as text, with points behind some pictures and comments as COLMAP writes them."""
    lines = [
        "# Camera list with one line of data per camera:",
        "#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]",
        f"# Number of cameras: {len(rig)}",
    ]
    for index, (_, camera) in enumerate(rig):
        numbers = " ".join(repr(float(value)) for value in (camera.fx, camera.fy, camera.cx, camera.cy))
        lines.append(f"{index + 1} PINHOLE {camera.width} {camera.height} {numbers}")
    cameras = "\n".join(lines) + "\n"
    lines = ["# Image list with two lines of data per image:", f"# Number of images: {len(rig)}, mean observations: 1"]
    for row in colmap_images(rig):
        numbers = " ".join(repr(float(value)) for value in (*row.quaternion, *row.translation))
        points = "" if row.number % 2 else "10.5 11.5 -1 20.25 30.5 3"
        lines += [f"{row.number} {numbers} {row.camera} {row.name}", points]
    images = "\n".join(lines) + "\n"
    return {"sparse/0/cameras.txt": cameras.encode(), "sparse/0/images.txt": images.encode()}


def colmap_text(folder: Path, rig: Rig, scene: Scene = ANIMAL) -> None:
    """The model as text, depth and masks beside the pictures."""
    (folder / "sparse/0").mkdir(parents=True)
    for name, content in colmap_text_files(rig).items():
        (folder / name).write_bytes(content)
    (folder / "sparse/0/points3D.txt").write_text("# empty\n")
    _write_pictures(folder, scene, rig, "images/{name}.png", "depth/{name}.png", "masks/{name}.png.png")


def colmap_binary(folder: Path, rig: Rig, scene: Scene = ANIMAL, *, suffix: str = "png") -> None:
    """sparse/0 as binary, points in every second picture."""
    model = folder / "sparse/0"
    model.mkdir(parents=True)
    (model / "cameras.bin").write_bytes(cameras_bin(rig))
    (model / "images.bin").write_bytes(images_bin(colmap_images(rig, suffix)))
    (model / "points3D.bin").write_bytes(struct.pack("<Q", 0))
    _write_pictures(folder, scene, rig, f"images/{{name}}.{suffix}", "depth/{name}.png", "masks/{name}.png")


def cameras_bin(rig: Rig) -> bytes:
    """PINHOLE cameras, numbered from 1."""
    rows = [
        struct.pack("<iiQQ4d", index + 1, 1, camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
        for index, (_, camera) in enumerate(rig)
    ]
    return struct.pack("<Q", len(rows)) + b"".join(rows)


def images_bin(rows: Sequence[ColmapImage]) -> bytes:
    """Poses, names and, in every second picture, a point."""
    found = [struct.pack("<Q", len(rows))]
    for row in rows:
        points = row.number % 2
        found.append(struct.pack("<I4d3dI", row.number, *row.quaternion, *row.translation, row.camera))
        found.append(row.name.encode() + b"\0" + struct.pack("<Q", points) + struct.pack("<ddq", 1.5, 2.5, -1) * points)
    return b"".join(found)


@dataclass(frozen=True)
class Writer:
    """How one format is written, and what of the scene it can carry."""

    write: Callable[[Path, Rig], None]
    layout: str
    depth: bool = True
    plain: bool = False


FORMATS = {
    "nerfstudio": Writer(nerfstudio, "transforms"),
    "instant-ngp": Writer(instant_ngp, "transforms"),
    "blender": Writer(blender, "transforms", depth=False, plain=True),
    "capture.json": Writer(own, "transforms"),
    "colmap text": Writer(colmap_text, "colmap"),
    "colmap binary": Writer(colmap_binary, "colmap"),
    "polycam": Writer(polycam, "polycam"),
    "bop": Writer(bop, "bop"),
    "llff": Writer(llff, "llff", plain=True),
    "7-scenes": Writer(seven_scenes, "7-scenes"),
    "tum": Writer(tum, "tum"),
    "record3d": Writer(record3d, "record3d", depth=False),
    "3d scanner app": Writer(scanner_app, "3d-scanner-app"),
}
