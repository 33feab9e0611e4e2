"""The schema's versions: which this program knows, which a file has, and the way from one to another.

Alembic is imported only when a migration has to run: it costs ten megabytes for as long as the service lives, and
nearly every start finds the schema as it should be.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, Engine, text

from meshdrop.db.head import STATEMENTS

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"

#: Every revision, oldest first. A test holds this to the migration scripts.
REVISIONS = ("0001", "0002", "0003")
HEAD = REVISIONS[-1]


class SchemaError(RuntimeError):
    """The database cannot be used by this version. The message says what to do."""


def revision_of(connection: Connection) -> str | None:
    """The schema a database has; None when it is empty."""
    known = text("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'")
    if connection.execute(known).scalar() is None:
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def is_revision(name: str) -> bool:
    """Whether ``name`` could be a revision of any version of this program; wild bytes could not."""
    return re.fullmatch(r"[0-9]{4}[0-9a-z_]*", name) is not None


def expected() -> set[str]:
    """The statements by which a database describes itself at ``HEAD``, without blanks."""
    return {without_blanks(statement) for statement in STATEMENTS}


def without_blanks(statement: str) -> str:
    """A statement in the form in which two are compared."""
    return re.sub(r"\s+", "", statement)


def current_revision(engine: Engine) -> str | None:
    """The schema the database behind ``engine`` has; None when it is empty."""
    with engine.connect() as connection:
        return revision_of(connection)


def is_empty(connection: Connection) -> bool:
    """Whether there is nothing at all in a database yet."""
    return connection.execute(text("SELECT 1 FROM sqlite_master")).first() is None


def create(engine: Engine) -> None:
    """Give an empty database the newest schema, in one transaction: what all migrations together would make of it."""
    with engine.begin() as connection:
        for statement in STATEMENTS:
            connection.exec_driver_sql(statement)
        connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})


def upgrade(engine: Engine, revision: str) -> None:
    """Upgrade to ``revision`` in one transaction; foreign keys are checked before it commits."""
    _run(engine, "upgrade", revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Go back to ``revision`` in one transaction."""
    _run(engine, "downgrade", revision)


def _run(engine: Engine, way: Literal["upgrade", "downgrade"], revision: str) -> None:
    from alembic import command  # noqa: PLC0415 - see above

    steps: dict[str, Any] = {"upgrade": command.upgrade, "downgrade": command.downgrade}
    with engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        steps[way](config, revision)
        broken = connection.execute(text("PRAGMA foreign_key_check")).fetchall()
        if broken:
            raise SchemaError(f"the migration to {revision} would leave {len(broken)} rows without their job")


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
