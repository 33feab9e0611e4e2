"""The compiled kernels, which are programs: made by a process that reads no stranger's file, and kept by the service.

numba unpickles what it finds in its cache and runs it. So what lies there is the service's alone. A ``warm`` worker
compiles every kernel from our own sample capture. A list of hashes beside the folder vouches for the files (a folder
that somebody has moved in brings no list), and each later worker gets a copy of its own of what is on the list: what it
compiles or spoils ends with it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import stat
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.users import others_who_write

log = get_logger()

MODELS = Path(__file__).resolve().parents[2] / "models"
SAMPLE = MODELS.parent / "samples" / "snail"
#: Where the worker finds its copy, and where the warming one leaves what it has compiled.
_IN_WORKER = Path("tmp", "numba")
#: How a folder begins that one worker has for itself.
OWN = "own-"
_MOST_LINKS = 40


@dataclass(frozen=True)
class Unsafe:
    """Why somebody else could have written to the cache: what is so, and what a person does."""

    says: str
    fix: str
    why: str = "what lies in the kernel cache is run by the models' processes, so nobody else may write there"


@functools.cache
def kernel_digest() -> str:
    """A name for what the kernels are compiled from and for: the models' code and where it lies, Python, numba, the
    processor. The cache itself does not notice that a function in another file changed, so each gets its own.
    """
    digest = hashlib.sha256(f"{MODELS} {sys.version} {platform.machine()} {_processor()}".encode())
    for package in ("numba", "llvmlite", "numpy"):
        with suppress(importlib.metadata.PackageNotFoundError):
            digest.update(importlib.metadata.version(package).encode())
    for file in sorted(MODELS.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _processor() -> str:
    """Model and abilities of the first processor, as the kernel tells them."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").partition("\n\n")[0].splitlines()
        return " ".join(line for line in lines if line.split("\t")[0].strip() in ("model name", "flags", "Features"))
    return ""


def ours(name: str) -> bool:
    """Whether an entry of the cache belongs to the kernels of this version, so that it is no leftover."""
    return name.startswith(f"numba-{kernel_digest()}")


def _list_file(cache: Path) -> Path:
    return cache / f"numba-{kernel_digest()}.json"


def unsafe(cache: Path) -> Unsafe | None:
    """The first thing on the way to the cache, or in it, that somebody else could have put there; None when all is
    well. What is not there yet will be made, closed to others. Links are followed where nobody else could turn them.
    """
    waiting, at, links = list(cache.absolute().parts[1:]), Path("/"), 0
    while waiting:
        here = at / waiting.pop(0)
        try:
            facts = os.lstat(here)
        except FileNotFoundError:
            return None
        except OSError as error:
            return Unsafe(f"{here} cannot be looked at ({error.strerror})", _elsewhere(cache))
        if (found := _foreign(here, facts)) is not None:
            return found
        if stat.S_ISLNK(facts.st_mode):
            links += 1
            if links > _MOST_LINKS:
                return Unsafe(f"{here} leads round in links", _elsewhere(cache))
            target = Path(os.path.normpath(at / os.readlink(here)))
            waiting, at = [*target.parts[1:], *waiting], Path("/")
        elif not stat.S_ISDIR(facts.st_mode):
            return Unsafe(f"{here} is not a folder", f"rm {shlex.quote(str(here))}")
        else:
            at = here
    return _in_cache(at)


def _elsewhere(cache: Path) -> str:
    return f"set cache_dir to a folder of the service's own instead of {cache}"


def _foreign(path: Path, facts: os.stat_result) -> Unsafe | None:
    """Who owns a folder, or may write to it, can put another in the place of what lies in it."""
    if facts.st_uid not in (0, os.geteuid()):
        return Unsafe(
            f"{path} belongs to user {facts.st_uid}, who could put there what he likes",
            f"set cache_dir to a folder of the service's own, or: sudo rm -r {shlex.quote(str(path))}",
        )
    if (who := others_who_write(facts)) is not None:
        return Unsafe(
            f"{who} may write to {path}",
            f"chmod go-w {shlex.quote(str(path))}, and if somebody may have used that, rm -r what lies in it; "
            "or set cache_dir to a folder of the service's own",
        )
    return None


