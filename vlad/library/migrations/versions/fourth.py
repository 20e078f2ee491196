"""The zone of a clip's clock, and who told when it was recorded."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the columns; every time so far was typed."""
    op.add_column("videos", sa.Column("zone", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("videos", sa.Column("recorded_by", sa.String(length=10), nullable=False, server_default=""))
    op.execute("UPDATE videos SET recorded_by = 'typed' WHERE recorded IS NOT NULL")
    op.create_index("jobs_of_video", "jobs", ["video_id", "created"])


def downgrade() -> None:
    """Remove them."""
    op.drop_index("jobs_of_video", table_name="jobs")
    op.drop_column("videos", "recorded_by")
    op.drop_column("videos", "zone")
