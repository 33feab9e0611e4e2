"""Full disks, read-only disks, a share that goes away: the service waits, says so, and goes on by itself afterwards."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.patience import PATIENCE_S
from tests.torture import subject
from tests.torture.calls import inject
from tests.torture.case import Case
from tests.torture.disks import Disk
from tests.torture.ground import Ground, RootRig, onlooker
from tests.torture.promise import Sight, all_out, check_at_rest, look
from tests.torture.subject import Subject

#: What goes wrong. ``full``: not a byte is left; ``read-only``: every change is refused; ``broken``: the file system
#: gave up by itself after an error; ``away``: the root is renamed; ``unmounted``: its file system is gone for a while.
Trouble = Literal["full", "read-only", "broken", "away", "unmounted"]
Where = Literal["share", "state", "both"]
#: Which disk what can happen to. ``both``: share and state are one disk.
POSSIBLE: dict[Trouble, tuple[Where, ...]] = {
    "full": ("share", "state", "both"),
    "read-only": ("both",),
    "broken": ("share", "state", "both"),
    "away": ("share",),
    "unmounted": ("share",),
}
_DISK_MB = 24
_WRITES = (
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "pwrite64",
    "ftruncate",
    "fdatasync",
    "utimensat",
    "link",
    "symlink",
)
#: Longer than any number of tries that a job has, with the pauses between them.
_LASTS_S = 30.0


@dataclass(frozen=True)
class Hold(Case):
    """Trouble ``after_ms`` after two captures have appeared; it is cured ``_LASTS_S`` later."""

    trouble: Trouble
    where: Where
    after_ms: int

    @property
    def id(self) -> str:
        """Unique, readable, and enough to run it again."""
        return f"{self.part}/{self.trouble}/{self.where}/{self.after_ms}"

    def run(self, ground: Ground) -> str:
        """Raises ``AssertionError`` when a capture failed for it, or the work did not go on by itself."""
        with self._disks(ground) as (share, state), ground.rig(share.path, state.path if state else None) as rig:
            service = subject.launch(rig)
            try:
                with onlooker(rig) if self.trouble in ("full", "read-only") else _nobody():
                    self._disturb(ground, rig, share, state, service)
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error}\n{rig.log()[-3500:]}") from error
            finally:
                service.kill()
        return ""

    def _disturb(self, ground: Ground, rig: RootRig, share: Disk, state: Disk | None, service: Subject) -> None:
        captures = [
            (shutil.copytree(source, rig.root / f".{name}.part"), name) for name, source in ground.captures.items()
        ]
        _wait(lambda: "starting" in rig.log() or not service.alive(), "the service did not come up")
        for part, name in captures:
            Path(part).rename(rig.places.inbox / name)
        time.sleep(self.after_ms / 1000)
        disk = share if self.where != "state" or state is None else state
        cure = TROUBLES[self.trouble](rig, disk, service)
        time.sleep(_LASTS_S)
        assert service.alive(), f"the service ended while its disk was {self.trouble}"
        if self.trouble in ("away", "unmounted"):
            left = [str(path) for path in rig.root.rglob("*")] if rig.root.exists() else []
            assert not rig.root.exists(), f"something was written where the share is not: {left}"
        before = Sight(frozenset(), {}, frozenset())  # nothing was cut: all that was dropped counts as accepted
        if self.trouble == "broken":
            before = look(rig)
            # No remount cures this one; the machine has to come down.
            assert service.stop() == 0, "a stop on a broken disk"
            cure()
            assert subject.run_once(rig) == 0
        else:
            cure()
            _wait(lambda: all_out(rig) or not service.alive(), "the work did not go on")
            assert service.alive(), "the service ended instead of going on"
            assert service.stop() == 0
        check_at_rest(rig, ground.captures, before)

    @contextmanager
    def _disks(self, ground: Ground) -> Iterator[tuple[Disk, Disk | None]]:
        folder = ground.folder / "small"
        options = "errors=remount-ro" if self.trouble == "broken" else ""
        share = Disk(folder, "share", "ext4", _DISK_MB, options)
        state = None if self.where == "both" else Disk(folder, "state", "ext4", _DISK_MB, options)
        try:
            yield share, state
        finally:
            for disk in filter(None, (share, state)):
                if disk.path.is_mount():
                    disk.unmount("-l")
            shutil.rmtree(folder)


def fill(_: RootRig, disk: Disk, __: Subject) -> Callable[[], None]:
    """Not one byte is left."""
    ballast = disk.path / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"\xa5" * size)
            except OSError:
                continue
    return ballast.unlink


def refuse_writes(_: RootRig, __: Disk, service: Subject) -> Callable[[], None]:
    """Every change is answered as a read-only file system answers it.

    By strace: the kernel refuses ``remount,ro`` while the service has its lock and its database open for writing.
    """
    tracer = inject(service.pid, f"{','.join(_WRITES)}:error=EROFS")

    def cure() -> None:
        tracer.terminate()
        tracer.wait(PATIENCE_S)

    return cure


def give_up(_: RootRig, disk: Disk, __: Subject) -> Callable[[], None]:
    """The file system meets an error and goes read-only, as it does when its disk answers nonsense."""
    Path(f"/sys/fs/ext4/{disk.device()}/trigger_fs_error").write_text("torture")

    def repair() -> None:
        disk.unmount()
        subprocess.run(["e2fsck", "-p", str(disk.image)], check=False, capture_output=True)
        disk.mount()

    return repair


def rename_away(rig: RootRig, _: Disk, __: Subject) -> Callable[[], None]:
    """The root is not where it was."""
    hidden = rig.root.with_name(f"{rig.root.name}-hidden")
    rig.root.rename(hidden)

    def bring_back() -> None:
        hidden.rename(rig.root)

    return bring_back


def unmount(_: RootRig, disk: Disk, __: Subject) -> Callable[[], None]:
    """The mount point is an empty folder."""
    device = disk.device()
    disk.unmount("-l")
    # The service still holds files of it open, so this is the same file system as before, not a second one beside it.
    return lambda: disk.mount(device)


TROUBLES: dict[Trouble, Callable[[RootRig, Disk, Subject], Callable[[], None]]] = {
    "full": fill,
    "read-only": refuse_writes,
    "broken": give_up,
    "away": rename_away,
    "unmounted": unmount,
}


def holds(count: int, chance: random.Random, troubles: Sequence[Trouble] = tuple(POSSIBLE)) -> list[Hold]:
    """Every trouble in every place at least once, at moments drawn by ``chance``."""
    combinations = [(trouble, where) for trouble in troubles for where in POSSIBLE[trouble]]
    drawn = [*combinations, *(chance.choice(combinations) for _ in range(count - len(combinations)))]
    # Two captures are through after about 500 ms.
    return [*dict.fromkeys(Hold("holds", trouble, where, chance.randrange(600)) for trouble, where in drawn)]


def _wait(what: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)


@contextmanager
def _nobody() -> Iterator[None]:
    yield
