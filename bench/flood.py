"""How long a good capture waits behind a thousand bad ones.

``python bench/flood.py [COUNT]`` drops COUNT bad captures and then one good, starts the service on them with its real
reader (no model runs: stand-ins answer at once), and says when the good one was published. Half of the bad ones are
refused by their names alone, half by the pixels of a picture, which takes a process each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from samples.broken import BY_NAME, make_broken  # noqa: E402
from tests.rig import Rig, stop, write_ball  # noqa: E402


def main(count: int = 1000) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        good = write_ball(base / "good")
        (good / "capture.json").write_text("{}")
        rig = Rig(base / "root", base / "cache")
        bad = [make_broken(good, base / "bad", BY_NAME[name]) for name in ("symlink", "rows-missing")]
        for number in range(count):
            target = rig.places.inbox / f"bad-{number:05d}"
            shutil.copytree(bad[number % len(bad)], target, symlinks=True)
        shutil.copytree(good, rig.places.inbox / "good")
        environment = {**rig.environment(), "PYTHONPATH": str(REPOSITORY)}
        with open(rig.log_file, "ab") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "tests.reading", "run"], env=environment, stdout=log, stderr=log, cwd=base
            )
        started = time.monotonic()
        first = wait(rig.places.outbox / "good", started)
        print(f"the good capture after {first:.1f} s", flush=True)
        while len(os.listdir(rig.places.failed)) < count:
            time.sleep(0.2)
        everything = time.monotonic() - started
        stop(daemon)
    print(f"all {count:,} bad ones after {everything:.1f} s")


def wait(folder: Path, started: float) -> float:
    """Seconds until ``folder`` is there."""
    while not folder.exists():
        time.sleep(0.2)
    return time.monotonic() - started


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
