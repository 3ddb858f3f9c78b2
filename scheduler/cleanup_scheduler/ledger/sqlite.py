"""The ledger on SQLite: WAL, ``synchronous=FULL``, ``BEGIN IMMEDIATE`` behind a fair queue.

Many processes of one host; other hosts need PostgreSQL. The driver is used directly where an append is made
and where events are read by the thousand: SQLAlchemy's share there is as large as SQLite's own.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from cleanup_scheduler.errors import ClaimLost
from cleanup_scheduler.ledger.address import Address
from cleanup_scheduler.ledger.backend import Backend, columns, on_conflict
from cleanup_scheduler.ledger.chain import GENESIS, canonical, link
from cleanup_scheduler.ledger.queueing import FairQueue
from cleanup_scheduler.ledger.records import Claim
from cleanup_scheduler.ledger.rows import Row
from cleanup_scheduler.ledger.translate import translate
from cleanup_scheduler.ledger.wakeup import Listener, SqliteListener

# sqlite_sequence keeps the highest position ever given: one that was cut off is never given again
_HEAD: Final = """
    SELECT seq, CAST(hash AS BLOB) FROM sqlite_sequence JOIN events ON position = seq WHERE name = 'events'
"""
# the first append, one after a cut, or after somebody's hand in sqlite_sequence
_HEAD_AFTER_ALL: Final = """
    SELECT MAX(COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0),
               COALESCE(last.position, 0)),
           CAST(last.hash AS BLOB)
    FROM (SELECT 1) LEFT JOIN (SELECT position, hash FROM events ORDER BY position DESC LIMIT 1) AS last
"""
_KNOWN: Final = "SELECT position FROM events WHERE event_id = ?"
_INSERT: Final = """
    INSERT INTO events
        (position, event_id, type, version, run_id, scope_id, time, producer, payload, hash)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_FENCE: Final = "SELECT 1 FROM claims WHERE scope_id = ? AND token = ? AND holder <> ''"

# connections that a forked child inherited: kept, because closing them would act on the parent's files
_PARENTS: Final[list[PoolProxiedConnection]] = []


