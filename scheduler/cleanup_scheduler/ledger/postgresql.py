"""The ledger on PostgreSQL: one SQL function locks, orders and inserts in a single statement.

No client can hold the order's lock across a pause of its own, and no reader can find a position whose
predecessor is still to be committed (revision 0001 has the function and the trigger).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.pool import ConnectionPoolEntry

from cleanup_scheduler.errors import ClaimLost, CleanupSchedulerError, SettingsError
from cleanup_scheduler.ledger.address import Address
from cleanup_scheduler.ledger.backend import Backend, columns, on_conflict
from cleanup_scheduler.ledger.records import Claim
from cleanup_scheduler.ledger.rows import Row
from cleanup_scheduler.ledger.wakeup import CHANNEL, Hints, Listener, PostgresqlListener

T = TypeVar("T")
# the hint needs no place on the disk: its commit must not compete with those of appends
_NOTIFY: Final = f"SELECT set_config('synchronous_commit', 'off', true), pg_notify('{CHANNEL}', '')"
_CALL: Final = "cleanup_append(%s, %s, %s, %s, %s, %s, %s, %s, NULL, NULL)"
_APPEND: Final = f"SELECT {_CALL}"
# the claims' rows stay locked to the end, so that none is granted anew meanwhile; in order, as in renewing
_FENCED_APPEND: Final = f"""
    WITH held AS (
        SELECT 1 FROM claims AS c
        JOIN unnest(%s::text[], %s::bigint[]) AS fence (scope_id, token)
            ON c.scope_id = fence.scope_id AND c.token = fence.token
        WHERE c.holder <> '' ORDER BY c.scope_id FOR SHARE OF c
    )
    SELECT CASE WHEN (SELECT count(*) FROM held) = %s THEN {_CALL} END
