"""Alembic's entry: runs inside the one transaction that `db.engine` opened."""

from __future__ import annotations

from alembic import context

from meshdrop.db.tables import Base

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("migrations run through meshdrop.db.engine, which opens the transaction: start `meshdrop run`")

context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,
    # SQLite's DDL is transactional here because db.engine begins its transactions itself.
    transactional_ddl=True,
    transaction_per_migration=False,
)
context.run_migrations()
