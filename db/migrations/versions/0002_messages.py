"""Messages to programs and people outside, and a way to ask for jobs by the time of their end."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_index("job_by_end", "job", ["finished_at"])
    op.create_table(
        "message",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("about", sa.String, nullable=False),
        sa.Column("job_id", sa.String, sa.ForeignKey("job.id", ondelete="CASCADE")),
        sa.Column("body", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("delivered_at", sa.Double),
        sa.Column("given_up_at", sa.Double),
        sa.Column("status", sa.Integer),
        sa.Column("trouble", sa.String),
    )
    op.create_index("message_once", "message", ["channel", "about"], unique=True)
    waiting = sa.text("delivered_at IS NULL AND given_up_at IS NULL")
    op.create_index("message_waiting", "message", ["channel", "id"], sqlite_where=waiting)


def downgrade() -> None:
    op.drop_table("message")
    op.drop_index("job_by_end", "job")
