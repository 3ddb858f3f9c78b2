"""From a URL to an open ledger. SQLAlchemy is imported here, when a ledger is opened, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cleanup_scheduler.ledger.ledger import Ledger


def open_ledger(url: str, *, timeout_seconds: float = 5.0, max_event_bytes: int = 1_000_000) -> Ledger:
    """Open the ledger at ``url``; ``timeout_seconds`` bounds every wait of it.

    SQLite (``sqlite:///path``) makes and migrates itself; PostgreSQL (``postgresql://…``) must have been
    migrated. Raises :class:`SettingsError`, :class:`LedgerUnavailable`, :class:`LedgerNotMigrated` or
    :class:`LedgerTooNew`.
    """
    from cleanup_scheduler.errors import LedgerNotMigrated
    from cleanup_scheduler.ledger import migrating
    from cleanup_scheduler.ledger.address import make_folder, parse_address
    from cleanup_scheduler.ledger.backend import Backend
    from cleanup_scheduler.ledger.ledger import Ledger
    from cleanup_scheduler.ledger.postgresql import PostgresqlBackend
    from cleanup_scheduler.ledger.sqlite import SqliteBackend

    address = parse_address(url)
    backend: Backend
    if address.dialect == "postgresql":
        backend = PostgresqlBackend(address, timeout_seconds=timeout_seconds)
    else:
        make_folder(address.path.parent)
        backend = SqliteBackend(address, timeout_seconds=timeout_seconds)
    try:
        try:
            migrating.check_revision(backend)
        except LedgerNotMigrated:
            if address.dialect != "sqlite":
                raise
            migrating.migrate(url, wait_seconds=timeout_seconds)
        return Ledger(backend, max_event_bytes=max_event_bytes)
    except BaseException:
        backend.close()
        raise


def migrate(url: str) -> str:
    """Make or upgrade the schema of the ledger at ``url``; returns the revision reached."""
    from cleanup_scheduler.ledger import migrating

    return migrating.migrate(url)


def postgresql_roles() -> str:
    """The SQL that makes roles with just the rights that tests, workers and reports need."""
    from importlib.resources import files

    return (files("cleanup_scheduler.ledger") / "postgresql_roles.sql").read_text(encoding="utf-8")
