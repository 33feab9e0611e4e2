"""Stands in for the original's train.py: logs and writes what it does, and misbehaves as the file `mood` says.

The pictures it "renders" are the true ones, darker by 51 levels (13.98 dB) or, later and in pass 2, by 17 (23.52 dB).
"""

import json
import sys
import time
import types
from pathlib import Path

import numpy as np
from PIL import Image

CUDA = types.SimpleNamespace(max_memory_allocated=lambda: 3 << 20)
sys.modules["torch"] = types.SimpleNamespace(cuda=CUDA)  # type: ignore[assignment]
MOOD = (Path(sys.argv[0]).parent / "mood").read_text()
CONFIG = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
OUT = Path("out") / CONFIG["out_dir"]
TRUE = [np.asarray(Image.open(path))[..., :3] for path in sorted(Path(CONFIG["ref_mesh"], "test").glob("*.png"))]
POINTS = ((0.1, 0.2, 0.3), (0.4, 0.2, 0.3), (0.1, 0.5, 0.3), (0.1, 0.2, 0.7))


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if MOOD == "unsaved" and path.name == "texture_kd.png":
        print(f"WARNING: FAILED to save image {path}")
    else:
        Image.fromarray(pixels.astype(np.uint8)).save(path)


def fit(prefix: str) -> None:
    for step in range(CONFIG["iter"] + 1):
        every = CONFIG["save_interval"]
        if every and step % every == 0:
            true = TRUE[step // every % len(TRUE)]
            shown = true - (51 if step // every < len(TRUE) else 17)
            save(OUT / f"{prefix}_{step // every:06d}.png", np.concatenate([shown, true], axis=1))
        if step % 10 == 0:
            loss = "nan" if MOOD == "nan" and step else f"{0.1:.6f}"
            took = f"time={200 - step:.1f} ms, rem=1.00 s"
            print(f"iter={step:5d}, img_loss={loss}, reg_loss=0.010000, lr=0.00300, {took}")


def validate(folder: str, darker: int) -> None:
    print("Running validation")
    for number, true in enumerate(TRUE):
        save(OUT / folder / f"val_{number:06d}_opt.png", true - darker)
        save(OUT / folder / f"val_{number:06d}_ref.png", true)
    print("MSE,      PSNR\n0.04000000, 13.979")


def export(folder: str) -> None:
    for name in ("texture_kd.png", "texture_ks.png", "texture_n.png"):
        save(OUT / folder / name, np.arange(48).reshape(4, 4, 3))
    save(OUT / folder / "probe.png", np.zeros((4, 4, 3)))
    (OUT / folder / "mesh.mtl").write_text("newmtl defaultMat\n")
    lines = ["v {} {} {} ".format(*point) for point in POINTS] + ["vt 0.25 0.75 "]
    lines += [f"f  {a}/1/{a} {b}/1/{b} {c}/1/{c}" for a, b, c in ((1, 3, 2), (1, 2, 4), (2, 3, 4), (1, 4, 3))]
    (OUT / folder / "mesh.obj").write_text("mtllib mesh.mtl\n" + "\n".join(lines) + "\n")
    print("Done exporting mesh")


fit("img_dmtet_pass1")
validate("dmtet_validate", 51)
print("Base mesh has 4 triangles and 4 vertices.")
export("dmtet_mesh")
if MOOD == "hang":
    time.sleep(600)
if MOOD == "crash":
    sys.exit("RuntimeError: CUDA error: out of memory")
if MOOD != "half":
    fit("img_mesh_pass")
    validate("validate", 17)
    export("mesh")
