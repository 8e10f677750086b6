"""How Alembic runs our migrations: on the connection, and in the transaction, that rollout/store/schema.py hands over.

To write a new one, see the docstring of rollout/store/schema.py.
"""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=context.config.attributes.get("metadata"),
    transactional_ddl=True,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
