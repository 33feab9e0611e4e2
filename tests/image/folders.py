"""Stages as folders: overlays of one base system, RUN by chroot, and a container as Docker would start it.

Needs root, util-linux and a folder with the base system (`debootstrap --variant=minbase bookworm BASE`), which stands
for debian:bookworm-slim. Not shown by this: Docker's own networking, seccomp and device handling.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.image.dockerfile import Stage

_UNSHARE = shutil.which("unshare") or "/usr/bin/unshare"
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")


@dataclass
class Outside:
    """What the steps may reach: variables for pip and git, and files of this machine that are shown to them."""

    variables: dict[str, str] = field(default_factory=dict)
    shown: list[Path] = field(default_factory=list)


@dataclass
class Built:
    """A stage that was built: its layers, the newest first, below which the base lies."""

    stage: Stage
    layers: list[Path]


class Builder:
    """Builds stages below ``work``; each is built once. Those in ``kept`` are taken as they were built earlier."""

    def __init__(
        self,
        stages: Mapping[str, Stage],
        context: Path,
        base: Path,
        work: Path,
        outside: Outside,
        kept: Collection[str] = (),
    ) -> None:
        self._stages, self._context, self._base, self._work = stages, context, base, work
        self._outside, self._kept = outside, kept
        self._built: dict[str, Built] = {}

    def build(self, name: str) -> Built:
        """Build a stage and whatever it needs; raises ``CalledProcessError`` at the first step that fails."""
        if name not in self._built:
            stage = self._stages[name]
            below = self.build(stage.base).layers if stage.base in self._stages else [self._base]
            layer = self._work / name / "layer"
            self._built[name] = Built(stage, [layer, *below])
            if name in self._kept and layer.is_dir():
                return self._built[name]
            layer.mkdir(parents=True)
            for origin in {step.origin for step in stage.steps if step.origin}:
                self.build(origin)
            with mounted(self._built[name].layers, self._work / name) as root:
                self._do(stage, root)
        return self._built[name]

    def _do(self, stage: Stage, root: Path) -> None:
        folder = Path("/")
        for step in stage.steps:
            begun = time.monotonic()
            if step.kind == "WORKDIR":
                folder = folder / step.words[0]
                (root / folder.relative_to("/")).mkdir(parents=True, exist_ok=True)
            elif step.kind == "COPY":
                self._copy(step.words, step.origin, root, folder)
            else:
                self._run(step.words[0], step.variables, root, folder)
            print(f"{stage.name}: {step.kind} {step.words[0][:100]} ({time.monotonic() - begun:.1f} s)", flush=True)

    def _run(self, line: str, variables: Mapping[str, str], root: Path, folder: Path) -> None:
        with ExitStack() as until_then:
            for path in (Path("/etc/resolv.conf"), *self._outside.shown):
                until_then.enter_context(shown(path, root))
            subprocess.run(
                [
                    _UNSHARE,
                    "--mount",
                    "--pid",
                    "--fork",
                    "--root",
                    str(root),
                    "--mount-proc",
                    "--wd",
                    str(folder),
                    "/bin/sh",
                    "-c",
                    line,
                ],
                env={"HOME": "/root", "DEBIAN_FRONTEND": "noninteractive", **self._outside.variables, **variables},
                check=True,
                stdin=subprocess.DEVNULL,
            )

    def _copy(self, words: Sequence[str], origin: str | None, root: Path, folder: Path) -> None:
        *sources, target = words
        into = root / (folder / target).relative_to("/")
        with ExitStack() as until_then:
            top = self._context
            if origin is not None:
                top = until_then.enter_context(mounted(self._built[origin].layers, self._work / f"{origin}-read"))
            for source in sources:
                path = top / source.lstrip("/")
                if path.is_dir():
                    shutil.copytree(path, into, symlinks=True, ignore=_IGNORED, dirs_exist_ok=True)
                else:
                    place = into / path.name if target.endswith("/") else into
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, place)


@contextmanager
def container(
    built: Built, work: Path, mounts: Mapping[str, Path], command: Sequence[str] = (), *, entrypoint: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """A container as docker-compose.yml says: its user, without network and rights, nothing writable but ``mounts`` and
    /tmp. SIGTERM goes to the program itself, as `docker stop` sends it by ``init``.
    """
    stage = built.stage
    words = [*(stage.entrypoint if entrypoint else ()), *(command or stage.command)]
    user, group = stage.user.split(":")
    with mounted(built.layers, work) as root:
        steps = [
            "set -e",
            "mount --make-rprivate /",
            f"mount --bind {root} {root}",
            f"mount -t proc proc {root}/proc",
            f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp",
            f"mount -t tmpfs -o mode=1777 tmpfs {root}/dev/shm",
        ]
        steps += [f"mount --bind {path} {root}{place}" for place, path in mounts.items()]
        steps += [f"mount -o remount,ro,bind {root}", 'exec "$@"']
        process = subprocess.Popen(
            [
                _UNSHARE,
                "--mount",
                "--net",
                "--ipc",
                "/bin/sh",
                "-c",
                "\n".join(steps),
                "sh",
                "chroot",
                str(root),
                "setpriv",
                f"--reuid={user}",
                f"--regid={group}",
                "--clear-groups",
                "--bounding-set=-all",
                "--no-new-privs",
                *words,
            ],
            env=stage.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@contextmanager
def mounted(layers: Sequence[Path], work: Path) -> Iterator[Path]:
    """The layers as one folder; what is written goes into the first."""
    root, scratch = work / "root", work / "scratch"
    root.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(exist_ok=True)
    lower = ":".join(map(str, layers[1:]))
    options = f"lowerdir={lower},upperdir={layers[0]},workdir={scratch}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(root)], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", "--recursive", str(root)], check=True)


@contextmanager
def shown(path: Path, root: Path) -> Iterator[None]:
    """A file or folder of this machine, at the same place inside, to be read."""
    place = root / path.relative_to("/")
    was_there = os.path.lexists(place)
    if not was_there:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir() if path.is_dir() else place.touch()
    subprocess.run(["mount", "--bind", str(path.resolve()), str(place)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)
        if not was_there:
            place.rmdir() if path.is_dir() else place.unlink()
