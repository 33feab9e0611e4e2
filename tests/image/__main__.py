"""``python -m tests.image WORK [--target cpu]``: build a target of the Dockerfile without Docker, and try it.

Makes the base system by debootstrap in WORK/base if it is not there (DEBOOTSTRAP_MIRROR may name where from), executes
every RUN and COPY of the target and of what it needs, then runs `meshdrop demo` and a service in containers of it as
docker-compose would: as user 10001, on a read-only system, without a network. Needs root.

--show FILE       a file or folder of this machine that the steps may read, for example certificates
--arg NAME=VALUE  as docker build's --build-arg
--git URL=FOLDER  take what comes from URL out of this repository instead
--keep STAGE      take this stage as an earlier run has built it
PIP_* and *_proxy variables are passed on. Whoever wants to look around finds each stage's files in WORK/STAGE/layer.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.image.dockerfile import stages
from tests.image.folders import Builder, Built, Outside, container

PROJECT = Path(__file__).parents[2]
_USER = 10001


def main() -> int:
    """Build and try; the exit code."""
    options = _options()
    outside = _outside(options)
    base = options.work / "base"
    if not base.is_dir():
        mirror = [os.environ["DEBOOTSTRAP_MIRROR"]] if "DEBOOTSTRAP_MIRROR" in os.environ else []
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", str(base), *mirror], check=True)
    for old in options.work.iterdir():
        if old != base and old.name not in options.keep:
            shutil.rmtree(old)
    known = stages((PROJECT / "Dockerfile").read_text(encoding="utf-8"), dict(map(_pair, options.arg)))
    built = Builder(known, PROJECT, base, options.work, outside, options.keep).build(options.target)
    return try_out(built, options.work / "tried")


def try_out(built: Built, work: Path) -> int:
    """`meshdrop demo`, then a service with a capture from outside, each in a container; prints what comes of it."""
    share, state, weights = work / "share", work / "state", work / "weights"
    for folder in (share, state, weights):
        folder.mkdir(parents=True)
        os.chown(folder, _USER, _USER)
    state.chmod(0o700)  # as the image has it, from which Docker makes the volume
    mounts = {"/srv/scans": share, "/var/lib/meshdrop": state, "/weights": weights}

    def run(*command: str, entrypoint: bool = True) -> tuple[int, str]:
        with container(built, work / "beside", mounts, command, entrypoint=entrypoint) as process:
            said, _ = process.communicate()
        print(f"$ {' '.join(command)[:100]}\n{said.strip()}", flush=True)
        return process.returncode, said

    def is_well() -> bool:
        return run(*built.stage.healthcheck, entrypoint=False)[0] == 0

    if run("demo", "/srv/scans")[0]:
        return 1
    code, said = run("sh", "-c", "touch /opt/x /srv/x /etc/x /weights/x", entrypoint=False)
    if code == 0 or said.count("Read-only file system") != 3 or is_well():
        return 1
    with container(built, work / "service", mounts) as service:
        _wait_for(is_well)
        shutil.copytree(PROJECT / "samples" / "snail", work / "again")
        subprocess.run(["chown", "-R", f"{_USER}:{_USER}", str(work / "again")], check=True)
        (work / "again").rename(share / "inbox" / "again")
        _wait_for((share / "outbox" / "again.done").exists)
        service.send_signal(signal.SIGTERM)
        said, _ = service.communicate(timeout=60)
    print(said)
    if service.returncode != 0 or is_well():
        return 1
    print("the service took a capture, delivered it and stopped")
    return 0


def _wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not what():
        if time.monotonic() > end:
            raise TimeoutError("waited five minutes in vain")
        time.sleep(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.image", usage=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--show", type=Path, action="append", default=[])
    parser.add_argument("--arg", action="append", default=[])
    parser.add_argument("--git", action="append", default=[])
    parser.add_argument("--keep", action="append", default=[])
    return parser.parse_args()


def _outside(options: argparse.Namespace) -> Outside:
    passed = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}
    pairs = [_pair(pair) for pair in options.git]
    passed |= {
        "GIT_CONFIG_COUNT": str(2 * len(pairs) + 1),
        f"GIT_CONFIG_KEY_{2 * len(pairs)}": "protocol.file.allow",
        f"GIT_CONFIG_VALUE_{2 * len(pairs)}": "always",
    }
    for number, (url, folder) in enumerate(pairs):
        passed[f"GIT_CONFIG_KEY_{2 * number}"] = f"url.file://{folder}.insteadOf"
        passed[f"GIT_CONFIG_VALUE_{2 * number}"] = url
        passed[f"GIT_CONFIG_KEY_{2 * number + 1}"] = "safe.directory"
        passed[f"GIT_CONFIG_VALUE_{2 * number + 1}"] = "*"
    return Outside(passed, [*options.show, *(Path(folder) for _, folder in pairs)])


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
