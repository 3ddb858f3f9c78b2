"""Say in numbers where a name or uid was mentioned: small, quick to save, and alike in every collation.

Revision ID: 0004
Revises: 0003

What was saved is thrown away: the next worker folds the events again. On PostgreSQL ``resources`` is altered,
not made anew, so that the rights that were granted on it stay.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Forget the saved state and give ``resources`` other columns."""
    for table in ("runs", "scopes", "resources"):
        op.execute(f"DELETE FROM {table}")
    op.execute("UPDATE fold SET position = 0, version = 0")
    if op.get_bind().dialect.name == "sqlite":
        _sqlite()
    else:
        for statement in _POSTGRESQL:
            op.execute(statement)


def _sqlite() -> None:
    """Without a row id there is one tree to write instead of two."""
    op.drop_table("resources")
    op.create_table(
        "resources",
        sa.Column("word", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )


_POSTGRESQL = (
    "ALTER TABLE resources DROP COLUMN name_or_uid, DROP COLUMN scope_id",  # and the index
    "ALTER TABLE resources ADD COLUMN word bigint NOT NULL, ADD COLUMN position bigint NOT NULL,"
    " ADD PRIMARY KEY (word, position)",
)
