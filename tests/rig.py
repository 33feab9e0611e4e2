"""A small synthetic rig for tests: captures of a ball, and a root with a daemon that can be run and killed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from meshdrop.daemon.base.settings import load
from meshdrop.daemon.base.share import create_root
from meshdrop.db.engine import reader
from meshdrop.db.records import Job, live_jobs, recent_jobs
from meshdrop.models.formats.cameras import CANONICAL_VIEWS, canonical_camera
from tests.patience import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parents[1]
ENGINES = Path(__file__).parent / "faults" / "engines.py"
COLOUR = (200, 90, 40)


def write_ball(folder: Path, size: int = 64, radius: float = 0.5, depth: bool = True) -> Path:
    """A canonical capture of a one-coloured ball of ``radius`` metres: RGBA views, 16-bit depth in millimetres."""
    (folder / "views").mkdir(parents=True)
    for number, view in enumerate(CANONICAL_VIEWS):
        camera = canonical_camera(view, size, size)
        v, u = np.mgrid[0:size, 0:size] + 0.5
        ray = np.stack([(u - camera.cx) / camera.fx, (camera.cy - v) / camera.fy, -np.ones_like(u)], axis=-1)
        # |t ray - c|^2 = r^2 with c = (0, 0, -2.5) in camera space; t is the planar depth because ray_z = -1.
        a, b, c = (ray**2).sum(-1), 2.5, 2.5**2 - radius**2
        root = b * b - a * c
        hit = root > 0
        planar = np.where(hit, (b - np.sqrt(np.where(hit, root, 0))) / a, 0)
        picture = np.zeros((size, size, 4), np.uint8)
        picture[hit] = (*COLOUR, 255)
        # A faint mark that differs from view to view: six identical photographs are refused.
        picture[hit, 2] = np.minimum(picture[hit, 2].astype(int) + number, 255)
        Image.fromarray(picture).save(folder / "views" / f"view_{number:02d}.png")
        if depth:
            (folder / "depth").mkdir(exist_ok=True)
            Image.fromarray((planar * 1000).round().astype(np.uint16)).save(
                folder / "depth" / f"depth_{number:02d}.png"
            )
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its relative path."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@dataclass
class Rig:
    """A root, its settings as environment variables, and the daemon on it as a real process.

    ``light`` starts it with stand-ins for the worker processes (``tests.light``): the same service, a second per run;
    their runs of a capture that is on ``hold`` last until it is ``let_go``.
    """

    root: Path
    cache: Path
    settings: dict[str, str] = field(default_factory=dict)
    light: bool = False
    started: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)

    @property
    def log_file(self) -> Path:
        """Where the daemon's log goes: beside the root."""
        return self.root.parent / f"{self.root.name}.log"

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        create_root(load(self.root).places)
        self.places = load(self.root).places

    def environment(self, **extra: str) -> dict[str, str]:
        """The daemon's environment: quick to settle, the test engines by name, kernels compiled only once."""
        engines = [
            "ball",
            "lit_ball",
            "astray_ball",
            "wrong_ball",
            "crash",
            "raises",
            "fails_once",
            "hang",
            "slow",
            "chatty",
            "liar",
            "absent",
        ]
        classes = {name: f"{ENGINES}:{''.join(part.title() for part in name.split('_'))}" for name in engines}
        defaults = {
            "MESHDROP_ROOT": str(self.root),
            "MESHDROP_CACHE_DIR": str(self.cache),
            "MESHDROP_SETTLE_S": "0.2",
            "MESHDROP_NO_DEPTH_WAIT_S": "0.4",
            "MESHDROP_MODELS": '["ball"]',
            "MESHDROP_STOP_GRACE_S": "1",
            "MESHDROP_CUSTOM_MODELS": json.dumps(classes),
            "MESHDROP_MIN_FREE_MB": "1",
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MESHDROP_")}
        path = {"PYTHONPATH": str(REPOSITORY)} if self.light else {}
        held = {"LIGHT_HOLD": str(self._held)} if self.light else {}
        return {**clean, **path, **held, **defaults, **self.settings, **extra}

    @property
    def _held(self) -> Path:
        return self.root.parent / f"{self.root.name}.held"

    def hold(self, *names: str) -> None:
        """No stand-in ends its run of these captures before ``let_go``."""
        self._held.mkdir(exist_ok=True)
        for name in names:
            (self._held / name).touch()

    def let_go(self, *names: str) -> None:
        """Runs of these captures go on."""
        for name in names:
            (self._held / name).unlink()

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen[bytes]:
        """Start ``meshdrop run`` with these arguments; its log goes to ``log_file``."""
        log = open(self.log_file, "ab")  # noqa: SIM115 - the child keeps it
        self.started.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.light" if self.light else "meshdrop.daemon.cli", "run", *arguments],
                env=self.environment(**extra),
                stdout=log,
                stderr=log,
                cwd=self.root.parent,
            )
        )
        return self.started[-1]

    def end(self) -> None:
        """Kill every daemon of this rig that still runs."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()

    def run_once(self, **extra: str) -> int:
        """Run until nothing is left to do; returns the exit code (negative: killed by that signal)."""
        process = self.start("--once", **extra)
        try:
            return process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the daemon did not finish:\n{self.log()[-6000:]}") from None

    def drop(self, source: Path, name: str | None = None) -> None:
        """Put a finished folder into the inbox in one step, as a careful rig does."""
        name = name or source.name
        shutil.copytree(source, self.root / f".{name}.part")
        (self.root / f".{name}.part").rename(self.places.inbox / name)

    def log(self) -> str:
        """Everything the daemon has logged so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def status_page(self) -> str:
        """STATUS.txt as it is now, empty before the first."""
        page = self.places.status / "STATUS.txt"
        return page.read_text() if page.exists() else ""

    def jobs(self) -> list[Job]:
        """Jobs at rest, newest first."""
        with reader(self.places.database)() as session:
            return recent_jobs(session, 1000)

    def live_jobs(self) -> list[Job]:
        """Jobs that a start would bring forward, oldest first."""
        with reader(self.places.database)() as session:
            return live_jobs(session)

    def assert_at_rest(self) -> None:
        """Nothing is left in the private folders, and every published folder is what its receipt says."""
        for folder in (self.places.claimed, self.places.staging, self.places.state / "work"):
            assert os.listdir(folder) == [], f"{folder} is not empty\n{self.log()[-4000:]}"
        for shelf in (self.places.outbox, self.places.failed):
            for folder in shelf.iterdir():
                if folder.is_dir():
                    assert_whole(folder)


