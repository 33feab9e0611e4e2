"""Runs the original nvdiffrec in a process of its own, with its log and the memory it took."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from bench.original_result import Log, mesh_complaints, read_log

#: What differs between the configurations it ships: for meshes under a given light, and for photographs.
RECIPES: dict[str, dict[str, Any]] = {
    "spot": {"learning_rate": [0.03, 0.003], "ks_min": [0, 0.1, 0], "laplace_scale": 10_000},
    "nerf": {"learning_rate": [0.03, 0.01], "ks_min": [0, 0.25, 0], "laplace_scale": 3_000},
}
#: It logs every tenth step, so other numbers of iterations leave the last one unlogged.
LOG_INTERVAL = 10

_COMPILE = "import sys; sys.path[0] = sys.argv[1]; from render.renderutils import ops; ops._get_plugin()"
#: Its train.py as if it were started by name, and then what torch took of the card.
_LAUNCH = """
import os, runpy, sys
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
torch = sys.modules["torch"]
print(f"peak allocated {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")
"""


class Incomplete(Exception):
    """The original's run did not end as a whole one does; the message lists everything that is wrong."""


@dataclass(frozen=True)
class Run:
    """A complete run: its log, its settings and the folder with everything it wrote."""

    log: Log
    config: dict[str, Any]
    results: Path


def run(
    checkout: Path,
    data: Path,
    out: Path,
    iterations: int,
    *,
    recipe: str = "spot",
    mesh_scale: float = 1.2,
    curve_every: int = 0,
    timeout_s: float = 3600,
) -> Run:
    """Let the original fit ``data``, ``iterations`` steps in each of its two passes, and check that it did.

    Everything lands in ``out``, which must not exist yet: config.json, log.txt (each line after the seconds since the
    launch) and out/run/, its own files. ``mesh_scale`` is the side of the cube that its grid fills about the origin:
    1.2 holds an object within 0.5 of it. With ``curve_every`` it also renders one held-out view every so many steps,
    which takes it a few hundredths of a second each. Raises ``Incomplete``.
    """
    if iterations % LOG_INTERVAL or curve_every % LOG_INTERVAL:
        raise ValueError(f"iterations and curve steps must be multiples of {LOG_INTERVAL}")
    out.mkdir(parents=True)
    (out / "data").symlink_to(checkout.resolve() / "data")  # it reads its tables relative to where it runs
    with Image.open(next((data / "train").glob("*.png"))) as picture:
        width, height = picture.size
    config = {
        "ref_mesh": str(data.resolve()),
        "out_dir": "run",
        "iter": iterations,
        "batch": 6,
        "validate": True,
        "train_res": [height, width],
        "texture_res": [1024, 1024],
        "isosurface": "dmtet",
        "dmtet_grid": 64,
        "mesh_scale": mesh_scale,
        "background": "white",
        "random_textures": True,
        "display_interval": 0,
        "save_interval": curve_every,
        **RECIPES[recipe],
    }
    (out / "config.json").write_text(json.dumps(config, indent=1))
    _launch(checkout, out, timeout_s)
    return finished_run(out)


def finished_run(out: Path) -> Run:
    """The run that ended in ``out``, checked; raises ``Incomplete``."""
    config = json.loads((out / "config.json").read_text())
    log = read_log((out / "log.txt").read_text().splitlines(), config["iter"])
    results = out / "out" / config["out_dir"]
    complaints = [*log.complaints, *mesh_complaints(results / "mesh")]
    if complaints:
        raise Incomplete(f"the original's run in {out} is not complete:\n- " + "\n- ".join(complaints))
    return Run(log, config, results)


def compile_ahead(checkout: Path) -> float:
    """Compile its CUDA code, as it does at its first step, and return the seconds that took."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", _COMPILE, str(checkout.resolve())], check=True, stdout=sys.stderr)
    return time.monotonic() - start


def _launch(checkout: Path, out: Path, timeout_s: float) -> None:
    """Run its train.py in ``out`` and keep its log; killed with all its children after ``timeout_s``."""
    command = [sys.executable, "-u", "-c", _LAUNCH, str(checkout.resolve() / "train.py"), "--config", "config.json"]
    ended, readings = threading.Event(), [_card_mib()]
    watch = threading.Thread(target=_watch_card, args=(ended, readings), daemon=True)
    start = time.monotonic()
    child = subprocess.Popen(
        command,
        cwd=out,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    timer = threading.Timer(timeout_s, os.killpg, (child.pid, signal.SIGKILL))
    try:
        watch.start()
        timer.start()
        with (out / "log.txt").open("w") as log:
            for line in child.stdout or ():
                log.write(f"{time.monotonic() - start:.3f} {line.rstrip()}\n")
                log.flush()
            status = child.wait()
            seconds = time.monotonic() - start
            known = [reading for reading in readings if reading is not None]
            if known and readings[0] is not None:
                log.write(f"{seconds:.3f} peak card {max(known) - readings[0]:.0f} MiB\n")
            log.write(f"{seconds:.3f} exit status {status}\n")
    finally:
        timer.cancel()
        ended.set()
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _watch_card(ended: threading.Event, readings: list[float | None]) -> None:
    while readings[-1] is not None and not ended.wait(0.5):
        readings.append(_card_mib())


def _card_mib() -> float | None:
    """Memory in use on the first card, by whoever; None where nobody can tell."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    if shutil.which(query[0]) is None:
        return None
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30)
        return float(answer.stdout.split()[0])
    except (subprocess.SubprocessError, ValueError, IndexError):
        return None
