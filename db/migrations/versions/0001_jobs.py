"""Jobs, model runs and events, and the trigger that knows the legal moves."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

STATES = (
    "CLAIMING",
    "QUEUED",
    "RUNNING",
    "DELIVERING",
    "DONE",
    "DONE_CLEAN",
    "FAIL_PENDING",
    "FAILING",
    "FAILED",
    "FAILED_CLEAN",
    "ABANDONED",
)
MOVES = (
    ("CLAIMING", "QUEUED"),
    ("CLAIMING", "FAIL_PENDING"),
    ("CLAIMING", "ABANDONED"),
    ("QUEUED", "RUNNING"),
    ("QUEUED", "FAIL_PENDING"),
    ("RUNNING", "QUEUED"),
    ("RUNNING", "DELIVERING"),
    ("RUNNING", "FAIL_PENDING"),
    ("DELIVERING", "DONE"),
    ("DONE", "DONE_CLEAN"),
    ("FAIL_PENDING", "FAILING"),
    ("FAILING", "FAILED"),
    ("FAILED", "FAILED_CLEAN"),
    ("ABANDONED", "CLAIMING"),
    ("ABANDONED", "FAIL_PENDING"),
)


def upgrade() -> None:
    known = ", ".join(f"'{state}'" for state in STATES)
    op.create_table(
        "job",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("digest", sa.String),
        sa.Column("ingest_tries", sa.Integer, nullable=False),
        sa.Column("put_back", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("refunds", sa.Integer, nullable=False),
        sa.Column("finish_tries", sa.Integer, nullable=False),
        sa.Column("boot_id", sa.String),
        sa.Column("models", sa.JSON),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("dest", sa.LargeBinary),
        sa.Column("reason_code", sa.String),
        sa.Column("reason", sa.String),
        sa.Column("verdict", sa.String),
        sa.Column("best_model", sa.String),
        sa.Column("inspection", sa.JSON),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("queued_at", sa.Double),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.CheckConstraint(f"state IN ({known})", name="job_state_known"),
    )
    op.create_index("job_one_claim_per_name", "job", ["name"], unique=True, sqlite_where=sa.text("state = 'CLAIMING'"))
    op.create_index("job_by_state", "job", ["state", "priority", "queued_at"])
    legal = " OR ".join(f"(OLD.state = '{old}' AND NEW.state = '{new}')" for old, new in MOVES)
    op.execute(
        "CREATE TRIGGER job_legal_moves BEFORE UPDATE OF state ON job "
        f"WHEN OLD.state <> NEW.state AND NOT ({legal}) "
        "BEGIN SELECT RAISE(ABORT, 'illegal move of a job'); END"
    )
    op.create_table(
        "model_run",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("job_id", sa.String, sa.ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("seconds", sa.Double),
        sa.Column("error_class", sa.String),
        sa.Column("reason", sa.String),
        sa.Column("fix", sa.String),
        sa.Column("figures", sa.JSON),
        sa.CheckConstraint("state IN ('ok', 'failed', 'skipped')", name="model_run_state_known"),
    )
    op.create_index("model_run_by_job", "model_run", ["job_id", "attempt"])
    op.create_index("model_run_by_model", "model_run", ["model", "state"])
    op.create_table(
        "event",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("job_id", sa.String, sa.ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("detail", sa.JSON),
    )
    op.create_index("event_by_job", "event", ["job_id", "id"])


def downgrade() -> None:
    op.drop_table("event")
    op.drop_table("model_run")
    op.execute("DROP TRIGGER job_legal_moves")
    op.drop_table("job")
