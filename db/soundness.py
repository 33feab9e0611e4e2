"""Is every page, row and value of a database file what this program could have written?

SQLite's own check finds broken pages, indexes and constraints; it cannot know that a column holds JSON, or a moment
of this century. Wild bytes that landed inside a value would otherwise stop the service at the first reading of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from sqlalchemy import JSON, Column, Float, Integer, LargeBinary, Table
from sqlalchemy.types import TypeEngine

from meshdrop.db.head import STATEMENTS
from meshdrop.db.schema import HEAD, expected, without_blanks
from meshdrop.db.tables import Base

#: Unix seconds, durations: nothing we write comes near. A random double is rarely below it.
_LARGEST_NUMBER = 7e9


def trouble_of(connection: sqlite3.Connection) -> str | None:
    """What is wrong with the database behind ``connection``, or None. Raises ``sqlite3.Error`` when it is unreadable.

    Of an older schema only the tables and columns that are still there are looked into.
    """
    found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(5)")]
    if found != ["ok"]:
        return "; ".join(found)
    described = {
        without_blanks(str(row[0]))
        for row in connection.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_stat%'"
        )
    }
    if without_blanks(STATEMENTS[0]) in described:
        revision = connection.execute("SELECT CAST(version_num AS BLOB) FROM alembic_version").fetchone()
        if revision == (HEAD.encode(),) and described != expected():
            return "its tables are not those that were made"
    there = {
        row[0]: _columns(connection, row[0])
        for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    for table in Base.metadata.sorted_tables:
        columns = [column for column in table.columns if column.name in there.get(table.name, ())]
        if columns and (told := next(_strange(connection, table, columns), None)) is not None:
            return told
    return None


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')}


def _strange(connection: sqlite3.Connection, table: Table, columns: list[Column[object]]) -> Iterator[str]:
    """A sentence for a column that holds what its type cannot be."""
    wrong = " + ".join(f"(NOT coalesce({_is_right(column)}, 0)) * {1 << bit}" for bit, column in enumerate(columns))
    row = connection.execute(f"SELECT {wrong} FROM {table.name} WHERE ({wrong}) <> 0 LIMIT 1").fetchone()
    if row is not None:
        yield f"{table.name}.{columns[(row[0] & -row[0]).bit_length() - 1].name} holds what was never written there"
    texts = [column.name for column in columns if _kind(column.type) == "text"]
    as_bytes = ", ".join(f"CAST({name} AS BLOB)" for name in texts)
    for values in connection.execute(f"SELECT {as_bytes} FROM {table.name}"):
        for name, value in zip(texts, values, strict=True):
            if value is not None and not _is_text(value):
                yield f"{table.name}.{name} holds bytes that are no text"


def _is_right(column: Column[object]) -> str:
    """An SQL condition that every value of this column fulfils."""
    name, kind = column.name, _kind(column.type)
    right = f"typeof({name}) = '{kind}'"
    if kind == "real":
        right += f" AND abs({name}) < {_LARGEST_NUMBER}"
    if isinstance(column.type, JSON):
        right += f" AND json_valid({name})"
    if isinstance(column.type, LargeBinary):  # names of folders
        right += f" AND {_is_folder(name)} AND instr({name}, x'00') = 0"
    return f"({name} IS NULL OR ({right}))" if column.nullable else f"({right})"


def _is_folder(column: str) -> str:
    """No slash; of a name as it stood in the inbox also ``@RIG/NAME``, which lay in a rig's folder there."""
    plain = f"instr({column}, x'2f') = 0"
    if column != "name":
        return plain
    below = f"substr({column}, instr({column}, x'2f') + 1)"
    return f"({plain} OR (substr({column}, 1, 1) = x'40' AND length({below}) > 0 AND instr({below}, x'2f') = 0))"


def _kind(kind: TypeEngine[object]) -> str:
    """The storage class of SQLite in which values of a type are kept."""
    for python, stored in ((LargeBinary, "blob"), (Integer, "integer"), (Float, "real")):
        if isinstance(kind, python):
            return stored
    return "text"


def _is_text(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
