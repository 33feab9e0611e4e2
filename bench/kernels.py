"""What compiling the kernels costs, and what a worker's own copy of them: ``python -m bench.kernels [FOLDER]``.

Compiles into a new cache below FOLDER (a temporary one by default), then starts the same small run of ``fusion`` three
times: with copies of the compiled kernels, and once with none, as each run would be without the warming.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from meshdrop.daemon.workers import kernels
from meshdrop.daemon.workers.process import Ended, Home, TimeLimits, WorkerProcess, run_to_end, worker_request
from meshdrop.daemon.workers.warming import Warming
from meshdrop.models.files.limits import CaptureLimits

PATIENT = TimeLimits(1800, 1800, 10)


def run(top: Path, cache: Path, name: str) -> Ended:
    """One run of ``fusion`` on the sample."""
    folder = top / name
    request = worker_request(
        "run",
        kernels.SAMPLE,
        folder / "result.json",
        CaptureLimits(),
        model="fusion",
        output=folder,
        settings={"resolution": 64, "texture_size": 512},
    )
    return run_to_end(WorkerProcess(f"bench {name} {top}", request, folder, Home(top, cache), PATIENT), lambda: False)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(sys.argv[1] if len(sys.argv) > 1 else scratch)
        cache = top / "cache"
        warming = Warming(Home(top, cache))
        worker = warming.start(f"bench {top}")
        assert worker is not None, "the log above says why it cannot be started"
        ended = run_to_end(worker, lambda: False)
        warming.conclude(ended)
        print(f"warming     {ended.cpu_seconds:6.1f} s of a processor, {ended.seconds:6.1f} s")
        began = time.perf_counter()
        copy = kernels.copy_for_worker(top, cache)
        took = time.perf_counter() - began
        size = sum(file.stat().st_size for file in copy.rglob("*") if file.is_file())
        print(f"a copy      {1000 * took:6.1f} ms, {size / 1e6:.1f} MB")
        kernels.forget(copy)
        for number in (1, 2):
            ended = run(top, cache, f"warm{number}")
            print(f"warm run {number}  {ended.cpu_seconds:6.1f} s of a processor, {ended.seconds:6.1f} s")
        ended = run(top, top / "empty", "cold")
        print(f"cold run    {ended.cpu_seconds:6.1f} s of a processor, {ended.seconds:6.1f} s")


if __name__ == "__main__":
    main()
