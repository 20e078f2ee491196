"""Cases are made in the background, under a title; keys know when they were last used."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _columns() -> tuple[tuple[str, sa.types.TypeEngine[Any], str | None], ...]:
    return (
        ("title", sa.Text(), ""),
        ("status", sa.String(length=10), "done"),
        ("done", sa.Integer(), "0"),
        ("total", sa.Integer(), "0"),
        ("error", sa.Text(), ""),
        ("wanted", sa.JSON(), None),
    )


def upgrade() -> None:
    """Make the columns; cases so far are done."""
    for name, kind, default in _columns():
        op.add_column("exports", sa.Column(name, kind, nullable=default is None, server_default=default))
    op.add_column("keys", sa.Column("used", sa.Double(), nullable=True))
    op.create_index("audit_by_target", "audit", ["target"])


def downgrade() -> None:
    """Remove them."""
    op.drop_index("audit_by_target", table_name="audit")
    op.drop_column("keys", "used")
    for name, _, _ in reversed(_columns()):
        op.drop_column("exports", name)
