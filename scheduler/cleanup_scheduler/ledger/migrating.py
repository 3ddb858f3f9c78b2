"""Brings a ledger's schema to the newest revision. The only module that imports Alembic.

Safe when many processes do it at once, and when one is killed half-way: one lock, one transaction. A
PostgreSQL ledger is migrated only when an operator says so; SQLite migrates itself on first use.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from cleanup_scheduler.errors import LedgerNotMigrated, LedgerTooNew, SettingsError
from cleanup_scheduler.ledger import revisions
from cleanup_scheduler.ledger.address import Address, make_folder, parse_address
from cleanup_scheduler.ledger.backend import Backend
from cleanup_scheduler.ledger.postgresql import PostgresqlBackend
from cleanup_scheduler.ledger.sqlite import SqliteBackend

_MIGRATE_LOCK: Final = 7_021_881_432_905_114
WAIT_SECONDS: Final = 60.0  # for another process that is migrating


def migrate(url: str, *, wait_seconds: float = WAIT_SECONDS) -> str:
    """Upgrade the ledger to the newest revision, making it if need be; returns the revision reached.

    ``wait_seconds`` bounds the wait for whoever else migrates it or has it locked.
    """
    with migration_connection(url, wait_seconds=wait_seconds) as connection:
        return upgrade(connection, parse_address(url))


def upgrade(connection: Connection, address: Address) -> str:
    """Upgrade on a connection that :func:`migration_connection` opened."""
    from alembic import command
    from alembic.config import Config

    current = current_revision(connection)
    if current == revisions.NEWEST:
        return current
    refuse_newer(current, address)
    config = Config()
    config.set_main_option("script_location", str(revisions.migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return revisions.NEWEST


def current_revision(connection: Connection) -> str:
    """The revision of the database; empty when it has none."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    row = connection.execute(sa.text("SELECT version_num FROM alembic_version")).fetchone()
    return "" if row is None else str(row[0])


def refuse_newer(current: str, address: Address) -> None:
    """Raise :class:`LedgerTooNew` when this program does not know the revision."""
    if current and current not in revisions.KNOWN:
        raise LedgerTooNew(
            f"the ledger {address.shown} has revision {current}; this program knows up to {revisions.NEWEST}",
            hint="upgrade cleanup-scheduler here",
        )


def check_revision(backend: Backend) -> None:
    """Raise what is to be raised when the schema is not the newest."""
    current = backend.read(current_revision)
    refuse_newer(current, backend.address)
    if current != revisions.NEWEST:
        has = f"revision {current}" if current else "no schema yet"
        raise LedgerNotMigrated(
            f"the ledger {backend.address.shown} has {has}; this program needs {revisions.NEWEST}",
            hint="run `cleanup-scheduler migrate`",
        )


@contextmanager
def migration_connection(url: str, *, wait_seconds: float = WAIT_SECONDS) -> Iterator[Connection]:
    """A connection under the lock of all who migrate this ledger."""
    address = parse_address(url)
    opened = (_sqlite if address.dialect == "sqlite" else _postgresql)(address, wait_seconds)
    with opened as connection:
        yield connection


@contextmanager
def _sqlite(address: Address, wait_seconds: float) -> Iterator[Connection]:
    make_folder(address.path.parent)
    backend = SqliteBackend(address, timeout_seconds=wait_seconds)
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(address.path)),
        poolclass=sa.pool.NullPool,
        connect_args={"timeout": wait_seconds},
    )
    sa.event.listen(engine, "connect", _leave_transactions_to_us)
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        # switching to WAL needs the same guard as the migration
        with backend.border(), backend.queue.turn(wait_seconds):
            with backend.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            with engine.connect() as connection:
                yield connection
                connection.commit()
    finally:
        engine.dispose()
        backend.close()


def _leave_transactions_to_us(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None


@contextmanager
def _postgresql(address: Address, wait_seconds: float) -> Iterator[Connection]:
    backend = PostgresqlBackend(address, timeout_seconds=wait_seconds, patient=True)
    try:
        # the lock lives in a session of its own, so that no commit of the migration can end it
        with backend.border(), backend.engine.connect() as guard:
            guard.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": _MIGRATE_LOCK})
            try:
                with backend.transactions.connect() as connection:
                    connection.exec_driver_sql("SET idle_in_transaction_session_timeout = 0")
                    _refuse_other_encodings(connection, address)
                    connection.commit()
                    yield connection
                    connection.commit()
            finally:
                guard.execute(sa.text("SELECT pg_advisory_unlock(:lock)"), {"lock": _MIGRATE_LOCK})
    finally:
        backend.close()


def _refuse_other_encodings(connection: Connection, address: Address) -> None:
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise SettingsError(
            f"the database {address.shown} has the encoding {encoding}; a ledger needs UTF8",
            hint="create it with ENCODING 'UTF8'",
        )
