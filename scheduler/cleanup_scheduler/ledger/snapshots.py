"""What is kept of the folded state: runs, open scopes, where names were mentioned, and its position.

A settled scope is not kept: its own events say what it is (``History`` in ``folding``). So replaying
a long history writes little, and the state beside the events stays small.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, Final
from zlib import crc32

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from cleanup_scheduler.domain.state import Run, Scope
from cleanup_scheduler.errors import LedgerTooNew
from cleanup_scheduler.ledger.backend import Backend, chunks
from cleanup_scheduler.ledger.rows import to_text
from cleanup_scheduler.ledger.schema import FOLD, RESOURCES, RUNS, SCOPES

# rises when the fold makes another state of the same events: the saved one is thrown away then
FOLD_VERSION: Final = 4
_PAGE: Final = 200
# in the words of the partial index, which SQLite would not take by itself: it would read every row
_OPEN_RUNS: Final = sa.literal_column("NOT ended", sa.Boolean())
_STATUS: Final = "SELECT position, version, (SELECT MAX(position) FROM events) FROM fold"
_ENCODE: Final = msgspec.json.Encoder().encode
_RUN: Final = msgspec.json.Decoder(Run)
_SCOPE: Final = msgspec.json.Decoder(Scope)


class Status(msgspec.Struct, frozen=True):
    """How far the saved state goes, and how far the events. ``saved`` is -1 when an older fold saved it."""

    saved: int
    head: int


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What was saved: of a start all that is open, later what changed. ``open_ids`` are all open scopes."""

    position: int
    runs: dict[str, Run]
    scopes: dict[str, Scope]
    open_ids: set[str]


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What the events after ``before``, up to ``after``, changed.

    Runs and open scopes come with the position of the last event that touched them. ``settled`` are scopes
    that were open when they were saved last. ``mentions`` are new pairs of :func:`mention`.
    """

    before: int
    after: int
    runs: list[tuple[Run, int]]
    scopes: list[tuple[Scope, int]]
    settled: Collection[str]
    mentions: Collection[tuple[int, int]]


class Snapshots:
    """The saved state of one ledger."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def status(self) -> Status:
        """In one statement, because idle workers ask it all the time."""
        ((position, version, head),) = self._backend.scan(_STATUS, ())
        return Status(position if _is_current(version) else -1, head or 0)

    def load_open(self) -> Kept:
        """All that is open. State of an older fold is thrown away first."""
        if self.status().saved < 0:
            self.reset()
        return self._load(_OPEN_RUNS, sa.true())

    def load_since(self, position: int) -> Kept:
        """What was saved after ``position``."""
        return self._load(RUNS.c.position > position, SCOPES.c.position > position)

    def _load(self, which_runs: sa.ColumnElement[bool], which_scopes: sa.ColumnElement[bool]) -> Kept:
        """The position comes first: rows may be newer than it, and then saving on top of it is refused."""

        def work(connection: Connection) -> Kept:
            position = connection.execute(sa.select(FOLD.c.position)).scalar_one()
            scopes = connection.execute(sa.select(SCOPES.c.scope_id, SCOPES.c.state).where(which_scopes))
            return Kept(
                position=position,
                runs=_runs(connection, which_runs),
                scopes={row.scope_id: _SCOPE.decode(row.state) for row in scopes},
                open_ids=set(connection.execute(sa.select(SCOPES.c.scope_id)).scalars()),
            )

        return self._backend.read(work)

    def save(self, changes: Changes) -> bool:
        """Save changes and position in one transaction; False when the position was not ``before``."""

        def work(connection: Connection) -> bool:
            moved = connection.execute(
                sa.update(FOLD)
                .where(FOLD.c.position == changes.before, FOLD.c.version == FOLD_VERSION)
                .values(position=changes.after)
            )
            if moved.rowcount != 1:
                return False
            self._backend.upsert(connection, RUNS, [_run_row(*run) for run in changes.runs])
            self._backend.upsert(connection, SCOPES, [_scope_row(*scope) for scope in changes.scopes])
            self._backend.delete_where_in(connection, SCOPES, "scope_id", sorted(changes.settled))
            self._backend.insert(connection, RESOURCES, sorted(changes.mentions))
            return True

        return self._backend.write(work)

    def reset(self) -> None:
        """Throw the saved state away; the next fold begins at zero."""

        def work(connection: Connection) -> None:
            self._backend.empty(connection, (RUNS, SCOPES, RESOURCES))
            connection.execute(sa.update(FOLD).values(position=0, version=FOLD_VERSION))

        self._backend.write(work)

    def runs(self, run_ids: Sequence[str]) -> dict[str, Run]:
        """The saved runs of those ids."""
        found: dict[str, Run] = {}
        for some in chunks(run_ids, self._backend.rows_per_statement):
            found |= self._backend.read(lambda connection: _runs(connection, RUNS.c.run_id.in_(some)))  # noqa: B023
        return found

    def all_runs(self, since: datetime | None) -> Iterator[Run]:
        """Every saved run from ``since`` on, newest first, a page in memory at a time."""
        oldest = to_text(since) if since else ""
        after: tuple[str, str] | None = None
        while True:
            statement = sa.select(RUNS.c.started, RUNS.c.run_id, RUNS.c.state).where(RUNS.c.started >= oldest)
            if after is not None:
                statement = statement.where(sa.tuple_(RUNS.c.started, RUNS.c.run_id) < sa.tuple_(*after))
            page = statement.order_by(RUNS.c.started.desc(), RUNS.c.run_id.desc()).limit(_PAGE)
            rows = self._backend.read(lambda connection: connection.execute(page).fetchall())  # noqa: B023
            yield from (_RUN.decode(row.state) for row in rows)
            if len(rows) < _PAGE:
                return
            after = (rows[-1].started, rows[-1].run_id)

    def mentioning(self, names_or_uids: Collection[str]) -> set[str]:
        """The ids of the scopes that have, or once had, such a resource, and of some more."""
        found: set[str] = set()
        for some in chunks(sorted({_word(each) for each in names_or_uids}), self._backend.rows_per_statement):
            sql = (
                "SELECT scope_id FROM events WHERE position IN"
                f" (SELECT position FROM resources WHERE word IN ({', '.join('?' * len(some))}))"
            )
            found.update(row[0] for row in self._backend.scan(sql, some))
        return found


