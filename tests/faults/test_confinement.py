"""What a worker cannot do, tried from inside a real one; each try names the wall that stops it."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.workers.process import Ended, Home, TimeLimits, WorkerProcess, run_to_end, worker_request
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.walls.confinement import LAYERS
from tests.rig import ENGINES, is_gone

#: Where the service keeps the folders of its jobs, and one that is not the burglar's.
JOBS = "state/work"
OTHER = f"{JOBS}/other"
LIMITS = TimeLimits(run_s=900, stall_s=900, grace_s=5)


@pytest.fixture(scope="module")
def layers() -> dict[str, dict[str, str]]:
    """Which layers this kernel has, as a process of its own tells."""
    command = [sys.executable, "-I", "-m", "meshdrop.models.walls.confinement"]
    done = subprocess.run(command, capture_output=True, check=True)
    told: dict[str, dict[str, str]] = json.loads(done.stdout)
    assert {*told["stand"], *told["missing"]} == {*LAYERS}
    return told


@dataclass(frozen=True)
class Raid:
    """What the burglar came to, and the house that it was let into."""

    loot: dict[str, str]
    ended: Ended
    house: Path
    before: dict[str, tuple[int, int, bytes | None]]

    def outcomes(self, *beginnings: str) -> dict[str, str]:
        """What the tries came to whose names begin so."""
        return {name: came for name, came in self.loot.items() if name.startswith(beginnings)}


def facts_of(house: Path) -> dict[str, tuple[int, int, bytes | None]]:
    """Rights, time and content of everything in the house but the worker's own folder."""
    found = {}
    for path in sorted(house.rglob("*")):
        if "burglar" not in path.relative_to(house).parts:
            facts = path.stat()
            changes = 0 if path.name in ("a1", "work", "job") else int(facts.st_mtime)
            found[str(path)] = (facts.st_mode, changes, path.read_bytes() if path.is_file() else None)
    return found


class _Opens:
    """A pickle of this opens a file that nobody may make."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self._path), "w")


@pytest.fixture(scope="module")
def raid(ball: Path, tmp_path_factory: pytest.TempPathFactory, kernel_cache: Path) -> Raid:
    """A burglar's run among the folders of a service, beside a sibling and an open port."""
    house = tmp_path_factory.mktemp("house")
    secrets = [
        house / name
        for name in (
            "state/meshdrop.db",
            "root/.meshdrop/config.toml",
            f"{OTHER}/input/view.png",
            "home/.ssh/id",
            "root/inbox/chair/view.png",
            "root/outbox/done/mesh.glb",
            f"{OTHER}/evil.pickle",
        )
    ]
    for path in secrets:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"secret")
        os.utime(path, (10**9, 10**9))
    (house / f"{OTHER}/evil.pickle").write_bytes(pickle.dumps(_Opens(house / "root/inbox/unpickled")))
    own = house / JOBS / "job/a1/burglar"
    own.parent.mkdir(parents=True)
    sibling = subprocess.Popen(["sleep", "900"])
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as control:
        control.bind(str(house / "state/control.sock"))
        control.listen()
        plan = house.parent / f"{house.name}.plan.json"
        plan.write_text(
            json.dumps(
                {
                    "port": server.getsockname()[1],
                    "control": str(house / "state/control.sock"),
                    "service": os.getpid(),
                    "sibling": sibling.pid,
                    "read": [*map(str, secrets)],
                    "change": [*map(str, secrets)],
                    "list": [str(house / "root/inbox"), str(house / "state"), str(house / OTHER), "/", "/tmp"],
                    "write": [
                        str(house / "root/inbox"),
                        str(house / "root/outbox"),
                        str(house / "state"),
                        str(ball),
                        str(own.parent),
                        str(kernel_cache),
                        str(kernel_cache.parent),
                        "/dev/shm",
                        "/tmp",
                        "/var/tmp",
                    ],
                }
            )
        )
        request = worker_request(
            "run",
            ball,
            own / "result.json",
            CaptureLimits(),
            model="burglar",
            settings={"plan": str(plan)},
            custom_models={"burglar": f"{ENGINES}:Burglar"},
            output=own,
        )
        before = facts_of(house)
        process = WorkerProcess(f"burglar-{os.getpid()}", request, own, Home(house / "state", kernel_cache), LIMITS)
        ended = run_to_end(process, lambda: False)
    sibling.kill()
    sibling.wait()
    loot = json.loads((own / "loot.json").read_text()) if (own / "loot.json").exists() else {}
    return Raid(loot, ended, house, before)


