"""Writes down what a run does to the disk, from inside it: every operation of ``daemon.base.fsops``, every commit.

One JSON object a line in ``operations``, in the order in which they took effect; the database after commit N lies
beside it as ``N.db``. ``tests.torture.unsynced`` makes crashes of it.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session
from sqlalchemy.pool import Pool

from meshdrop.daemon.base import fsops
from tests import light

OPERATIONS = "operations"


def attach(folder: str | None) -> None:
    """Begin to record this process into ``folder``; nothing for None."""
    if not folder:
        return
    recording = _Recording(Path(folder))
    fsops.recorder = recording.operation
    light.wrote = recording.stand_in_wrote
    event.listen(Pool, "checkout", recording.connected)
    event.listen(Session, "after_commit", recording.committed)


class _Recording:
    def __init__(self, folder: Path) -> None:
        self._folder, self._lock, self._commits = folder, threading.Lock(), 0
        self._connection: sqlite3.Connection | None = None
        self._file = (folder / OPERATIONS).open("a", encoding="utf-8", buffering=1)

    def operation(self, name: str, *paths: Path) -> None:
        """One operation of ``fsops``, with the content that it wrote or flushed."""
        facts: dict[str, Any] = {"op": name, "paths": [str(path) for path in paths]}
        if name in ("sync_file", "write_file", "show_file", "copy_file"):
            facts |= _content(paths[-1])
        self._write(facts)

    def stand_in_wrote(self, folder: Path) -> None:
        """A stand-in wrote files the way a worker does: nobody has flushed them."""
        for place, folders, names in os.walk(folder):
            for name in folders:
                self._write({"op": "make_dir", "paths": [os.path.join(place, name)]})
            for name in names:
                self._write({"op": "wrote", "paths": [os.path.join(place, name)], **_content(Path(place, name))})

    def connected(self, connection: sqlite3.Connection, *_: object) -> None:
        """The service's one connection, to read the database through."""
        self._connection = connection

    def committed(self, _: Session) -> None:
        """The database as it is on disk now, ``synchronous=FULL`` taken at its word (real power cuts test that)."""
        if self._connection is None or self._connection.in_transaction:
            return
        image = self._connection.serialize()
        with self._lock:
            self._commits += 1
            (self._folder / f"{self._commits}.db").write_bytes(image)
        self._write({"op": "commit", "paths": [], "number": self._commits})

    def _write(self, facts: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(facts) + "\n")


def _content(path: Path) -> dict[str, Any]:
    try:
        return {"content": base64.b64encode(path.read_bytes()).decode(), "mtime_ns": path.stat().st_mtime_ns}
    except OSError:  # taken away again already; what is known of it stays as it was
        return {}