"""


class PostgresqlBackend(Backend):
    """One database of a server."""

    canonical_column: ClassVar[str] = (
        r"convert_to(position || E'\n' || event_id || E'\n' || type || E'\n' || version || E'\n' || run_id"
        r" || E'\n' || scope_id || E'\n' || time || E'\n' || producer || E'\n' || payload, 'UTF8')"
    )
    hash_column: ClassVar[str] = "hash"
    now_seconds: ClassVar[str] = "EXTRACT(EPOCH FROM clock_timestamp())::double precision"
    pairs_table: ClassVar[str] = (
        "unnest(CAST(:scope_ids AS text[]), CAST(:tokens AS bigint[])) AS pairs (scope_id, token)"
    )
    lock_rows: ClassVar[str] = " FOR UPDATE OF c"
    rows_per_statement: ClassVar[int] = 1000

    def __init__(self, address: Address, *, timeout_seconds: float, patient: bool = False) -> None:
        """``patient``: statements may take as long as they do (migrations)."""
        try:
            from cleanup_scheduler.ledger.bounded import BoundedConnection

            engine = sa.create_engine(
                address.url,
                isolation_level="AUTOCOMMIT",
                connect_args={
                    "connect_timeout": max(2, round(timeout_seconds)),
                    "tcp_user_timeout": round(timeout_seconds * 1000),
                    "application_name": "cleanup-scheduler",
                },
                pool_timeout=timeout_seconds,
            )
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"the ledger {address.shown} needs the package {error.name}, which is not installed",
                hint="pip install 'cleanup-scheduler[postgres]'",
            ) from error
        except sa.exc.ArgumentError as error:
            raise SettingsError(f"the ledger's URL {address.shown!r} is malformed") from error
        milliseconds = round(timeout_seconds * 1000)

        def connect(_d: Any, _r: Any, arguments: list[Any], options: dict[str, Any]) -> BoundedConnection:
            return BoundedConnection.connect(*arguments, **options)

        def prepare(connection: BoundedConnection, _: ConnectionPoolEntry) -> None:
            # longer than the server's own limit, whose message says more
            connection.answer_seconds = None if patient else timeout_seconds + 1.0
            # a stopped client must not hold a lock for ever; 2 s bound it
            connection.execute(
                "SELECT set_config('lock_timeout', %s, false),"
                " set_config('idle_in_transaction_session_timeout', %s, false)",
                (str(milliseconds), "2000"),
            )

        sa.event.listen(engine, "do_connect", connect)
        sa.event.listen(engine, "connect", prepare)
        super().__init__(address, engine, timeout_seconds=timeout_seconds)
        self.hints = Hints(self._notify)
        self.transactions = engine.execution_options(isolation_level="READ COMMITTED")

    def _forked(self) -> None:
        """Nothing is shared besides the pool."""

    def append(self, rows: Sequence[Row], claims: Collection[Claim]) -> list[int]:
        """See :meth:`Backend.append`. One round trip; committed when it returns."""
        columns = [list(column) for column in zip(*rows, strict=True)]
        fence = [[claim.scope_id for claim in claims], [claim.token for claim in claims], len(claims)]

        def call(cursor: Any) -> list[int] | None:
            if claims:
                cursor.execute(_FENCED_APPEND, (*fence, *columns))
            else:
                cursor.execute(_APPEND, columns)
            found: list[int] | None = cursor.fetchone()[0]
            return found

        positions = self.attempt(lambda: self._on_cursor(call))
        if positions is None:
            scopes = ", ".join(claim.scope_id for claim in claims)
            raise ClaimLost(
                f"a claim is no longer held, of those on scope {scopes}",
                hint="another worker acts on that scope now",
            )
        self.hints.give()
        return positions

    def _on_cursor(self, call: Callable[[Any], T]) -> T:
        pooled = self.engine.raw_connection()
        try:
            return call(pooled.cursor())
        except Exception:
            if getattr(pooled.driver_connection, "closed", True):
                pooled.invalidate()
            raise
        finally:
            pooled.close()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        _ = self.engine  # a forked child gets connections of its own
        with self.transactions.begin() as connection:
            yield connection

    def listen(self) -> Listener:
        """See :meth:`Backend.listen`."""
        with self.border():
            return PostgresqlListener(self.engine)

    def _notify(self) -> None:
        """A lost hint is no loss: listeners poll."""
        with contextlib.suppress(CleanupSchedulerError):
            self.attempt(lambda: self._on_cursor(lambda cursor: cursor.execute(_NOTIFY)), patient=False)

    def close(self) -> None:
        """Send the last hint, then close the connections."""
        self.hints.close()
        super().close()

    @contextmanager
    def events_unlocked(self, connection: Connection) -> Iterator[None]:
        """See :meth:`Backend.events_unlocked`. Only the owner may; the lock keeps others out."""
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        connection.exec_driver_sql("ALTER TABLE events DISABLE TRIGGER USER")
        yield
        connection.exec_driver_sql("ALTER TABLE events ENABLE TRIGGER USER")

    def upsert(self, connection: Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """See :meth:`Backend.upsert`. One statement, a column to an array."""
        if rows:
            types = (column.type.compile(connection.dialect) for column in table.columns)
            arrays = ", ".join(f"%s::{type_}[]" for type_ in types)
            values = f"SELECT * FROM unnest({arrays}) {on_conflict(table)}"
            sql = f"INSERT INTO {table.name} ({columns(table)}) {values}"
            connection.exec_driver_sql(sql, tuple(list(column) for column in zip(*rows, strict=True)))

    def pairs_values(self, pairs: Sequence[tuple[str, int]]) -> dict[str, Any]:
        """See :meth:`Backend.pairs_values`."""
        return {"scope_ids": [pair[0] for pair in pairs], "tokens": [pair[1] for pair in pairs]}

    def insert(self, connection: Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """See :meth:`Backend.insert`."""
        if rows:
            cursor: Any = connection.connection.cursor()
            with cursor.copy(f"COPY {table.name} ({columns(table)}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)

    def empty(self, connection: Connection, tables: Sequence[sa.Table]) -> None:
        """See :meth:`Backend.empty`. Deleted rows would stay in the way until they are vacuumed; an older
        grant may not allow TRUNCATE."""
        for table in tables:
            allowed = connection.scalar(sa.select(sa.func.has_table_privilege(table.name, "TRUNCATE")))
            connection.execute(sa.text(f"TRUNCATE {table.name}") if allowed else sa.delete(table))

    def scan(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """See :meth:`Backend.scan`."""

        def call(cursor: Any) -> list[Any]:
            return list(cursor.execute(sql.replace("?", "%s"), parameters).fetchall())

        return self.attempt(lambda: self._on_cursor(call))

    def events_of(self, columns: str, scope_ids: Sequence[str], upto: int) -> list[Any]:
        """See :meth:`Backend.events_of`. One look into the index per scope: of an IN the planner thinks that
        reading the whole table is cheaper, each time."""
        sql = (
            f"SELECT {columns} FROM unnest(?::text[]) AS wanted (id) CROSS JOIN LATERAL"
            " (SELECT * FROM events WHERE scope_id = wanted.id AND position <= ? ORDER BY position OFFSET 0)"
            " AS found"
        )
        return self.scan(sql, (list(scope_ids), upto))