def mention(name_or_uid: str, position: int) -> tuple[int, int]:
    """A row of ``resources``; the position is that of an event of the scope."""
    return _word(name_or_uid), position


def _word(name_or_uid: str) -> int:
    """A number for a word, that another word may have, too."""
    return crc32(name_or_uid.encode())


def _is_current(version: int) -> bool:
    if version > FOLD_VERSION:
        raise LedgerTooNew(
            f"a newer program folded the ledger's state (fold {version}; this one makes {FOLD_VERSION})",
            hint="upgrade cleanup-scheduler here",
        )
    return version == FOLD_VERSION


def _runs(connection: Connection, where: sa.ColumnElement[bool]) -> dict[str, Run]:
    query: sa.Executable = sa.select(RUNS.c.run_id, RUNS.c.state).where(where)
    if where is _OPEN_RUNS and connection.dialect.name == "sqlite":
        query = sa.text("SELECT run_id, state FROM runs INDEXED BY runs_open WHERE NOT ended")
    rows = connection.execute(query)
    return {row.run_id: _RUN.decode(row.state) for row in rows}


# the rows' values stand in the order of the tables' columns


def _run_row(run: Run, position: int) -> tuple[Any, ...]:
    started = to_text(run.started_at) if run.started_at else ""
    return (run.run_id, position, run.ended, started, _ENCODE(run).decode())


def _scope_row(scope: Scope, position: int) -> tuple[Any, ...]:
    return (scope.scope_id, position, _ENCODE(scope).decode())
