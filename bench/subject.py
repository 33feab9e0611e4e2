"""The service as the subject of a measurement: started on a fresh root, watched from outside, stopped or killed.

Everything is read where an operator could read it too: the record (opened read-only), `status.json`, and `/proc`.
"""

from __future__ import annotations

import json
import os
import platform
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REAL, LIGHT = ("meshdrop.daemon.cli", "run"), ("tests.light", "run")
_TICKS = os.sysconf("SC_CLK_TCK")

#: The twelve files of a canonical capture, in the order of their names.
NAMES = (*(f"views/view_{n:02d}.png" for n in range(6)), *(f"depth/depth_{n:02d}.png" for n in range(6)))


def png(side: int, value: int, *, depth: bool = False, noise: random.Random | None = None) -> bytes:
    """A valid picture of one value, or of ``noise``: 8-bit RGB, or 16-bit grey for depth."""
    pixel = struct.pack(">H", 1000 + value % 60_000) if depth else value.to_bytes(3, "big")
    rows = (noise.randbytes(side * len(pixel)) if noise else pixel * side for _ in range(side))
    packed = zlib.compress(b"".join(b"\0" + one for one in rows), 1)
    header = struct.pack(">IIBBBBB", side, side, 16 if depth else 8, 0 if depth else 2, 0, 0, 0)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def capture_files(number: int, side: int = 16, noise: random.Random | None = None) -> dict[str, bytes]:
    """The files of a small capture whose pictures differ from each other and, with ``number``, between captures."""
    return {
        name: png(side, 16 * number + place, depth=name.startswith("depth"), noise=noise)
        for place, name in enumerate(NAMES)
    }


def write_files(folder: Path, files: dict[str, bytes], pause_s: float = 0.0) -> None:
    """A plain copy: folders, then one file after the other, each written and closed, ``pause_s`` between them."""
    for number, (name, content) in enumerate(files.items()):
        time.sleep(pause_s if number else 0)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@dataclass(frozen=True)
class Claim:
    """A folder that was taken, put back or not: when, the digest of what was read, and whether reading has ended."""

    at: float
    digest: str | None
    read: bool


def claims_in(record: Path) -> dict[str, list[Claim]]:
    """Every claim that moved a folder, by its name, oldest first."""
    found: dict[str, list[Claim]] = defaultdict(list)
    question = (
        "SELECT name, created_at, digest, state NOT IN ('CLAIMING', 'ABANDONED') FROM job "
        "WHERE state != 'ABANDONED' OR put_back > 0 ORDER BY created_at"
    )
    for name, at, digest, read in ask(record, question):
        found[os.fsdecode(name)].append(Claim(at, digest, bool(read)))
    return found


