"""The declared schema: what the migrations must lead to (a test compares the two), and the revisions known.

Only ``events`` and ``meta`` are facts; ``archive`` holds the logs that events refer to. All else can be
rebuilt (``runs``, ``scopes``, ``resources``, ``fold``) or is of the moment (``heartbeats``, ``claims``,
``timeshares``).
"""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()
_POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

EVENTS = sa.Table(
    "events",
    METADATA,
    sa.Column("position", _POSITION, primary_key=True, autoincrement=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("scope_id", sa.Text, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
    sa.Column("producer", sa.Text, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Index("events_event_id", "event_id", unique=True),
    sa.Index("events_run_id", "run_id", "position"),
    sa.Index("events_scope_id", "scope_id", "position"),
    sqlite_autoincrement=True,
)
META = sa.Table(
    "meta",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
HEARTBEATS = sa.Table(
    "heartbeats",
    METADATA,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("at_seconds", sa.Double, nullable=False),
    sa.Column("lease_seconds", sa.Double, nullable=False),
    sa.Column("info", sa.Text, nullable=False),
    sa.Column("doing", sa.Text, nullable=False, server_default=""),
)
CLAIMS = sa.Table(
    "claims",
    METADATA,
    sa.Column("scope_id", sa.Text, primary_key=True),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("expires_seconds", sa.Double, nullable=False),
)
TIMESHARES = sa.Table(
    "timeshares",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("taken_until_seconds", sa.Double, nullable=False),
)
ARCHIVE = sa.Table(
    "archive",
    METADATA,
    sa.Column("archive_id", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("scope_id", sa.Text, nullable=False),
    sa.Column("stored_seconds", sa.Double, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("archive_stored", "stored_seconds"),
    sa.Index("archive_run_id", "run_id"),
)
FOLD = sa.Table(
    "fold",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
)
RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("ended", sa.Boolean, nullable=False),
    sa.Column("started", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Index("runs_position", "position"),
    sa.Index("runs_started", "started", "run_id"),
    sa.Index("runs_open", "run_id", postgresql_where=sa.text("NOT ended"), sqlite_where=sa.text("NOT ended")),
)
SCOPES = sa.Table(  # those that are open
    "scopes",
    METADATA,
    sa.Column("scope_id", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
)
RESOURCES = sa.Table(  # by which events the scopes may be found that mention a resource's name or uid
    "resources",
    METADATA,
    sa.Column("word", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
