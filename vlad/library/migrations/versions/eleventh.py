"""Rules by camera in versions, people who are covered, and work of several kinds."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for them. So far all work was analysis, no rule was checked, and nobody was covered."""
    op.add_column("users", sa.Column("originals", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("jobs", sa.Column("kind", sa.String(length=10), nullable=False, server_default="analysis"))
    op.add_column("analyses", sa.Column("rules", sa.JSON(), nullable=True))
    op.add_column("segments", sa.Column("rules", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("options", sa.Column("words", sa.String(length=40), nullable=True))
    op.create_table(
        "rules",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("camera", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("camera", "version"),
    )
    op.create_table(
        "covers",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("video_id", sa.String(length=32), nullable=False),
        sa.Column("what", sa.String(length=10), nullable=False),
        sa.Column("how", sa.String(length=10), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("places", sa.LargeBinary(), nullable=False),
        sa.Column("doubtful", sa.JSON(), nullable=False),
        sa.Column("stale", sa.Boolean(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("video_id"),
    )
    op.create_table(
        "cover_marks",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("video_id", sa.String(length=32), nullable=False),
        sa.Column("start", sa.Double(), nullable=False),
        sa.Column("end", sa.Double(), nullable=False),
        sa.Column("box", sa.JSON(), nullable=True),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("undone", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_cover_marks_video_id", "cover_marks", ["video_id"])


def downgrade() -> None:
    """Remove them, and with them the right to see originals: work of other kinds is forgotten."""
    op.execute("DELETE FROM jobs WHERE kind <> 'analysis'")
    for table in ("cover_marks", "covers", "rules"):
        op.drop_table(table)
    for table, column in (
        ("options", "words"),
        ("segments", "rules"),
        ("analyses", "rules"),
        ("jobs", "kind"),
        ("users", "originals"),
    ):
        op.drop_column(table, column)