def assert_whole(folder: Path) -> None:
    """Every file of a published folder is there with the size and hash of the receipt, and none besides."""
    receipt = json.loads((folder / "receipt.json").read_text())["files"]
    there = {name: data for name, data in contents(folder).items() if name != "receipt.json"}
    assert set(there) == set(receipt)
    for name, data in there.items():
        assert hashlib.sha256(data).hexdigest() == receipt[name]["sha256"], name


class Onlooker(threading.Thread):
    """Looks at the shelves a hundred times a second and remembers every folder that was visible but not whole."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(daemon=True)
        self._shelves = (rig.places.outbox, rig.places.failed)
        self._ended = threading.Event()
        self.half_visible: set[str] = set()

    def run(self) -> None:
        """Look until stopped."""
        while not self._ended.wait(0.01):
            for shelf in self._shelves:
                for folder in shelf.iterdir():
                    if folder.is_dir() and not folder.name.startswith("."):
                        self._look(folder)

    def _look(self, folder: Path) -> None:
        try:
            receipt = json.loads((folder / "receipt.json").read_text())["files"]
            for name, facts in receipt.items():
                if (folder / name).stat().st_size != facts["size"]:
                    self.half_visible.add(f"{folder}: {name}")
        except (OSError, ValueError) as error:
            self.half_visible.add(f"{folder}: {error}")

    def stop(self) -> set[str]:
        """End looking; returns what was seen half."""
        self._ended.set()
        self.join()
        return self.half_visible


def wait_for(what: Callable[[], object], timeout: float = PATIENCE_S) -> None:
    """Wait until ``what`` is true."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.05)
    raise AssertionError(f"waited {timeout} s in vain")


def stop(process: subprocess.Popen[bytes]) -> int:
    """SIGTERM and wait."""
    process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE_S)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
