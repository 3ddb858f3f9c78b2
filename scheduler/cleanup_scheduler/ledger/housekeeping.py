"""Makes a ledger smaller, on purpose and on the record: old runs of which nothing is left to do. (Old logs
go by :meth:`Ledger.prune_archive`.)

A checkpoint with the hashes of what goes is committed before anything goes, so that the rest still verifies.
Refuses runs that are open, hold something, or ended in a dead letter.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from cleanup_scheduler.domain.events import LedgerPruned, NewEvent, PrunedRange
from cleanup_scheduler.domain.state import Run, Scope
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger.ledger import Ledger
from cleanup_scheduler.ledger.projection import Projection
from cleanup_scheduler.ledger.rows import to_text
from cleanup_scheduler.ledger.schema import ARCHIVE, CLAIMS, EVENTS, RESOURCES, RUNS, SCOPES

_EVENTS_AT_ONCE: Final = 5000


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed."""

    runs: int = 0
    events: int = 0
    logs: int = 0


def prune(ledger: Ledger, *, older_than: timedelta, dry_run: bool = False) -> Pruned:
    """Remove the runs that ended longer ago, with their events, state, claims and logs."""
    cutoff = ledger.now() - older_than
    state = ledger.projection()
    state.catch_up()
    total = Pruned()
    for runs in _groups(ledger, _finished_runs(state, cutoff), cutoff):
        done = _counted(ledger, runs) if dry_run else _remove(ledger, runs, cutoff)
        total = Pruned(
            runs=total.runs + done.runs, events=total.events + done.events, logs=total.logs + done.logs
        )
    return total


def _finished_runs(state: Projection, cutoff: datetime) -> Iterator[str]:
    for run in state.all_runs():
        ended = run.finished_at or run.abandoned_at
        if ended is not None and ended < cutoff and _nothing_left(run, state.scopes_of(run.run_id)):
            yield run.run_id


def _nothing_left(run: Run, scopes: Sequence[Scope]) -> bool:
    return not run.held_by and all(
        scope.settled
        and not scope.held_by
        and all(r.status in ("gone", "kept") and not r.held_by for r in scope.resources.values())
        for scope in scopes
    )


def _groups(
    ledger: Ledger, run_ids: Iterator[str], cutoff: datetime
) -> Iterator[dict[str, list[tuple[int, bytes]]]]:
    """Runs with the position and hash of each of their events, some thousand events at a time. A run of
    which something was heard since the cutoff is left out."""
    group: dict[str, list[tuple[int, bytes]]] = {}
    for run_id in run_ids:
        rows = ledger.backend.scan(
            "SELECT position, hash, time FROM events WHERE run_id = ? ORDER BY position", (run_id,)
        )
        if not rows or rows[-1][2] >= to_text(cutoff):
            continue
        group[run_id] = [(position, bytes(hash_)) for position, hash_, _ in rows]
        if sum(map(len, group.values())) >= _EVENTS_AT_ONCE:
            yield group
            group = {}
    if group:
        yield group


def _counted(ledger: Ledger, runs: dict[str, list[tuple[int, bytes]]]) -> Pruned:
    query = sa.select(sa.func.count()).select_from(ARCHIVE).where(ARCHIVE.c.run_id.in_(list(runs)))
    logs = ledger.backend.read(lambda connection: connection.execute(query).scalar_one())
    return Pruned(runs=len(runs), events=sum(map(len, runs.values())), logs=logs)


def _remove(ledger: Ledger, runs: dict[str, list[tuple[int, bytes]]], cutoff: datetime) -> Pruned:
    ranges = _ranges(sorted(event for events in runs.values() for event in events))
    checkpoint = NewEvent(
        event_id=new_id(),
        time=datetime.now(UTC),
        producer=f"prune on {socket.gethostname()}",
        payload=LedgerPruned(older_than=cutoff, runs=len(runs), ranges=ranges),
    )
    ledger.append(checkpoint)
    return ledger.backend.write(lambda connection: _delete(ledger, connection, runs))


def _ranges(events: Sequence[tuple[int, bytes]]) -> list[PrunedRange]:
    ranges: list[PrunedRange] = []
    for position, hash_ in events:
        first = position
        if ranges and ranges[-1].last == position - 1:
            first = ranges.pop().first
        ranges.append(PrunedRange(first=first, last=position, hash=hash_.hex()))
    return ranges


def _delete(ledger: Ledger, connection: Connection, runs: dict[str, list[tuple[int, bytes]]]) -> Pruned:
    """What was appended to a run meanwhile stays: only the events that the checkpoint names go."""
    backend, ids = ledger.backend, list(runs)
    positions = [position for events in runs.values() for position, _ in events]
    scopes = _only_theirs(connection, ids)
    for table in (CLAIMS, SCOPES):
        backend.delete_where_in(connection, table, "scope_id", scopes)
    backend.delete_where_in(connection, RESOURCES, "position", positions)
    backend.delete_where_in(connection, RUNS, "run_id", ids)
    logs = backend.delete_where_in(connection, ARCHIVE, "run_id", ids)
    with backend.events_unlocked(connection):
        events = backend.delete_where_in(connection, EVENTS, "position", positions)
    return Pruned(runs=len(runs), events=events, logs=logs)


def _only_theirs(connection: Connection, run_ids: Sequence[str]) -> Sequence[str]:
    """The scopes of which no other run has said anything."""
    other = EVENTS.alias()
    said = sa.exists().where(other.c.scope_id == EVENTS.c.scope_id, other.c.run_id.not_in(run_ids))
    named = sa.select(EVENTS.c.scope_id).where(EVENTS.c.run_id.in_(run_ids), ~said).distinct()
    return connection.execute(named).scalars().all()


def describe(pruned: Pruned) -> dict[str, Any]:
    """As plain values, for ``--json``."""
    return msgspec.structs.asdict(pruned)
