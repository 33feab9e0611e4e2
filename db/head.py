"""The schema as the newest migration leaves it, for a new file: a first start needs no migration tool.

A test holds this to the migrations, word for word.
"""

from __future__ import annotations

from meshdrop.db.states import MOVES, State

_STATES = ", ".join(f"'{state}'" for state in State)
_LEGAL = " OR ".join(
    f"(OLD.state = '{old}' AND NEW.state = '{new}')" for old, moves in MOVES.items() for new in State if new in moves
)

STATEMENTS = (
    """CREATE TABLE alembic_version (
        version_num VARCHAR(32) NOT NULL,
        CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
    )""",
    f"""CREATE TABLE job (
        id VARCHAR NOT NULL,
        name BLOB NOT NULL,
        state VARCHAR NOT NULL,
        priority INTEGER NOT NULL,
        fingerprint VARCHAR NOT NULL,
        digest VARCHAR,
        ingest_tries INTEGER NOT NULL,
        put_back INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        refunds INTEGER NOT NULL,
        finish_tries INTEGER NOT NULL,
        boot_id VARCHAR,
        models JSON,
        not_before DOUBLE NOT NULL,
        dest BLOB,
        reason_code VARCHAR,
        reason VARCHAR,
        verdict VARCHAR,
        best_model VARCHAR,
        inspection JSON,
        created_at DOUBLE NOT NULL,
        queued_at DOUBLE,
        started_at DOUBLE,
        finished_at DOUBLE,
        PRIMARY KEY (id),
        CONSTRAINT job_state_known CHECK (state IN ({_STATES}))
    )""",
    "CREATE UNIQUE INDEX job_one_claim_per_name ON job (name) WHERE state = 'CLAIMING'",
    "CREATE INDEX job_by_state ON job (state, priority, queued_at)",
    "CREATE INDEX job_by_end ON job (finished_at)",
    f"""CREATE TRIGGER job_legal_moves BEFORE UPDATE OF state ON job
        WHEN OLD.state <> NEW.state AND NOT ({_LEGAL})
        BEGIN SELECT RAISE(ABORT, 'illegal move of a job'); END""",
    """CREATE TABLE model_run (
        id INTEGER NOT NULL,
        job_id VARCHAR NOT NULL,
        attempt INTEGER NOT NULL,
        model VARCHAR NOT NULL,
        state VARCHAR NOT NULL,
        started_at DOUBLE,
        seconds DOUBLE,
        error_class VARCHAR,
        reason VARCHAR,
        fix VARCHAR,
        figures JSON,
        PRIMARY KEY (id),
        CONSTRAINT model_run_state_known CHECK (state IN ('ok', 'failed', 'skipped')),
        FOREIGN KEY(job_id) REFERENCES job (id) ON DELETE CASCADE
    )""",
    "CREATE INDEX model_run_by_job ON model_run (job_id, attempt)",
    "CREATE INDEX model_run_by_model ON model_run (model, state)",
    """CREATE TABLE event (
        id INTEGER NOT NULL,
        job_id VARCHAR NOT NULL,
        at DOUBLE NOT NULL,
        kind VARCHAR NOT NULL,
        detail JSON,
        PRIMARY KEY (id),
        FOREIGN KEY(job_id) REFERENCES job (id) ON DELETE CASCADE
    )""",
    "CREATE INDEX event_by_job ON event (job_id, id)",
    """CREATE TABLE message (
        id INTEGER NOT NULL,
        channel VARCHAR NOT NULL,
        about VARCHAR NOT NULL,
        job_id VARCHAR,
        body VARCHAR NOT NULL,
        created_at DOUBLE NOT NULL,
        tries INTEGER NOT NULL,
        not_before DOUBLE NOT NULL,
        delivered_at DOUBLE,
        given_up_at DOUBLE,
        status INTEGER,
        trouble VARCHAR,
        PRIMARY KEY (id),
        FOREIGN KEY(job_id) REFERENCES job (id) ON DELETE CASCADE
    )""",
    "CREATE UNIQUE INDEX message_once ON message (channel, about)",
    "CREATE INDEX message_waiting ON message (channel, id) WHERE delivered_at IS NULL AND given_up_at IS NULL",
    """CREATE TABLE service_clock (
        id INTEGER NOT NULL,
        up_s DOUBLE NOT NULL,
        off_s DOUBLE NOT NULL,
        boot_id VARCHAR NOT NULL,
        since_boot_s DOUBLE NOT NULL,
        wall DOUBLE NOT NULL,
        steered INTEGER NOT NULL,
        PRIMARY KEY (id)
    )""",
    """CREATE TABLE job_end (
        job_id VARCHAR NOT NULL,
        up_s DOUBLE NOT NULL,
        off_s DOUBLE NOT NULL,
        PRIMARY KEY (job_id),
        FOREIGN KEY(job_id) REFERENCES job (id) ON DELETE CASCADE
    )""",
)
