"""Why a folder without cameras is no capture: one plain sentence for each thing that people drop instead."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from meshdrop.models.files.names import last_of
from meshdrop.models.files.pictures import suffixes
from meshdrop.models.files.problem import Problem, printable

_COLMAP = (
    "Find the cameras first (COLMAP does it from photographs), then drop images/ and sparse/ together; "
    "or photograph the object on a rig whose cameras are stored (meshdrop rig add)."
)
_MAKES = "Meshdrop makes meshes out of photographs"
_SOURCES = "Drop the photographs and cameras that it was made of."
_FRAMES = f"Take single pictures out of it as PNG. {_COLMAP}"


@dataclass(frozen=True)
class _Kind:
    """What files with these endings are, why that is not enough, and what to do."""

    endings: tuple[str, ...]
    what: str
    why: str
    fix: str


#: In the order in which they are told.
_KINDS = (
    _Kind(
        (".r3d",),
        "a recording of Record3D, which is an archive",
        "Meshdrop reads folders",
        "Unpack it as a zip file, or export it from the app as EXR + RGB, and drop the folder that comes out.",
    ),
    _Kind(
        (".zip", ".7z", ".rar", ".tar", ".tgz", ".gz"),
        "an archive",
        "Meshdrop reads folders",
        "Unpack it, and drop the folder that comes out.",
    ),
    _Kind((".heic", ".heif"), "an HEIC photograph", "it comes without its camera's pose", _COLMAP),
    _Kind(
        (".mov", ".mp4", ".m4v", ".avi", ".mkv", ".webm", ".mpg"),
        "a video",
        "Meshdrop needs photographs whose cameras are known",
        _FRAMES,
    ),
    _Kind(
        (".bag", ".db3", ".mcap"),
        "a recording of a RealSense camera or of ROS",
        "it holds pictures and depth, but not where the camera stood, and is not unpacked here",
        f"Take colour and aligned depth out of it as PNG (rs-convert, or the RealSense Viewer). {_COLMAP}",
    ),
    _Kind(
        (".svo", ".svo2", ".oni", ".klg", ".sens"),
        "a recording of a depth camera",
        "it is not unpacked here",
        f"Take its pictures, depth and poses out of it with its maker's program. {_COLMAP}",
    ),
    _Kind(
        (".glb", ".gltf", ".obj", ".stl", ".fbx", ".usdz", ".usd", ".dae", ".3mf"), "a finished mesh", _MAKES, _SOURCES
    ),
    _Kind(
        (".ply", ".las", ".laz", ".e57", ".pts", ".xyz", ".pcd", ".splat", ".spz"),
        "a finished mesh or point cloud",
        _MAKES,
        _SOURCES,
    ),
)
#: Files of cameras that are known and not read, by name: what they are of.
_NOT_READ = {
    "cameras.xml": "Metashape",
    "registration.csv": "RealityScan",
    "sfm.json": "Meshroom",
    "cameras.sfm": "Meshroom",
    "reconstruction.json": "OpenSfM",
    "groundtruth.txt": "TUM RGB-D, which comes without its rgb.txt here",
    "bundler.out": "Bundler",
    "bundle.out": "Bundler",
    "calib.txt": "KITTI",
    "calib_cam_to_cam.txt": "KITTI",
    "calib_velo_to_cam.txt": "KITTI",
    "sensor.yaml": "EuRoC",
    "cameras_sphere.npz": "NeuS",
    "cameras.npz": "IDR",
    "blocksexchange.xml": "ContextCapture",
    "lowres_wide.traj": "ARKitScenes",
}
_PICTURES = (*(f".{suffix}" for suffix in suffixes("image") if suffix not in ("heic", "heif")), ".bmp", ".raw")


def why_no_capture(names: Collection[str]) -> Problem | None:
    """What is wrong with a folder in which no cameras were found; None while it holds nothing that says."""
    names = sorted(names)
    if (scan := next((name for name in names if "scaniverse" in name.casefold()), None)) is not None:
        message = f"{printable(scan)} is of Scaniverse, which exports no photographs with camera poses."
        return Problem("poses", scan, message, f"Scan with an app that does (Polycam: raw data). {_COLMAP}")
    for name in names:
        if (program := _NOT_READ.get(last_of(name))) is not None:
            message = f"{printable(name)} is of {program}: cameras in its format are not read."
            return Problem("poses", name, message, "Export the cameras as a COLMAP model or as transforms.json.")
    pictures = [name for name in names if last_of(name).endswith(_PICTURES)]
    if not pictures:
        return next((problem for name in names if (problem := _odd(name)) is not None), None)
    message = (
        f"{len(pictures)} picture{'s' if len(pictures) > 1 else ''}, but nothing that says where the cameras stood: no "
        "transforms.json, no COLMAP model (sparse/), no stored rig, and they are not the six views of the standard rig."
    )
    return Problem("poses", None, message, f"{_COLMAP} Six views of the standard rig belong into views/.")


def _odd(name: str) -> Problem | None:
    kind = next((kind for kind in _KINDS if last_of(name).endswith(kind.endings)), None)
    if kind is None:
        return None
    return Problem("poses", name, f"{printable(name)} is {kind.what}; {kind.why}.", kind.fix)
