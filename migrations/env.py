"""Runs the migrations on the connection that the ledger hands over, in one transaction on both databases.

By hand (``alembic -x url=… upgrade head``) it opens the ledger's own guarded connection. Refuses to write SQL
to a file: what a revision does depends on the database in hand.
"""

from __future__ import annotations

from alembic import context
from cleanup_scheduler.ledger.migrating import migration_connection
from cleanup_scheduler.ledger.schema import METADATA
from sqlalchemy.engine import Connection


def run(connection: Connection) -> None:
    """Upgrade on ``connection``."""
    context.configure(connection=connection, target_metadata=METADATA, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


handed_over = context.config.attributes.get("connection")
if context.is_offline_mode():
    raise SystemExit("the ledger's migrations need a database; there is no offline mode")
if handed_over is not None:
    run(handed_over)
else:
    with migration_connection(context.get_x_argument(as_dictionary=True)["url"]) as opened:
        run(opened)
