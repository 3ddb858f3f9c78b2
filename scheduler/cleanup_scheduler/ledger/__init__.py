"""The ledger: an append-only sequence of events on SQLite or PostgreSQL, and what is kept beside it.

The only package that knows SQL. Importing it is cheap: SQLAlchemy comes when a ledger is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cleanup_scheduler.ledger.journal import Drained, Journal
from cleanup_scheduler.ledger.opening import migrate, open_ledger, postgresql_roles
from cleanup_scheduler.ledger.recorder import Recorder
from cleanup_scheduler.ledger.records import BeatKind, Claim, Head, Heartbeat

if TYPE_CHECKING:
    from cleanup_scheduler.ledger.ledger import Ledger
    from cleanup_scheduler.ledger.projection import Projection

__all__ = [
    "BeatKind",
    "Claim",
    "Drained",
    "Head",
    "Heartbeat",
    "Journal",
    "Ledger",
    "Projection",
    "Recorder",
    "migrate",
    "open_ledger",
    "postgresql_roles",
]


def __getattr__(name: str) -> Any:
    if name == "Ledger":
        from cleanup_scheduler.ledger.ledger import Ledger

        return Ledger
    if name == "Projection":
        from cleanup_scheduler.ledger.projection import Projection

        return Projection
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