class SqliteBackend(Backend):
    """One file. ``queue`` is shared by all that write to it from this ledger."""

    canonical_column: ClassVar[str] = (
        "CAST(position || char(10) || event_id || char(10) || type || char(10) || version || char(10)"
        " || run_id || char(10) || scope_id || char(10) || time || char(10) || producer"
        " || char(10) || payload AS BLOB)"
    )
    hash_column: ClassVar[str] = "CAST(hash AS BLOB)"
    now_seconds: ClassVar[str] = "((julianday('now') - 2440587.5) * 86400.0)"
    pairs_table: ClassVar[str] = (
        "(SELECT json_extract(value, '$[0]') AS scope_id, json_extract(value, '$[1]') AS token"
        " FROM json_each(:pairs)) AS pairs"
    )
    lock_rows: ClassVar[str] = ""  # there is one writer at a time

    def __init__(self, address: Address, *, timeout_seconds: float) -> None:
        engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(address.path)),
            isolation_level="AUTOCOMMIT",
            connect_args={"timeout": timeout_seconds, "check_same_thread": False},
            pool_timeout=timeout_seconds,
        )
        sa.event.listen(engine, "connect", _prepare)
        super().__init__(address, engine, timeout_seconds=timeout_seconds)
        self.queue = FairQueue(address.path)
        self._writer: PoolProxiedConnection | None = None
        self._cursor: sqlite3.Cursor | None = None

    def _forked(self) -> None:
        self.queue.forget()
        if self._writer is not None:
            self._writer.detach()  # the parent's; closing it here would drop the parent's locks
            _PARENTS.append(self._writer)
            self._writer = self._cursor = None

    def append(self, rows: Sequence[Row], claims: Collection[Claim]) -> list[int]:
        """See :meth:`Backend.append`. Committed, and on the disk, when it returns."""
        _ = self.engine  # a forked child gets connections of its own
        self.queue.enter(self.timeout_seconds)
        try:
            cursor = self._cursor or self._writer_cursor()
            try:
                cursor.execute("BEGIN IMMEDIATE")
                positions = _store(cursor, rows, claims)
                cursor.execute("COMMIT")
            except BaseException:
                _roll_back(cursor.connection)
                raise
        except Exception as error:
            ours = translate(error, self.address)
            if ours is None:
                raise
            raise ours from error
        finally:
            self.queue.leave()
        return positions

    def _writer_cursor(self) -> sqlite3.Cursor:
        """Appends go one at a time in any case, so one connection is kept for them."""
        self._writer = self.engine.raw_connection()
        connection = self._writer.driver_connection
        assert isinstance(connection, sqlite3.Connection)  # noqa: S101 - the driver that we asked for
        self._cursor = connection.cursor()
        return self._cursor

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self.queue.turn(self.timeout_seconds), self.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                _roll_back(connection.connection.driver_connection)
                raise

    def listen(self) -> Listener:
        """See :meth:`Backend.listen`."""
        with self.border():
            return SqliteListener(self.engine)

    @contextmanager
    def events_unlocked(self, connection: Connection) -> Iterator[None]:
        """See :meth:`Backend.events_unlocked`. SQLite cannot switch triggers off: they are made again."""
        triggers = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events'"
        ).fetchall()
        for name, _ in triggers:
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        yield
        for _, sql in triggers:
            connection.exec_driver_sql(sql)

    def upsert(self, connection: Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """See :meth:`Backend.upsert`."""
        _insert(connection, table, rows, on_conflict(table))

    def insert(self, connection: Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """See :meth:`Backend.insert`."""
        _insert(connection, table, rows, "")

    def empty(self, connection: Connection, tables: Sequence[sa.Table]) -> None:
        """See :meth:`Backend.empty`."""
        for table in tables:
            connection.execute(sa.delete(table))

    def pairs_values(self, pairs: Sequence[tuple[str, int]]) -> dict[str, Any]:
        """See :meth:`Backend.pairs_values`."""
        return {"pairs": json.dumps(pairs)}

    def scan(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """See :meth:`Backend.scan`."""
        with self.border():
            pooled = self.engine.raw_connection()
            try:
                return _fetch(pooled.driver_connection, sql, parameters)
            finally:
                pooled.close()

    def events_of(self, columns: str, scope_ids: Sequence[str], upto: int) -> list[Any]:
        """See :meth:`Backend.events_of`. Ordered as the index is, so that SQLite does not walk along the
        positions instead."""
        places = ", ".join("?" * len(scope_ids))
        where = f"scope_id IN ({places}) AND position <= ? ORDER BY scope_id, position"
        return self.scan(f"SELECT {columns} FROM events WHERE {where}", [*scope_ids, upto])

    def close(self) -> None:
        """Close the connections and the queue's files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = self._cursor = None
        super().close()
        self.queue.close()


def _insert(connection: Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]], more: str) -> None:
    if rows:
        places = ", ".join("?" * len(table.columns))
        sql = f"INSERT INTO {table.name} ({columns(table)}) VALUES ({places}) {more}"
        connection.exec_driver_sql(sql, list(rows))


def _prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    # recursive_triggers: else INSERT OR REPLACE would remove a row past the DELETE trigger
    for pragma in ("synchronous = FULL", "recursive_triggers = ON", "journal_size_limit = 67108864"):
        connection.execute(f"PRAGMA {pragma}").close()


def _fetch(connection: Any, sql: str, parameters: Sequence[Any]) -> list[Any]:
    try:
        return list(connection.execute(sql, parameters).fetchall())
    except sqlite3.OperationalError as error:
        if "decode to UTF-8" not in str(error):
            raise
    # somebody put bytes there that are no text: they are shown as well as can be
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    try:
        return list(connection.execute(sql, parameters).fetchall())
    finally:
        connection.text_factory = str


def _roll_back(connection: Any) -> None:
    """SQLite has already rolled back by itself after some errors (a full disk)."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _store(cursor: sqlite3.Cursor, rows: Sequence[Row], claims: Collection[Claim]) -> list[int]:
    for claim in claims:
        if not cursor.execute(_FENCE, (claim.scope_id, claim.token)).fetchone():
            raise ClaimLost(
                f"the claim on scope {claim.scope_id} is no longer held",
                hint="another worker acts on this scope now",
            )
    head = cursor.execute(_HEAD).fetchone() or cursor.execute(_HEAD_AFTER_ALL).fetchone()
    position, last = head[0], GENESIS if head[1] is None else head[1]
    positions = []
    for row in rows:
        hash_ = link(last, canonical(position + 1, *row[:-1], row.payload.encode()))
        try:
            cursor.execute(_INSERT, (position + 1, *row, hash_))
        except sqlite3.IntegrityError:
            # the guard refused it: it is there already, or something is wrong that is not ours to hide
            known = cursor.execute(_KNOWN, (row.event_id,)).fetchone()
            if known is None:
                raise
            positions.append(known[0])
        else:
            position, last = position + 1, hash_
            positions.append(position)
    return positions
