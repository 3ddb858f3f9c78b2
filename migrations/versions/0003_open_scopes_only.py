"""Keep only open scopes beside the events, and of resources only where their names were mentioned.

Revision ID: 0003
Revises: 0002

What was saved is thrown away: the next worker folds the events again. On PostgreSQL ``resources`` is altered,
not made anew, so that the rights that were granted on it stay.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Forget the saved state and make its tables smaller."""
    for table in ("runs", "scopes", "resources"):
        op.execute(f"DELETE FROM {table}")
    op.execute("UPDATE fold SET position = 0, version = 0")
    if op.get_bind().dialect.name == "sqlite":
        _sqlite()
    else:
        for statement in _POSTGRESQL:
            op.execute(statement)
    # equality is all that is asked for, and a hash costs the same in every collation
    op.create_index("resources_name_or_uid", "resources", ["name_or_uid"], postgresql_using="hash")


def _sqlite() -> None:
    """SQLite can neither drop a column that is indexed nor change a primary key: both are made anew."""
    op.drop_table("scopes")
    op.create_table(
        "scopes",
        sa.Column("scope_id", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.drop_table("resources")
    op.create_table(
        "resources",
        sa.Column("name_or_uid", sa.Text, nullable=False),
        sa.Column("scope_id", sa.Text, nullable=False),
    )


_POSTGRESQL = (
    "DROP INDEX scopes_position",
    "ALTER TABLE scopes DROP COLUMN run_id, DROP COLUMN settled",  # and the indexes on them
    "ALTER TABLE resources DROP COLUMN key, DROP COLUMN kind, DROP COLUMN namespace, DROP COLUMN name,"
    " DROP COLUMN uid",
    "ALTER TABLE resources DROP CONSTRAINT IF EXISTS resources_pkey, ADD COLUMN name_or_uid text NOT NULL",
)
