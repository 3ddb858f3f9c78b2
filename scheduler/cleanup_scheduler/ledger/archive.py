"""The archive of logs: compressed bodies beside the events that speak of them."""

from __future__ import annotations

import zlib

import sqlalchemy as sa

from cleanup_scheduler.errors import UnknownName
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger.backend import Backend


def put(backend: Backend, body: bytes, *, run_id: str, scope_id: str) -> str:
    """Store a body; committed when it returns. The id that :func:`get` takes."""
    archive_id = new_id()
    statement = sa.text(
        "INSERT INTO archive (archive_id, run_id, scope_id, stored_seconds, size_bytes, body)"
        f" VALUES (:archive_id, :run_id, :scope_id, {backend.now_seconds}, :size, :body)"
        " ON CONFLICT (archive_id) DO NOTHING"
    )
    values = {
        "archive_id": archive_id,
        "run_id": run_id,
        "scope_id": scope_id,
        "size": len(body),
        "body": zlib.compress(body),
    }
    backend.write(lambda connection: connection.execute(statement, values).rowcount)
    return archive_id


def get(backend: Backend, archive_id: str) -> bytes:
    """The body; raises :class:`UnknownName` when there is none (any more)."""
    statement = sa.text("SELECT body FROM archive WHERE archive_id = :archive_id")
    row = backend.read(
        lambda connection: connection.execute(statement, {"archive_id": archive_id}).fetchone()
    )
    if row is None:
        raise UnknownName(
            f"the archive has nothing under {archive_id!r}",
            hint="its retention may be over, or it was pruned",
        )
    return zlib.decompress(row[0])
