"""Whose class a segment has: a person may agree with the scorer's, which no comparison of the two tells."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it. So far a class was a person's where it is not the scorer's; who gave it is told by the last span with another class."""
    for table in ("segments", "spans"):
        op.add_column(table, sa.Column("label_by", sa.String(length=200), nullable=False, server_default=""))
    segments, spans = (
        sa.table(name, *(sa.column(c) for c in columns))
        for name, columns in (
            ("segments", ("id", "label", "origin", "author", "model_start", "model_label", "label_by")),
            ("spans", ("id", "segment_id", "by", "label", "label_by", "version")),
        )
    )
    connection, own = op.get_bind(), segments.c.origin == "person"
    corrected = segments.c.model_start.is_not(None) & (segments.c.label != segments.c.model_label)
    for segment_id, author in connection.execute(
        sa.select(segments.c.id, segments.c.author).where(own | corrected)
    ).all():
        by, before = author, None
        history = sa.select(spans.c.id, spans.c.by, spans.c.label).where(spans.c.segment_id == segment_id)
        for span_id, who, label in connection.execute(history.order_by(spans.c.version)).all():
            by, before = (who or by) if label != before else by, label
            connection.execute(spans.update().where(spans.c.id == span_id).values(label_by=by))
        connection.execute(segments.update().where(segments.c.id == segment_id).values(label_by=by))


def downgrade() -> None:
    """Remove it."""
    for table in ("segments", "spans"):
        op.drop_column(table, "label_by")
