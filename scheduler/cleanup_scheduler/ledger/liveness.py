"""Heartbeats of runs and workers: of the moment, hence no events. Ages are by the database's clock."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from cleanup_scheduler.ledger.backend import Backend
from cleanup_scheduler.ledger.records import BeatKind, Heartbeat


def beat(backend: Backend, kind: BeatKind, id: str, *, lease_seconds: float, info: str, doing: str) -> None:  # noqa: A002
    """Set the last sign of life to now."""
    statement = sa.text(
        "INSERT INTO heartbeats (kind, id, at_seconds, lease_seconds, info, doing)"
        f" VALUES (:kind, :id, {backend.now_seconds}, :lease, :info, :doing)"
        " ON CONFLICT (kind, id) DO UPDATE SET at_seconds = excluded.at_seconds,"
        " lease_seconds = excluded.lease_seconds, info = excluded.info, doing = excluded.doing"
    )
    values = {"kind": kind, "id": id, "lease": lease_seconds, "info": info, "doing": doing}
    backend.write(lambda connection: connection.execute(statement, values).rowcount)


def unbeat(backend: Backend, kind: BeatKind, id: str) -> None:  # noqa: A002
    """Forget the sign of life: whoever it was has ended in good order."""
    statement = sa.text("DELETE FROM heartbeats WHERE kind = :kind AND id = :id")
    backend.write(lambda connection: connection.execute(statement, {"kind": kind, "id": id}).rowcount)


def heartbeats(backend: Backend, kind: BeatKind) -> list[Heartbeat]:
    """All of that kind, the freshest first."""
    statement = sa.text(
        f"SELECT id, at_seconds, {backend.now_seconds} - at_seconds, lease_seconds, info, doing"
        " FROM heartbeats WHERE kind = :kind ORDER BY at_seconds DESC"
    )
    rows = backend.read(lambda connection: connection.execute(statement, {"kind": kind}).fetchall())
    return [
        Heartbeat(
            id=row[0],
            at=datetime.fromtimestamp(row[1], UTC),
            age_seconds=max(0.0, row[2]),
            lease_seconds=row[3],
            info=row[4],
            doing=row[5],
        )
        for row in rows
    ]
