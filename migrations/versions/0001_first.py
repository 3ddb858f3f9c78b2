"""The ledger's first schema: append-only events in one order, chained by hash, and what stands beside them.

Revision ID: 0001
Revises:

On PostgreSQL the order and the chain are made by a trigger, under one advisory lock that is held until the
commit: whoever inserts, and however, a reader can never find a position whose predecessor is still to come.
On SQLite the one writer's lock does the same, and the program computes the hash.
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# one lock for all ledgers of a database; the number is arbitrary and must never change
LOCK = 7_021_881_432_905_113


def upgrade() -> None:
    """Make everything; idempotence is the caller's lock and transaction."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    _events()
    _moment()
    _fold()
    for statement in _SQLITE if sqlite else _POSTGRESQL:
        op.execute(statement)
    op.execute("INSERT INTO fold (id, version, position) VALUES (1, 1, 0)")
    op.get_bind().execute(
        sa.text("INSERT INTO meta (key, value) VALUES ('ledger_id', :value)"),
        {"value": secrets.token_hex(16)},
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column(
            "position",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("time", sa.Text, nullable=False),
        sa.Column("producer", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("events_event_id", "events", ["event_id"], unique=True)
    op.create_index("events_run_id", "events", ["run_id", "position"])
    op.create_index("events_scope_id", "events", ["scope_id", "position"])
    op.create_table(
        "meta", sa.Column("key", sa.Text, primary_key=True), sa.Column("value", sa.Text, nullable=False)
    )
    op.create_table(
        "archive",
        sa.Column("archive_id", sa.Text, primary_key=True),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("stored_seconds", sa.Double, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("archive_stored", "archive", ["stored_seconds"])
    op.create_index("archive_run_id", "archive", ["run_id"])


def _moment() -> None:
    op.create_table(
        "heartbeats",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at_seconds", sa.Double, nullable=False),
        sa.Column("lease_seconds", sa.Double, nullable=False),
        sa.Column("info", sa.Text, nullable=False),
    )
    op.create_table(
        "claims",
        sa.Column("scope_id", sa.Text, primary_key=True),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("expires_seconds", sa.Double, nullable=False),
    )


def _fold() -> None:
    op.create_table(
        "fold",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("ended", sa.Boolean, nullable=False),
        sa.Column("started", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_index("runs_position", "runs", ["position"])
    op.create_index("runs_started", "runs", ["started", "run_id"])
    _partial_index("runs_open", "runs", "run_id", "NOT ended")
    op.create_table(
        "scopes",
        sa.Column("scope_id", sa.Text, primary_key=True),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("settled", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_index("scopes_run_id", "scopes", ["run_id"])
    op.create_index("scopes_position", "scopes", ["position"])
    _partial_index("scopes_open", "scopes", "scope_id", "NOT settled")
    op.create_table(
        "resources",
        sa.Column("scope_id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("uid", sa.Text, nullable=False),
    )
    op.create_index("resources_name", "resources", ["name", "kind"])
    op.create_index("resources_uid", "resources", ["uid"])


def _partial_index(name: str, table: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, [column], postgresql_where=where, sqlite_where=where)


_REFUSAL = "the ledger is append-only: events are never changed or removed"
# INSERT OR REPLACE does not fire a DELETE trigger unless recursive_triggers is on, hence the guard on INSERT
_SQLITE = (
    f"""
    CREATE TRIGGER events_no_update BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END
    """,
    f"""
    CREATE TRIGGER events_no_delete BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END
    """,
    f"""
    CREATE TRIGGER events_only_append BEFORE INSERT ON events
    WHEN NEW.position <= COALESCE((SELECT MAX(position) FROM events), 0)
      OR EXISTS (SELECT 1 FROM events WHERE event_id = NEW.event_id)
    BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END
    """,
)
_POSTGRESQL = (
    f"""
    CREATE FUNCTION cleanup_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'CS002';
    END $$
    """,
    """
    CREATE TRIGGER events_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION cleanup_refuse()
    """,
    # each statement of a volatile function takes a new snapshot: once the lock is had, the head is true
    rf"""
    CREATE FUNCTION cleanup_order() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        head_position bigint;
        head_hash bytea;
    BEGIN
        PERFORM pg_advisory_xact_lock({LOCK});
        SELECT position, hash INTO head_position, head_hash FROM events ORDER BY position DESC LIMIT 1;
        NEW.position := COALESCE(head_position, 0) + 1;
        NEW.hash := sha256(
            COALESCE(head_hash, decode(repeat('00', 32), 'hex')) || convert_to(
                NEW.position || E'\n' || NEW.event_id || E'\n' || NEW.type || E'\n' || NEW.version || E'\n'
                || NEW.run_id || E'\n' || NEW.scope_id || E'\n' || NEW.time || E'\n' || NEW.producer || E'\n'
                || NEW.payload, 'UTF8'));
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER events_order BEFORE INSERT ON events
    FOR EACH ROW EXECUTE FUNCTION cleanup_order()
    """,
    # lock and insert are one statement for the client, so no client that stops can hold the lock
    f"""
    CREATE FUNCTION cleanup_append(
        ids text[], types text[], versions integer[], run_ids text[], scope_ids text[], times text[],
        producers text[], payloads text[], claim_scope text, claim_token bigint
    ) RETURNS bigint[] LANGUAGE plpgsql AS $$
    DECLARE
        stored bigint[];
    BEGIN
        IF claim_scope IS NOT NULL THEN
            PERFORM 1 FROM claims
            WHERE scope_id = claim_scope AND token = claim_token AND holder <> '' FOR SHARE;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'the claim is no longer held' USING ERRCODE = 'CS001';
            END IF;
        END IF;
        PERFORM pg_advisory_xact_lock({LOCK});
        INSERT INTO events (event_id, type, version, run_id, scope_id, time, producer, payload)
        SELECT new.event_id, new.type, new.version, new.run_id, new.scope_id, new.time, new.producer,
               new.payload
        FROM unnest(ids, types, versions, run_ids, scope_ids, times, producers, payloads) WITH ORDINALITY
            AS new (event_id, type, version, run_id, scope_id, time, producer, payload, place)
        ORDER BY new.place
        ON CONFLICT (event_id) DO NOTHING;
        SELECT array_agg(events.position ORDER BY given.place) INTO stored
        FROM unnest(ids) WITH ORDINALITY AS given (event_id, place) JOIN events USING (event_id);
        RETURN stored;
    END $$
    """,
)
