"""The newest clips' segments, read off an index."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make it."""
    op.create_index("segments_of_clip", "segments", ["video_id", "gone", "start", "id", "status"])


def downgrade() -> None:
    """Remove it."""
    op.drop_index("segments_of_clip", table_name="segments")