def ask(record: Path, question: str) -> list[tuple[Any, ...]]:
    """Ask a service's record, read-only."""
    with closing(sqlite3.connect(f"file:{record}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(question).fetchall()


@dataclass
class Subject:
    """One root and the service on it."""

    root: Path
    command: tuple[str, ...] = REAL
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.inbox, self.state = self.root / "inbox", self.root / ".meshdrop" / "state"
        self.log = self.root.parent / f"{self.root.name}.log"
        run = [sys.executable, "-m", "meshdrop.daemon.cli", "init", str(self.root)]
        subprocess.run(run, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=self.environment())

    def environment(self) -> dict[str, str]:
        """This process's, without settings of another root."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MESHDROP_")}
        return {**clean, "MESHDROP_ROOT": str(self.root), "MESHDROP_MIN_FREE_MB": "100", **self.settings}

    def start(self, *, ready: bool = True) -> None:
        """Start it and return, ``ready``, when it has shown its first page, else at once."""
        (self.state / "status.json").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", *self.command]
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment(), stdout=log, stderr=log)
        if ready:
            self.wait((self.state / "status.json").exists, 60)

    def wait(self, until: Callable[[], bool], timeout: float, every: float = 0.05, *, strictly: bool = True) -> float:
        """Seconds until ``until()`` is true, or ``timeout``. ``strictly``, that ends the program instead, and so does
        in any case the end of the service, with its last words.
        """
        begun = time.monotonic()
        while not until():
            ended = self.process is not None and self.process.poll() is not None
            if not ended and not strictly and time.monotonic() - begun > timeout:
                break
            if ended or time.monotonic() - begun > timeout:
                tail = self.log.read_text(errors="replace")[-3000:]
                raise SystemExit(f"{'the service ended' if ended else f'waited {timeout:.0f} s in vain'}:\n{tail}")
            time.sleep(every)
        return time.monotonic() - begun

    @property
    def pid(self) -> int:
        """Process id of the running service."""
        if self.process is None:
            raise RuntimeError("the service was not started")
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the service."""
        os.kill(self.pid, number)

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = 60) -> float:
        """Seconds from the signal to the end of the process."""
        begun = time.monotonic()
        self.send(how)
        if self.process is not None:
            self.process.wait(timeout)
        return time.monotonic() - begun

    # -- from outside ---------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The page for programs, as it is now."""
        try:
            found = json.loads((self.state / "status.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return dict(found)

    def rows(self, question: str) -> list[tuple[Any, ...]]:
        """Ask the record, read-only."""
        return ask(self.state / "meshdrop.db", question)

    def claims(self) -> dict[str, list[Claim]]:
        """Every claim that moved a folder, by its name."""
        return claims_in(self.state / "meshdrop.db")

    def has_record(self) -> bool:
        """Whether the service has made its record yet."""
        return (self.state / "meshdrop.db").exists()

    def claimed_at(self) -> dict[str, float]:
        """When each name was first claimed, in Unix seconds."""
        return {name: claims[0].at for name, claims in self.claims().items()}

    def jobs(self, where: str = "TRUE") -> int:
        """How many folders have been claimed and not put back, or how many such jobs there are."""
        return int(self.rows(f"SELECT COUNT(*) FROM job WHERE state != 'ABANDONED' AND {where}")[0][0])

    def wal_mb(self) -> float:
        """Size of the record's write-ahead log in megabytes."""
        log = self.state / "meshdrop.db-wal"
        return log.stat().st_size / 1e6 if log.exists() else 0.0

    def seen(self) -> int:
        """How many folders the service knows of: waiting in the inbox or claimed."""
        return int(self.status().get("inbox_total", 0)) + self.jobs()

    def cpu_s(self) -> float:
        """Processor seconds of the service itself, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mb(self) -> tuple[float, float]:
        """Resident memory now and at its highest, in megabytes of 10^6 bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
        return int(found["VmRSS"]) * 1024 / 1e6, int(found["VmHWM"]) * 1024 / 1e6

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def watches(self) -> int:
        """How many inotify watches it holds."""
        count = 0
        for entry in Path(f"/proc/{self.pid}/fdinfo").iterdir():
            try:
                count += entry.read_text(encoding="utf-8").count("inotify wd:")
            except FileNotFoundError:
                continue
        return count


@contextmanager
def fresh_root(base: Path | None, name: str, command: tuple[str, ...] = REAL, **settings: str) -> Iterator[Subject]:
    """A root of its own below ``base``; whatever happens, the service is ended and the folder removed."""
    with tempfile.TemporaryDirectory(prefix="meshdrop-bench-", dir=base, ignore_cleanup_errors=True) as folder:
        variables = {
            key.upper() if key.startswith("light_") else f"MESHDROP_{key.upper()}": value
            for key, value in settings.items()
        }
        subject = Subject(Path(folder) / name, command, variables)
        try:
            yield subject
        finally:
            if subject.process is not None and subject.process.poll() is None:
                subject.process.kill()
                subject.process.wait()
            subprocess.run(["rm", "-rf", str(subject.root)], check=False)  # faster than Python for 100,000 files


def percentiles(values: list[float]) -> str:
    """p50, p95 and the longest."""
    ordered = sorted(values)
    at = [ordered[min(int(share * len(ordered)), len(ordered) - 1)] for share in (0.5, 0.95)]
    return f"{at[0]:.1f} / {at[1]:.1f} / {ordered[-1]:.1f}"


def machine(folder: Path | None) -> str:
    """The machine, the file system and the date, in one line."""
    place = folder or Path(tempfile.gettempdir())
    found = subprocess.run(["df", "--output=fstype", str(place)], capture_output=True, text=True, check=True)
    kind = found.stdout.split()[-1]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    free = shutil.disk_usage(place).free / 1e9
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {place} on {kind} ({free:.0f} GB free), "
        f"load {os.getloadavg()[0]:.1f} before"
    )