def needs(layer: str, layers: dict[str, dict[str, str]]) -> None:
    """Skip where this kernel cannot have the layer."""
    if layer in layers["missing"]:
        pytest.skip(f"this kernel lacks the layer {layer}: {layers['missing'][layer]}")


def test_a_worker_does_its_work_behind_the_walls(raid: Raid) -> None:
    assert raid.ended.error_class is None, raid.ended.reason
    assert raid.loot
    assert {"mesh.glb", "mesh.obj", "mesh.ply"} <= {*(raid.ended.answer or {})["files"]}


def test_no_worker_reaches_a_network_or_the_service_itself(raid: Raid, layers: dict[str, dict[str, str]]) -> None:
    needs("network", layers)
    tries = raid.outcomes("tcp", "udp", "ipv6", "netlink", "packet", "control socket", "a pair", "by a child")
    assert [name for name, came in tries.items() if came == "done"] == []
    assert len(tries) == 8


def test_no_worker_sees_what_is_not_its_own(raid: Raid, layers: dict[str, dict[str, str]]) -> None:
    """The record, the settings, another job, a home, the inbox, and a pickle in any of them."""
    needs("files", layers)
    tries = raid.outcomes("read /", "list ", "unpickle ")
    assert {name: came for name, came in tries.items() if came != "PermissionError"} == {}
    assert len(tries) == 19
    assert not (raid.house / "root/inbox/unpickled").exists()


def test_no_worker_writes_outside_its_folder(raid: Raid, layers: dict[str, dict[str, str]]) -> None:
    """Not into its capture, the kernel cache, other jobs or the share; rights and times of files stay too."""
    needs("files", layers)
    needs("calls", layers)
    tries = raid.outcomes("write ", "link ", "overwrite ", "remove ", "rename ")
    assert {name: came for name, came in tries.items() if came not in ("PermissionError", "OSError")} == {}
    assert len(tries) == 20 + 21
    assert facts_of(raid.house) == raid.before


def test_no_worker_touches_another_process(raid: Raid, layers: dict[str, dict[str, str]]) -> None:
    needs("processes", layers)
    tries = raid.outcomes("trace", "stop", "signal", "read a sibling's", "read the service's", "limit")
    assert {name: came for name, came in tries.items() if came != "PermissionError"} == {}
    assert len(tries) == 6


def test_no_worker_changes_the_machine(raid: Raid, layers: dict[str, dict[str, str]]) -> None:
    needs("calls", layers)
    tries = raid.outcomes("mount", "new namespaces", "shared memory", "hide", "outlive")
    assert {name: came for name, came in tries.items() if came != "PermissionError"} == {}
    assert len(tries) == 5


@pytest.mark.parametrize("engine", ["Runaway", "Relay"])
def test_nothing_outlives_its_worker_by_shedding_environment_session_and_parent(
    ball: Path, tmp_path: Path, kernel_cache: Path, layers: dict[str, dict[str, str]], engine: str
) -> None:
    """One process that goes on, and many that each start the next and end."""
    if "a network of its own" not in layers["stand"].get("network", ""):
        pytest.skip("this kernel gives no network of its own")
    own = tmp_path / "a1"
    request = worker_request(
        "run",
        ball,
        own / "result.json",
        CaptureLimits(),
        model=engine,
        settings={},
        custom_models={engine: f"{ENGINES}:{engine}"},
        output=own,
    )
    process = WorkerProcess(f"{engine}-{os.getpid()}", request, own, Home(tmp_path, kernel_cache), LIMITS)
    ended = run_to_end(process, lambda: False)
    assert "it is gone" in ended.reason
    pids = [int(line) for line in (own / "tmp/pids").read_text().split()]
    assert len(pids) >= 5
    assert [pid for pid in pids if not is_gone(pid)] == []
    time.sleep(0.5)
    assert len((own / "tmp/pids").read_text().split()) == len(pids), "one lives on"
