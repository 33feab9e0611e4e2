"""A stranger puts a link where a folder stood, at each named point of ``daemon.base.crash``, while it stands there.

He owns every folder that people can write, and handles on what he dropped: the public folders, the capture in the
inbox, and the folders inside the one that was taken. Behind the link lies a treasure: the same folder with other
content. Nothing in it may change or come out, and when the link is gone the promise holds as ever.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.rig import Rig
from tests.torture import subject
from tests.torture.case import MISSED, Case
from tests.torture.ground import Ground, RootRig
from tests.torture.points import arrivals
from tests.torture.promise import check_at_rest, look

SECRET = b"a secret that lies outside of the share"
#: Relative to the root; ``*`` is whatever job's folder is there.
PUBLIC = ("inbox", "outbox", "failed", "status")
PLACES = (
    *PUBLIC,
    "inbox/outbox",
    "inbox/outbox/views",
    "outbox/outbox",
    "failed/failed",
    ".meshdrop/spool/claimed/*/views",
    ".meshdrop/spool/claimed/*/depth",
    ".meshdrop/spool/kept/*/views",
)
_GOES_ON = ("held", "published", "cannot be", "put back")


@dataclass(frozen=True)
class Link(Case):
    """Put a link in ``place`` while the service stands at ``point``; take it away when it was met, or at the end."""

    place: str
    point: str

    @property
    def id(self) -> str:
        """Unique, readable, and enough to run it again."""
        return f"{self.part}/{self.place.replace('/', '-')}/{self.point}"

    def run(self, ground: Ground) -> str:
        """Raises ``AssertionError`` when the promise is broken."""
        with ground.layout(None, split=False) as (rig, _):
            try:
                return self._run(ground, rig)
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error}\n{rig.log()[-2500:]}") from error

    def _run(self, ground: Ground, rig: RootRig) -> str:
        ground.drop(rig)
        treasure = ground.folder / "treasure"
        shutil.rmtree(treasure, ignore_errors=True)
        service = subject.launch(rig, "--once", MESHDROP_CRASH_AT=self.point, MESHDROP_CRASH_BY="STOP")
        if not _stands(service.pid):
            assert service.wait() == 0
            return MISSED
        before = look(rig)
        there = next(iter(sorted(rig.root.glob(self.place))), None)
        if there is None or not there.is_dir():
            os.kill(service.pid, signal.SIGCONT)
            assert service.wait() == 0
            return MISSED
        _hoard(there, treasure)
        lies = _inventory(treasure)
        with _replaced(there, treasure, ground.folder / "aside"):
            told = len(rig.log())
            os.kill(service.pid, signal.SIGCONT)
            while service.alive() and not any(word in rig.log()[told:] for word in _GOES_ON):
                service.check_patience()
                time.sleep(0.01)
            assert _inventory(treasure) == lies, "something behind the link was changed"
        code = service.wait()
        if code != 0 or self.place not in PUBLIC:  # the next start finds everything in its place
            assert subject.run_once(rig) == 0
        assert _inventory(treasure) == lies, "something behind the link was changed"
        assert not (leak := list(_telling(rig))), f"what lies behind the link came out: {leak}"
        if self.place in PUBLIC:
            check_at_rest(rig, ground.captures, before)
        else:
            _check_nothing_is_lost(rig, ground.captures)
        return ""


def _check_nothing_is_lost(rig: Rig, captures: Mapping[str, Path]) -> None:
    """Whoever changes his capture while it is read may find it on another shelf, with or without what he changed."""
    for folder in (rig.places.claimed, rig.places.staging, rig.places.state / "work"):
        assert os.listdir(folder) == [], f"{folder.name}/ still holds {os.listdir(folder)}"
    found = {path.partition("/")[2].partition("__")[0] for path in look(rig).published}
    assert found == set(captures), f"only {found} came out"


def links(passed: Counter[str], chance: random.Random, count: int | None) -> list[Link]:
    """Every place at every point, or ``count`` of them."""
    every = [Link("links", place, point) for place in PLACES for point in arrivals(passed, every=False)]
    return every if count is None else chance.sample(every, count)


def _stands(pid: int) -> bool:
    """Wait until the service stands at its point; False when it ended without."""
    found = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return found is not None and found.si_code == os.CLD_STOPPED


def _hoard(like: Path, treasure: Path) -> None:
    """The same names with other content, and everything that whoever follows a link might write to or take."""
    shutil.copytree(like, treasure)
    for folder, _, names in os.walk(treasure):
        for name in names:
            Path(folder, name).write_bytes(SECRET)
    for name in ("views", "outbox", "failed", "deep"):
        (treasure / name).mkdir(exist_ok=True)
    (treasure / "deep" / "note").write_bytes(SECRET)


def _inventory(top: Path) -> dict[str, tuple[object, ...]]:
    """What there is, to the nanosecond; not when it was read."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, names in os.walk(top):
        for name in (".", *folders, *names):
            facts = os.lstat(path := Path(folder, name))
            content = path.read_bytes() if stat.S_ISREG(facts.st_mode) else b""
            found[str(path.relative_to(top))] = (facts.st_ino, facts.st_mode, facts.st_uid, facts.st_mtime_ns, content)
    return found


@contextmanager
def _replaced(there: Path, treasure: Path, aside: Path) -> Iterator[None]:
    """By a handle on the folder that it lies in, which goes where that folder goes."""
    handle = os.open(there.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.rename(there, aside)
    there.symlink_to(treasure)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):  # the service may have moved it, as one moves a file
            os.unlink(there.name, dir_fd=handle)
        try:
            os.rename(aside, there.name, dst_dir_fd=handle)
        except FileNotFoundError:
            shutil.rmtree(aside)  # the folder is gone
        os.close(handle)


def _telling(rig: Rig) -> Iterator[Path]:
    """Published files and pages that hold the secret."""
    for shelf in rig.places.public():
        for folder, _, names in os.walk(shelf):
            for name in names:
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink() and SECRET in path.read_bytes():
                    yield path
