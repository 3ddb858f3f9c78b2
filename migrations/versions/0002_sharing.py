"""Workers share a rate limit, and say what they are doing.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Beside the events: nothing that is there changes."""
    op.create_table(
        "timeshares",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("taken_until_seconds", sa.Double, nullable=False),
    )
    op.add_column("heartbeats", sa.Column("doing", sa.Text, nullable=False, server_default=""))
