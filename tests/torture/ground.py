"""Where cases run: one scratch folder for each worker process, its disks, and a fresh root for every case."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from meshdrop.daemon.base.settings import load
from meshdrop.daemon.base.share import create_root
from tests.rig import Onlooker, Rig, write_ball
from tests.torture.disks import Disk, FileSystem

#: Cases on one disk before it is made anew: what earlier cases left behind must not fill it.
_CASES_A_DISK = 40


@dataclass
class RootRig(Rig):
    """A rig whose log does not lie on the disk that is about to fail, and whose state may lie on another."""

    log_folder: Path = Path()
    state: Path | None = None

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True)
        self.places = load(self.root, state_dir=self.state).places
        create_root(self.places)
        if self.state is not None:
            self.settings["MESHDROP_STATE_DIR"] = str(self.state)

    @property
    def log_file(self) -> Path:
        """In the scratch folder."""
        return self.log_folder / f"{self.root.name}.log"


@dataclass
class Ground:
    """The scratch folder of one worker process. ``captures`` are named after the shelf they belong on."""

    folder: Path
    captures: dict[str, Path] = field(default_factory=dict)
    _disks: dict[str, tuple[Disk, int]] = field(default_factory=dict)
    _roots: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        good, bad = self.folder / "captures" / "outbox", self.folder / "captures" / "failed"
        write_ball(good, size=32)
        shutil.copytree(good, bad)
        shutil.copyfile(bad / "views/view_00.png", bad / "depth/depth_02.png")
        self.captures = {"outbox": good, "failed": bad}

    def disk(self, name: str, kind: FileSystem) -> Disk:
        """The disk of this name and kind, made when it is first asked for and now and then anew."""
        key = f"{kind}-{name}"
        disk, used = self._disks.get(key, (None, 0))
        if disk is None or used >= _CASES_A_DISK:
            if disk is not None:
                disk.destroy()
            disk, used = Disk(self.folder, key, kind), 0
        self._disks[key] = (disk, used + 1)
        return disk

    def forget(self, disk: Disk) -> None:
        """Let go of a disk that a case has left in an unknown state."""
        for key, (known, _) in list(self._disks.items()):
            if known is disk:
                del self._disks[key]
                disk.destroy("-l")

    @contextmanager
    def rig(self, share: Path, state: Path | None = None, *, light: bool = True) -> Iterator[RootRig]:
        """A fresh root in ``share`` (its state in ``state``), gone afterwards. ``light``: stand-ins for the workers."""
        self._roots += 1
        name = f"root{self._roots}"
        rig = RootRig(
            share / name,
            self.folder.parent / "cache",
            {"MESHDROP_SETTLE_S": "0.1"},
            light=light,
            log_folder=self.folder,
            state=state and state / f"{name}-state",
        )
        try:
            yield rig
        finally:
            shutil.rmtree(rig.root, ignore_errors=True)
            shutil.rmtree(rig.places.state, ignore_errors=True)
            rig.log_file.unlink(missing_ok=True)

    @contextmanager
    def layout(self, kind: FileSystem | None, *, split: bool) -> Iterator[tuple[RootRig, list[Disk]]]:
        """A fresh root on a disk of this kind, ``split``: its state on another; in the scratch folder for None.

        What was set up is flushed. A case that fails in here leaves the disks in an unknown state: they are not used
        again.
        """
        names = () if kind is None else ("share", "state") if split else ("share",)
        disks = [self.disk(name, kind) for name in names if kind is not None]
        with self.rig(disks[0].path if disks else self.folder, disks[1].path if split and disks else None) as rig:
            for disk in disks:
                disk.flush()
            try:
                yield rig, disks
            except Exception:
                for disk in disks:
                    self.forget(disk)
                raise

    def drop(self, rig: Rig, captures: Mapping[str, Path] | None = None) -> None:
        """A good and a bad capture (or these), written as a rig writes: nothing is flushed."""
        for name, capture in (captures or self.captures).items():
            rig.drop(capture, name)


class Consumer(threading.Thread):
    """Moves every result away the moment it is visible, as an eager program at the share does."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(daemon=True)
        self._shelves = (rig.places.outbox, rig.places.failed)
        self._table = taken(rig)
        self._table.mkdir(exist_ok=True)
        self._ended = threading.Event()

    def run(self) -> None:
        """Take until stopped, and once more."""
        while not self._ended.wait(0.0005):
            self._take()
        self._take()

    def _take(self) -> None:
        for shelf in self._shelves:
            for folder in shelf.iterdir():
                if folder.is_dir() and not folder.name.startswith("."):
                    folder.rename(self._table / f"{shelf.name}-{folder.name}-{uuid.uuid4().hex[:8]}")

    def stop(self) -> None:
        """End taking."""
        self._ended.set()
        self.join()


def taken(rig: Rig) -> Path:
    """Where a consumer puts what it takes: on the same file system, so that taking is one rename."""
    return rig.root / "taken"


@contextmanager
def consumer(rig: Rig) -> Iterator[None]:
    """Somebody takes every result away at once. Start the service first, as for ``onlooker``."""
    taking = Consumer(rig)
    taking.start()
    try:
        yield
    finally:
        taking.stop()


@contextmanager
def onlooker(rig: Rig) -> Iterator[None]:
    """Somebody looks at the shelves all the time; raises ``AssertionError`` when something was half-visible.

    Start the service first: it is forked, and a fork of a process with threads is asking for trouble.
    """
    looking = Onlooker(rig)
    looking.start()
    try:
        yield
    finally:
        half = looking.stop()
    assert not half, f"half-visible: {sorted(half)[:3]}"