def _in_cache(cache: Path) -> Unsafe | None:
    facts = os.lstat(cache)
    if facts.st_uid != os.geteuid() and os.geteuid() != 0:
        return None  # root's, closed to us: nothing can be kept there, which the doctor says
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return Unsafe(f"others may write to {cache}", f"rm -r {shlex.quote(str(cache))}: it is made again")
    with os.scandir(cache) as entries:
        for entry in entries:
            if not ours(entry.name):
                continue
            if entry.is_symlink():
                return Unsafe(f"{entry.path} is a link", f"rm {shlex.quote(entry.path)}")
            if (found := _foreign(Path(entry.path), entry.stat(follow_symlinks=False))) is not None:
                return found
    return None


class OpenToOthers(PermissionError):
    """Others could have written to the cache: no worker is started until somebody has looked after it."""


def make_safe(cache: Path) -> None:
    """Make the cache, closed to others. Raises ``OpenToOthers``, with a whole sentence, when they could write there."""
    if (found := unsafe(cache)) is not None:
        raise OpenToOthers(f"{found.says}: {found.why}; {found.fix}")
    for folder in reversed([folder for folder in (cache, *cache.parents) if not folder.exists()]):
        folder.mkdir(mode=0o700, exist_ok=True)


def _own_folder(state: Path, cache: Path) -> Path:
    make_safe(cache)
    folder = cache / f"{OWN}{_mark(state)}-{uuid.uuid4().hex}"
    folder.mkdir(mode=0o700)
    return folder


def _mark(state: Path) -> str:
    """Several services may share a cache; each clears away its own."""
    return hashlib.sha256(os.fsencode(state)).hexdigest()[:8]


def tidy(state: Path, cache: Path) -> None:
    """Remove what killed workers of this service have left. For its start, when it has none."""
    with suppress(FileNotFoundError):
        for path in cache.glob(f"{OWN}{_mark(state)}-*"):
            forget(path)


def forget(folder: Path) -> None:
    """Remove a worker's own folder."""
    shutil.rmtree(folder, ignore_errors=True)


def are_kept(cache: Path) -> bool:
    """Whether the kernels of this version have been compiled."""
    return _listed(cache) is not None


def _listed(cache: Path) -> tuple[Path, dict[str, str]] | None:
    try:
        told = json.loads(_list_file(cache).read_text(encoding="utf-8"))
        folder, files = str(told["folder"]), dict(told["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (cache / folder, files) if ours(folder) and os.path.basename(folder) == folder else None


def warming_folder(state: Path, cache: Path) -> Path:
    """A new folder for the worker that compiles the kernels."""
    return _own_folder(state, cache)


def keep(cache: Path, warmed: Path) -> None:
    """Keep what the warming worker has compiled in the folder ``warmed``, and vouch for it."""
    folder = cache / f"numba-{kernel_digest()}-{uuid.uuid4().hex[:8]}"
    compiled = warmed / _IN_WORKER
    compiled.mkdir(parents=True, exist_ok=True)
    compiled.chmod(0o700)  # whatever the umask of the service: what a group may write to is refused
    compiled.rename(folder)
    files = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.is_symlink()
    }
    partial = warmed / "list"
    partial.write_text(json.dumps({"folder": folder.name, "files": files}, indent=1), encoding="utf-8")
    partial.chmod(0o600)
    partial.rename(_list_file(cache))  # not flushed: after a power cut the hashes tell what is whole
    for other in cache.glob(f"numba-{kernel_digest()}*"):
        if other not in (folder, _list_file(cache)):
            forget(other)


def copy_for_worker(state: Path, cache: Path) -> Path:
    """A new folder for one worker with a copy of every kernel that is vouched for; empty before the warming.

    Raises ``OSError`` with a whole sentence when others could have written to the cache.
    """
    folder = _own_folder(state, cache)
    source, files = _listed(cache) or (cache, {})
    for name, digest in files.items():
        content = _content(source / name)
        if content is None or hashlib.sha256(content).hexdigest() != digest:
            log.warning("kernel not as it was compiled", file=str(source / name), fix="it is compiled again")
            _list_file(cache).unlink(missing_ok=True)
            continue
        target = folder / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder


def _content(path: Path) -> bytes | None:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            return file.read()
    except OSError:
        return None
