"""Who may look for an outfit again, and what was found."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for them. So far nobody may."""
    op.add_column("users", sa.Column("seeks", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "sought",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("video_id", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("wanted", sa.JSON(), nullable=False),
        sa.Column("hits", sa.JSON(), nullable=True),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_sought_user_id", "sought", ["user_id"])


def downgrade() -> None:
    """Remove them."""
    op.execute("DELETE FROM jobs WHERE kind = 'again'")
    op.drop_table("sought")
    op.drop_column("users", "seeks")
