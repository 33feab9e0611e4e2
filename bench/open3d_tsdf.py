"""Open3D's fusion of frames that were handed over: `PYTHON bench/open3d_tsdf.py FRAMES.npz MESH.npz`.

Run by an interpreter that has `open3d`; it needs nothing of Meshdrop. `bench/against_open3d.py` says what the two files
hold. Prints one line of JSON: the version, CPU seconds from frames in memory to the mesh, the most memory of this
process in megabytes (Open3D itself takes part of that), and how many triangles came out. Exit status 3 with one
sentence on standard error where there is no Open3D or nothing comes out.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Open3D's own values: side of a block in voxels, and blocks to begin with (it grows).
BLOCK, BLOCKS = 16, 20_000


def main() -> int:
    """Fuse, write, say what it took."""
    try:
        import open3d  # noqa: PLC0415 - where it lacks, that is told in a sentence
    except ImportError as error:
        print(f"{sys.executable} has no Open3D: {error}", file=sys.stderr)
        return 3
    with np.load(sys.argv[1]) as stored:
        given = dict(stored)
    began = time.process_time()
    vertices, faces, colours = fuse(open3d, given)
    took = time.process_time() - began
    if not len(faces):
        print("Open3D made no triangle of these frames", file=sys.stderr)
        return 3
    np.savez(Path(sys.argv[2]), vertices=vertices, faces=faces, colours=colours)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"version": open3d.__version__, "cpu_s": took, "memory_mb": memory, "triangles": len(faces)}))
    return 0


def fuse(open3d: Any, given: dict[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Vertices (V, 3), faces (F, 3) and colours (V, 3) 0..1 of its VoxelBlockGrid, after all frames."""
    core = open3d.core
    kinds = (core.float32,) * 3
    grid = open3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight", "color"), kinds, ((1,), (1,), (3,)), float(given["voxel_m"]), BLOCK, BLOCKS, core.Device()
    )
    reach = float(given["farthest_m"])
    for n in range(int(given["frames"])):
        depth, colour = (open3d.t.geometry.Image(core.Tensor(given[f"{what}_{n}"])) for what in ("depth", "colour"))
        lens, pose = (core.Tensor(given[f"{what}_{n}"]) for what in ("intrinsics", "world_to_camera"))
        blocks = grid.compute_unique_block_coordinates(depth, lens, pose, 1.0, reach)
        grid.integrate(blocks, depth, colour, lens, lens, pose, 1.0, reach)
    mesh = grid.extract_triangle_mesh(float(given["least_weight"]))
    if "indices" not in mesh.triangle or not len(mesh.triangle.indices):
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros((0, 3), np.float32)
    return (
        mesh.vertex.positions.numpy().astype(np.float32),
        mesh.triangle.indices.numpy().astype(np.int32),
        mesh.vertex.colors.numpy().astype(np.float32),
    )


if __name__ == "__main__":
    sys.exit(main())
