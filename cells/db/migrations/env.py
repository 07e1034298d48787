"""Run by alembic; the connection comes from ``cells.db.migration``."""

from alembic import context

from cells.db import models

context.configure(
    connection=context.config.attributes['connection'],
    target_metadata=models.Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
