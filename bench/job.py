"""CPU seconds of one whole job, from the folder in the inbox to the folder in the outbox.

Runs the real daemon (`meshdrop run --once`) on a fresh root: first once to compile the kernels, then once for each
capture, and prints the CPU seconds of the daemon and of every process it started (from wait4, user + system), the
wall seconds from claim to publication (from the record), and the share of each worker.

    python bench/job.py [--captures DIR] [--object spot ...]

Nothing else should run meanwhile; CPU seconds are robust against other load, wall seconds are not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ROOT.parent / "shared" / "captures"


def run_job(capture: Path, name: str, base: Path) -> dict[str, float]:
    """One job on a root of its own; kernels come from ``base/cache``."""
    root = base / f"root-{name}"
    environment = {
        **os.environ,
        "MESHDROP_ROOT": str(root),
        "MESHDROP_CACHE_DIR": str(base / "cache"),
        "MESHDROP_SETTLE_S": "0.2",
    }
    command = [sys.executable, "-m", "meshdrop.daemon.cli"]
    subprocess.run([*command, "init", str(root)], env=environment, check=True, stdout=subprocess.DEVNULL)
    shutil.copytree(capture, root / "inbox" / name)
    daemon = subprocess.Popen([*command, "run", "--once"], env=environment, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(daemon.pid, 0)
    if status != 0 or not (root / "outbox" / name).is_dir():
        raise SystemExit(f"{name} did not reach the outbox: see {root}")
    shown = subprocess.run(
        [*command, "show", name, "--json"], env=environment, check=True, capture_output=True, text=True
    )
    job = json.loads(shown.stdout)
    at = {event["kind"]: event["at"] for event in job["events"]}
    (run,) = job["runs"]
    return {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "model_cpu_s": run["figures"]["cpu_seconds"],
        "claim_to_published_s": at["published"] - at["claiming"],
        "psnr_masked_db": run["figures"]["psnr_masked_db"],
    }


def main() -> None:
    """Print one line for each capture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--captures", type=Path, default=DEFAULT)
    parser.add_argument("--object", action="append", dest="objects")
    arguments = parser.parse_args()
    sample = ROOT / "samples" / "snail"
    captures = {"snail": sample}
    for name in arguments.objects or ("spot", "bob", "fuze", "spot-noisy"):
        captures[name] = arguments.captures / name / "capture"
    with tempfile.TemporaryDirectory(prefix="meshdrop-bench-") as folder:
        first = run_job(sample, "first", Path(folder))
        print(f"first job on a new machine, kernels compiled on the way: {first['cpu_s']:.1f} CPU-s\n")
        print("| capture | whole job CPU-s | of it the model | claim to published, wall s | PSNR on the object |")
        print("|---|---|---|---|---|")
        for name, capture in captures.items():
            if not capture.is_dir():
                print(f"| {name} | not at {capture} | | | |")
                continue
            found = run_job(capture, name, Path(folder))
            print(
                f"| {name} | {found['cpu_s']:.1f} | {found['model_cpu_s']:.1f} | {found['claim_to_published_s']:.1f} "
                f"| {found['psnr_masked_db']:.1f} dB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
