"""Alembic's entry: runs the versions beside it over the connection that the library hands in."""

from alembic import context

from vlad.library.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
