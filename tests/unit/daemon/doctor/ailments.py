"""What the doctor's tests share: one fault at a time, and the one line that may change by it."""

from __future__ import annotations

import ctypes
import json
import os
import sqlite3
import struct
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from meshdrop.daemon.base.settings import load
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.examine import examine
from meshdrop.daemon.host.machine import Machine
from meshdrop.models.capture.rig_profile import SCHEMA

GB = 10**9
CARD = {
    "index": "0",
    "uuid": "GPU-aaaa",
    "name": "NVIDIA L4",
    "driver_version": "580.95.05",
    "memory.total": "23034",
    "memory.free": "22000",
    "persistence_mode": "Enabled",
    "compute_mode": "Default",
    "display_active": "Disabled",
    "ecc.errors.uncorrected.volatile.total": "0",
    "compute_cap": "8.9",
}


def by_name(findings: Sequence[Finding]) -> dict[str, Finding]:
    """The lines by name; each name stands there once."""
    named = {finding.name: finding for finding in findings}
    assert len(named) == len(findings)
    return named


def troubles(findings: Sequence[Finding]) -> list[str]:
    """The names of the lines that a person should do something about."""
    return [finding.name for finding in findings if finding.is_trouble]


def changed(root: Path, well: Machine, fault: Callable[[], object]) -> Finding:
    """The one line that is not in order after ``fault``. A fault may be another machine.

    Before it every line must be ok, after it no line may be missing, and those that hang on the one are skipped.
    """
    before = by_name(examine(root, None, well))
    assert [finding for finding in before.values() if finding.result != "ok"] == []
    faulty = fault()
    after = by_name(examine(root, None, faulty if isinstance(faulty, Machine) else well))
    assert after.keys() == before.keys()
    different = [finding for finding in after.values() if finding.is_trouble]
    assert len(different) == 1, different
    assert all(finding.result in ("ok", "skip") for finding in after.values() if finding is not different[0])
    return different[0]


def script(machine: Machine, name: str, text: str) -> None:
    """A program of this name, found before any other."""
    file = Path(str(machine.path), name)
    file.write_text("#!/bin/sh\n" + text)
    file.chmod(0o755)


def write_smi(machine: Machine, *cards: dict[str, str], users: Sequence[str] = ()) -> None:
    """An nvidia-smi that tells of these cards (default: one that is well) and of these users of them."""
    folder = Path(str(machine.path))
    rows = [", ".join({**CARD, **card}.values()) for card in cards or ({},)]
    (folder / "cards.csv").write_text("\n".join(rows) + "\n")
    (folder / "users.csv").write_text("".join(f"{line}\n" for line in users))
    script(
        machine,
        "nvidia-smi",
        f"""
case "$1" in
  --query-gpu=*) while read -r line; do echo "$line"; done <{folder}/cards.csv;;
  --query-compute-apps=*) while read -r line; do echo "$line"; done <{folder}/users.csv;;
esac
""",
    )


def store_rig(root: Path, name: str) -> None:
    """A rig of three cameras on the shelf of this root."""
    frames = [
        {
            "file_path": f"views/view_{number}.png",
            "w": 64,
            "h": 64,
            "fl_x": 80.0,
            "cx": 32.0,
            "cy": 32.0,
            "transform_matrix": [[1, 0, 0, number], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]],
        }
        for number in range(3)
    ]
    rigs = load(root).places.rigs
    rigs.mkdir(parents=True, exist_ok=True)
    (rigs / f"{name}.json").write_text(json.dumps({"schema": SCHEMA, "rig": name, "frames": frames}))


def add_job(root: Path, state: str, **values: Any) -> str:
    """A job as the record has it; its id."""
    now = time.time()
    row = {
        "id": uuid.uuid4().hex,
        "name": b"chair",
        "state": state,
        "priority": 0,
        "fingerprint": "",
        "ingest_tries": 1,
        "put_back": 0,
        "attempt": 1,
        "refunds": 0,
        "finish_tries": 0,
        "not_before": 0.0,
        "created_at": now,
        **values,
    }
    insert(root, "job", row)
    return str(row["id"])


def add_run(root: Path, job: str, model: str, state: str, error_class: str | None = None, **figures: Any) -> None:
    """A model run of a job."""
    row = {
        "job_id": job,
        "attempt": 1,
        "model": model,
        "state": state,
        "error_class": error_class,
        "figures": json.dumps(figures),
    }
    insert(root, "model_run", row)


def insert(root: Path, table: str, row: dict[str, Any]) -> None:
    """One row, written as the service's own connection writes."""
    columns, marks = ", ".join(row), ", ".join("?" * len(row))
    with closing(sqlite3.connect(load(root).places.database)) as connection, connection:
        connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(row.values()))


#: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: what lets root do to files what their mode forbids.
_OVERRIDE = 1 << 1 | 1 << 2
_CAPABILITY_VERSION = 0x20080522


def without_roots_rights(look: Callable[[], Any]) -> Any:
    """What ``look`` answers (plain JSON values) in a process to which the modes of files apply, be it root's or not."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                _give_up_override()
            os.write(writing, json.dumps(look()).encode())
        except BaseException as error:
            os.write(writing, json.dumps(f"{type(error).__name__}: {error}").encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        answer = json.loads(stream.read())
    os.waitpid(child, 0)
    assert not isinstance(answer, str), answer
    return answer


def _give_up_override() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION, 0), 8)
    sets = ctypes.create_string_buffer(24)
    if libc.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    effective, permitted, *rest = struct.unpack("6I", sets.raw)
    sets.raw = struct.pack("6I", effective & ~_OVERRIDE, permitted & ~_OVERRIDE, *rest)
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")
