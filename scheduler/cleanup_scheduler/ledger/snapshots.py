"""Where the folded state is kept: rows of runs, scopes and resources, and the position they stand at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from cleanup_scheduler.domain.state import Run, Scope
from cleanup_scheduler.errors import LedgerTooNew
from cleanup_scheduler.ledger.backend import Backend, chunks
from cleanup_scheduler.ledger.rows import to_text
from cleanup_scheduler.ledger.schema import FOLD, RESOURCES, RUNS, SCOPES

# rises when the fold makes another state of the same events: the saved one is thrown away then
FOLD_VERSION: Final = 2
_PAGE: Final = 200
# in the words of the partial indexes, which SQLite would not take by itself: it would read every row
_OPEN_RUNS: Final = sa.literal_column("NOT ended", sa.Boolean())
_OPEN_SCOPES: Final = sa.literal_column("NOT settled", sa.Boolean())
_ENCODE: Final = msgspec.json.Encoder().encode
_RUN: Final = msgspec.json.Decoder(Run)
_SCOPE: Final = msgspec.json.Decoder(Scope)


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch of events changed; each with the position of the last event that touched it."""

    before: int
    after: int
    runs: list[tuple[Run, int]]
    scopes: list[tuple[Scope, int]]


class Snapshots:
    """The saved state of one ledger."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def position(self) -> int:
        """The position that the saved state stands at; -1 when another version of the fold saved it."""
        query = sa.select(FOLD.c.position, FOLD.c.version)
        position, version = self._backend.read(lambda connection: connection.execute(query).one())
        return int(position) if version == FOLD_VERSION else -1

    def load_open(self) -> tuple[dict[str, Run], dict[str, Scope], int]:
        """What is open, and the position. State of an older fold is thrown away first."""
        if self._backend.read(_fold_version) < FOLD_VERSION:
            self.reset()
        return self._load(_OPEN_RUNS, _OPEN_SCOPES)

    def load_since(self, position: int) -> tuple[dict[str, Run], dict[str, Scope], int]:
        """What was saved after ``position``, and the position reached."""
        return self._load(RUNS.c.position > position, SCOPES.c.position > position)

    def _load(
        self, which_runs: sa.ColumnElement[bool], which_scopes: sa.ColumnElement[bool]
    ) -> tuple[dict[str, Run], dict[str, Scope], int]:
        """The position comes first: rows may be newer than it, and then saving on top of it is refused."""

        def work(connection: Connection) -> tuple[dict[str, Run], dict[str, Scope], int]:
            position = _position(connection)
            return _runs(connection, which_runs), _scopes(connection, which_scopes), position

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
            self._backend.upsert(
                connection, RESOURCES, [row for scope, _ in changes.scopes for row in _resource_rows(scope)]
            )
            return True

        return self._backend.write(work)

    def reset(self) -> None:
        """Throw the saved state away; the next fold begins at zero."""

        def work(connection: Connection) -> None:
            for table in (RUNS, SCOPES, RESOURCES):
                connection.execute(sa.delete(table))
            connection.execute(sa.update(FOLD).values(position=0, version=FOLD_VERSION))

        self._backend.write(work)

    def runs(self, run_ids: Sequence[str]) -> dict[str, Run]:
        """The saved runs of those ids."""
        found: dict[str, Run] = {}
        for some in chunks(run_ids, self._backend.rows_per_statement):
            found |= self._backend.read(lambda connection: _runs(connection, RUNS.c.run_id.in_(some)))  # noqa: B023
        return found

    def scopes(self, scope_ids: Sequence[str]) -> dict[str, Scope]:
        """The saved scopes of those ids."""
        found: dict[str, Scope] = {}
        for some in chunks(scope_ids, self._backend.rows_per_statement):
            found |= self._backend.read(lambda connection: _scopes(connection, SCOPES.c.scope_id.in_(some)))  # noqa: B023
        return found

    def scopes_of(self, run_id: str) -> list[Scope]:
        """Every saved scope of a run."""
        found = self._backend.read(lambda connection: _scopes(connection, SCOPES.c.run_id == run_id))
        return [found[id_] for id_ in sorted(found)]

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

    def find(self, kind: str, name_or_uid: str, namespace: str | None) -> list[tuple[str, str]]:
        """Scope id and key of every resource with that name or uid."""
        table = RESOURCES.c
        statement = sa.select(table.scope_id, table.key).where(
            sa.or_(table.name == name_or_uid, table.uid == name_or_uid)
        )
        if kind:
            statement = statement.where(table.kind == kind)
        if namespace is not None:
            statement = statement.where(table.namespace == namespace)
        rows = self._backend.read(lambda connection: connection.execute(statement).fetchall())
        return [(row.scope_id, row.key) for row in rows]


def _position(connection: Connection) -> int:
    return int(connection.execute(sa.select(FOLD.c.position)).scalar_one())


def _fold_version(connection: Connection) -> int:
    version = int(connection.execute(sa.select(FOLD.c.version)).scalar_one())
    if version > FOLD_VERSION:
        raise LedgerTooNew(
            f"a newer program folded the ledger's state (fold {version}; this one makes {FOLD_VERSION})",
            hint="upgrade cleanup-scheduler here",
        )
    return version


def _runs(connection: Connection, where: sa.ColumnElement[bool]) -> dict[str, Run]:
    query: sa.Executable = sa.select(RUNS.c.run_id, RUNS.c.state).where(where)
    if where is _OPEN_RUNS and connection.dialect.name == "sqlite":
        query = sa.text("SELECT run_id, state FROM runs INDEXED BY runs_open WHERE NOT ended")
    rows = connection.execute(query)
    return {row.run_id: _RUN.decode(row.state) for row in rows}


def _scopes(connection: Connection, where: sa.ColumnElement[bool]) -> dict[str, Scope]:
    query: sa.Executable = sa.select(SCOPES.c.scope_id, SCOPES.c.state).where(where)
    if where is _OPEN_SCOPES and connection.dialect.name == "sqlite":
        query = sa.text("SELECT scope_id, state FROM scopes INDEXED BY scopes_open WHERE NOT settled")
    rows = connection.execute(query)
    return {row.scope_id: _SCOPE.decode(row.state) for row in rows}


# the rows' values stand in the order of the tables' columns


def _run_row(run: Run, position: int) -> tuple[Any, ...]:
    started = to_text(run.started_at) if run.started_at else ""
    return (run.run_id, position, run.ended, started, _ENCODE(run).decode())


def _scope_row(scope: Scope, position: int) -> tuple[Any, ...]:
    return (scope.scope_id, scope.run_id, position, scope.settled, _ENCODE(scope).decode())


def _resource_rows(scope: Scope) -> Iterator[tuple[Any, ...]]:
    for key, resource in scope.resources.items():
        ref = resource.ref
        yield (scope.scope_id, key, ref.kind, ref.namespace, ref.name, resource.uid)
