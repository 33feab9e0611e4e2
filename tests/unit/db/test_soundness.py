"""Names of folders in the record: what stood in the inbox, or in a rig's folder there, and nothing else."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from meshdrop.daemon.base.record import open_record
from meshdrop.daemon.base.settings import load
from meshdrop.daemon.base.share import create_root
from meshdrop.db.jobs import Jobs
from meshdrop.db.soundness import trouble_of


@pytest.mark.parametrize(
    ("name", "sound"),
    [
        (b"chair", True),
        (b"caf\xe9", True),
        (b"@chair", True),
        (b"@rig1/chair", True),
        (b"rig1/chair", False),
        (b"@rig1/a/b", False),
        (b"@rig1/", False),
        (b"/etc", False),
        (b"../x", False),
        (b"a\0b", False),
    ],
)
def test_only_names_that_could_be_written_are_sound(tmp_path: Path, name: bytes, sound: bool) -> None:
    places = load(tmp_path).places
    create_root(places)
    database = open_record(places)
    Jobs(database).claim(name, "f")
    database.close()
    connection = sqlite3.connect(places.database)
    try:
        told = trouble_of(connection)
    finally:
        connection.close()
    assert (told is None) is sound, told
