"""Groups of cameras with who may see them; and how often a job's worker fell silent."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for them. So far every start counted as a try: what waits begins anew."""
    op.create_table(
        "groups",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("cameras", sa.JSON(), nullable=False),
        sa.Column("members", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.add_column("jobs", sa.Column("lost", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE jobs SET attempts = 0 WHERE status IN ('queued', 'running')")


def downgrade() -> None:
    """Remove it."""
    op.drop_column("jobs", "lost")
    op.drop_table("groups")
