"""The archive of logs: compressed bodies beside the events that speak of them, with a retention and a size of
their own.

Of a log that was pruned the row stays, so that whoever asks for it hears when and why it went: its size is
-1, its body that sentence.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from cleanup_scheduler.errors import UnknownName
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger.backend import Backend, chunks
from cleanup_scheduler.ledger.schema import ARCHIVE, SCOPES

_PRUNED: Final = -1


def put(backend: Backend, logs: Sequence[tuple[str, str, bytes]]) -> list[str]:
    """Store bodies, each after the ids of its run and scope; committed when it returns. The ids that
    :func:`get` takes."""
    statement = sa.text(
        "INSERT INTO archive (archive_id, run_id, scope_id, stored_seconds, size_bytes, body)"
        f" VALUES (:archive_id, :run_id, :scope_id, {backend.now_seconds}, :size, :body)"
        " ON CONFLICT (archive_id) DO NOTHING"
    )
    values = [
        {
            "archive_id": new_id(),
            "run_id": run_id,
            "scope_id": scope_id,
            "size": len(body),
            "body": zlib.compress(body),
        }
        for run_id, scope_id, body in logs
    ]
    if values:
        backend.write(lambda connection: connection.execute(statement, values).rowcount)
    return [str(value["archive_id"]) for value in values]


def get(backend: Backend, archive_id: str) -> bytes:
    """The body; raises :class:`UnknownName` when there is none (any more), with when and why it went."""
    statement = sa.text("SELECT size_bytes, body FROM archive WHERE archive_id = :archive_id")
    row = backend.read(
        lambda connection: connection.execute(statement, {"archive_id": archive_id}).fetchone()
    )
    if row is None:
        raise UnknownName(
            f"the archive has nothing under {archive_id!r}",
            hint="its run may have been pruned (`cleanup-cli ledger prune`)",
        )
    if row[0] == _PRUNED:
        raise UnknownName(
            f"its log {bytes(row[1]).decode()}",
            hint="archive_retention_days and archive_max_bytes say how much is kept",
        )
    return zlib.decompress(row[1])


def prune_archive(
    backend: Backend,
    *,
    older_than: timedelta | None = None,
    max_total_bytes: int | None = None,
    settled_only: bool = False,
) -> int:
    """Remove archived logs that are too old, then the oldest until the rest fits; how many went.

    The events stay. Sizes are what the bodies take in the database, compressed. With ``settled_only`` the
    logs of scopes that are still worked on, preserved or held stay (and count).
    """
    now = float(backend.read(lambda connection: connection.execute(_now(backend)).scalar_one()))
    removed = 0
    if older_than is not None:
        oldest = now - older_than.total_seconds()
        query = sa.select(ARCHIVE.c.archive_id).where(ARCHIVE.c.stored_seconds < oldest)
        days = older_than / timedelta(days=1)
        removed += _remove(backend, query, now, f"it was older than {days:g} days", settled_only=settled_only)
    if max_total_bytes is not None:
        query = _beyond(max_total_bytes)
        reason = f"the archive was larger than {max_total_bytes} bytes"
        removed += _remove(backend, query, now, reason, settled_only=settled_only)
    return removed


def _now(backend: Backend) -> sa.TextClause:
    return sa.text(f"SELECT {backend.now_seconds}")


def _beyond(max_total_bytes: int) -> sa.Select[Any]:
    """Those that are beyond the limit, counted from the newest."""
    size = sa.func.length(ARCHIVE.c.body)
    newest_first = (ARCHIVE.c.stored_seconds.desc(), ARCHIVE.c.archive_id.desc())
    ranked = sa.select(ARCHIVE.c.archive_id, sa.func.sum(size).over(order_by=newest_first).label("total"))
    total = ranked.where(ARCHIVE.c.size_bytes != _PRUNED).subquery()
    beyond = sa.select(total.c.archive_id).where(total.c.total > max_total_bytes)
    return sa.select(ARCHIVE.c.archive_id).where(ARCHIVE.c.archive_id.in_(beyond))


def _remove(backend: Backend, query: sa.Select[Any], now: float, reason: str, *, settled_only: bool) -> int:
    """Looked up without a lock, and removed some hundred at a time: nobody's append waits for long."""
    query = query.where(ARCHIVE.c.size_bytes != _PRUNED)
    if settled_only:
        open_scopes = sa.select(SCOPES.c.scope_id)
        query = query.where(ARCHIVE.c.scope_id.not_in(open_scopes))
    ids = backend.read(lambda connection: connection.execute(query).scalars().all())
    when = datetime.fromtimestamp(now, UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")
    values = {
        "size_bytes": _PRUNED,
        "stored_seconds": now,
        "body": f"was pruned at {when}: {reason}".encode(),
    }

    def remove(connection: Connection, some: Sequence[str]) -> int:
        wanted = ARCHIVE.c.archive_id.in_(some) & (ARCHIVE.c.size_bytes != _PRUNED)
        return connection.execute(sa.update(ARCHIVE).where(wanted).values(values)).rowcount

    return sum(
        backend.write(lambda connection: remove(connection, some))  # noqa: B023 - called at once
        for some in chunks(ids, backend.rows_per_statement)
    )
