"""Versions, spans of people, every explanation, marks, assignments, batches, and changes to follow; a queue that is read off an index."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from vlad.library.tables import new_id
from vlad.wording import reading

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAME = sa.String(length=200)
OLD = {"ix_segments_peak": ["peak"], "ix_segments_status": ["status"], "segments_by_peak": ["status", "peak"]}
NEW = {
    "segments_queue": ("segments", ["gone", "status", "peak", "id", "video_id"]),
    "segments_all": ("segments", ["gone", "peak", "id"]),
    "verdicts_own": ("verdicts", ["user_id", "undone", "created"]),
    "ix_verdicts_batch": ("verdicts", ["batch"]),
}


def _segment() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("version", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("origin", sa.String(length=10), nullable=False, server_default="model"),
        sa.Column("author", NAME, nullable=False, server_default=""),
        sa.Column("model_start", sa.Double(), nullable=True),
        sa.Column("model_end", sa.Double(), nullable=True),
        sa.Column("model_label", sa.Text(), nullable=True),
        sa.Column("assigned", NAME, nullable=False, server_default=""),
        sa.Column("adopted", sa.JSON(), nullable=True),
        sa.Column("said", sa.Text(), nullable=False, server_default=""),
    )


def _verdict() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("batch", sa.String(length=32), nullable=False, server_default=""),
        sa.Column("version", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("undone_version", sa.Integer(), nullable=True),
    )


def _of_segment(*columns: sa.Column[Any], person: bool = False) -> list[sa.schema.SchemaItem]:
    """Columns of a table whose rows belong to a segment."""
    found: list[sa.schema.SchemaItem] = [
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("segment_id", sa.String(length=32), nullable=False),
        *columns,
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["segment_id"], ["segments.id"]),
        sa.PrimaryKeyConstraint("id"),
    ]
    if person:
        found += [
            sa.Column("user_id", sa.String(length=32), nullable=False),
            sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        ]
    return found


def upgrade() -> None:
    """Make and fill them."""
    for column in _segment():
        op.add_column("segments", column)
    for column in _verdict():
        op.add_column("verdicts", column)
    op.add_column("notes", sa.Column("edited", sa.Double(), nullable=True))
    op.create_table(
        "spans",
        *_of_segment(
            sa.Column("by", NAME, nullable=False), sa.Column("start", sa.Double(), nullable=False),
            sa.Column("end", sa.Double(), nullable=False), sa.Column("label", sa.Text(), nullable=False),
            sa.Column("version", sa.Integer(), nullable=False),
        ),
    )  # fmt: skip
    op.create_table(
        "explanations",
        *_of_segment(sa.Column("by", NAME, nullable=False), sa.Column("said", sa.JSON(), nullable=False)),
    )
    op.create_table(
        "wrongs",
        *_of_segment(
            sa.Column("explanation", sa.String(length=32), nullable=False),
            sa.Column("text", sa.Text(), nullable=False),
            person=True,
        ),
    )
    for table in ("spans", "explanations", "wrongs"):
        op.create_index(f"ix_{table}_segment_id", table, ["segment_id"])
    op.create_table(
        "changes",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("target", sa.String(length=32), nullable=False),
        sa.Column("video", sa.String(length=32), nullable=False),
        sa.Column("by", NAME, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("n"),
        sqlite_autoincrement=True,
    )
    for name in OLD:
        op.drop_index(name, table_name="segments")
    for name, (table, columns) in NEW.items():
        op.create_index(name, table, columns)
    _fill()


def _fill() -> None:
    """What was said so far becomes the first row of each segment's history."""
    segments = sa.table(
        "segments", sa.column("id", sa.String), sa.column("label", sa.Text), sa.column("said", sa.Text), sa.column("explanation", sa.JSON)
    )  # fmt: skip
    explanations = sa.table(
        "explanations",
        *(
            sa.column(name, kind)
            for name, kind in (
                ("id", sa.String), ("segment_id", sa.String), ("by", sa.String), ("said", sa.JSON), ("created", sa.Float)
            )
        ),
    )  # fmt: skip
    connection = op.get_bind()
    found = sa.select(segments.c.id, segments.c.label, segments.c.explanation)
    for segment_id, label, said in connection.execute(found).all():
        if not said:
            continue
        text = reading(said, label).text
        connection.execute(segments.update().where(segments.c.id == segment_id).values(said=text))
        row = {"id": new_id(), "segment_id": segment_id, "by": "", "said": said, "created": 0.0}
        connection.execute(explanations.insert().values(**row))


def downgrade() -> None:
    """Remove them."""
    for name, (table, _) in NEW.items():
        op.drop_index(name, table_name=table)
    for name, columns in OLD.items():
        op.create_index(name, "segments", columns)
    for table in ("changes", "wrongs", "explanations", "spans"):
        op.drop_table(table)
    op.drop_column("notes", "edited")
    for column in _verdict():
        op.drop_column("verdicts", column.name)
    for column in _segment():
        op.drop_column("segments", column.name)
