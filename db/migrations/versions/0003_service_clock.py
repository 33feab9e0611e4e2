"""Time that passed, counted by the record itself, and where on that count each job ended."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "service_clock",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("up_s", sa.Double, nullable=False),
        sa.Column("off_s", sa.Double, nullable=False),
        sa.Column("boot_id", sa.String, nullable=False),
        sa.Column("since_boot_s", sa.Double, nullable=False),
        sa.Column("wall", sa.Double, nullable=False),
        sa.Column("steered", sa.Integer, nullable=False),
    )
    op.create_table(
        "job_end",
        sa.Column("job_id", sa.String, sa.ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("up_s", sa.Double, nullable=False),
        sa.Column("off_s", sa.Double, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("job_end")
    op.drop_table("service_clock")
