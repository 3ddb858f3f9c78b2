"""What both databases have in common: a pool, bounded retries, and errors that become ours at the border.

A subclass says how an append is made, how a write transaction begins, and how the database tells its time.
Refuses to hold a transaction open between calls: every call is short and over when it returns.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from cleanup_scheduler.ledger.address import Address
from cleanup_scheduler.ledger.records import Claim
from cleanup_scheduler.ledger.rows import Row
from cleanup_scheduler.ledger.translate import is_connection_lost, translate
from cleanup_scheduler.ledger.wakeup import Listener

T = TypeVar("T")
_RETRY_SECONDS: Final = 0.05


class _Forks:
    """How many forks lie between this process and the one that imported this: cheaper to ask than the pid."""

    count = 0

    def child(self) -> None:
        """Called in each forked child."""
        self.count += 1


_forks: Final = _Forks()
os.register_at_fork(after_in_child=_forks.child)


class Backend(ABC):
    """One database, from any thread. ``timeout_seconds`` bounds every wait."""

    now_seconds: ClassVar[str]  # SQL: the database's clock, seconds since 1970
    canonical_column: ClassVar[str]  # SQL: the canonical bytes of an event, see chain.canonical
    hash_column: ClassVar[str]  # SQL: its hash, as bytes whatever somebody made of it
    pairs_table: ClassVar[str]  # SQL: the table ``pairs`` (scope_id, token) that pairs_values() fills
    lock_rows: ClassVar[str]  # SQL: the end of a query that locks the rows of ``c`` until the commit
    rows_per_statement: ClassVar[int] = 500

    def __init__(self, address: Address, engine: Engine, *, timeout_seconds: float) -> None:
        self.address = address
        self.timeout_seconds = timeout_seconds
        self._engine = engine
        self._fork = _forks.count

    @property
    def engine(self) -> Engine:
        """The pool. A forked child leaves its parent's connections alone and makes its own."""
        if self._fork != _forks.count:
            self._fork = _forks.count
            self._engine.dispose(close=False)
            self._forked()
        return self._engine

    @abstractmethod
    def _forked(self) -> None:
        """A subclass forgets here what a child must not share with its parent."""

    @abstractmethod
    def append(self, rows: Sequence[Row], claims: Collection[Claim]) -> list[int]:
        """Store in one transaction, each event once, if all the claims are held; the positions, in order."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """A write transaction, committed at the end, rolled back on an error."""

    @abstractmethod
    def listen(self) -> Listener:
        """Hear of new events sooner than by polling."""

    @abstractmethod
    def events_unlocked(self, connection: Connection) -> AbstractContextManager[None]:
        """Within a write transaction of the owner: the triggers that guard events are off. For prune and
        import only; they are on again before anybody else can see the table."""

    @abstractmethod
    def upsert(self, connection: Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows (values in the order of the table's columns), or replace those with the same key."""

    @abstractmethod
    def insert(self, connection: Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert many rows, values in the order of the table's columns."""

    @abstractmethod
    def empty(self, connection: Connection, tables: Sequence[sa.Table]) -> None:
        """Delete all rows."""

    def delete_where_in(
        self, connection: Connection, table: sa.Table, column: str, values: Sequence[Any]
    ) -> int:
        """Delete the rows whose ``column`` is among ``values``; how many they were."""
        found = 0
        for some in chunks(values, self.rows_per_statement):
            found += connection.execute(sa.delete(table).where(table.c[column].in_(some))).rowcount
        return found

    @abstractmethod
    def pairs_values(self, pairs: Sequence[tuple[str, int]]) -> dict[str, Any]:
        """The parameters of ``pairs_table``."""

    @abstractmethod
    def scan(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """The rows of a plain query with ``?`` placeholders, past SQLAlchemy: for reading many events."""

    @abstractmethod
    def events_of(self, columns: str, scope_ids: Sequence[str], upto: int) -> list[Any]:
        """The rows of the scopes' events up to that position, the events of each scope in order."""

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` on a connection without a transaction of its own."""

        def once() -> T:
            with self.engine.connect() as connection:
                return work(connection)

        return self.attempt(once)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a write transaction. It may run again after a lost connection."""

        def once() -> T:
            with self.writing() as connection:
                return work(connection)

        return self.attempt(once)

    def attempt(self, once: Callable[[], T], *, patient: bool = True) -> T:
        """Call ``once``; after a lost connection again, until ``timeout_seconds`` are over."""
        deadline = time.monotonic() + self.timeout_seconds
        while True:
            with self.border():
                try:
                    return once()
                except Exception as error:
                    if not (patient and is_connection_lost(error)) or time.monotonic() > deadline:
                        raise
            time.sleep(_RETRY_SECONDS)

    @contextmanager
    def border(self) -> Iterator[None]:
        """Foreign exceptions that we expect become ours here."""
        try:
            yield
        except Exception as error:
            ours = translate(error, self.address)
            if ours is None:
                raise
            raise ours from error

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """``values`` in slices of at most ``size``."""
    return (values[start : start + size] for start in range(0, len(values), size))


def columns(table: sa.Table) -> str:
    """The names of the table's columns, in the order in which rows hold their values."""
    return ", ".join(column.name for column in table.columns)


def on_conflict(table: sa.Table) -> str:
    """SQL that both databases understand: the end of an upsert that replaces all but the key."""
    keys = ", ".join(column.name for column in table.primary_key)
    changed = ", ".join(f"{c.name} = excluded.{c.name}" for c in table.columns if not c.primary_key)
    return f"ON CONFLICT ({keys}) DO UPDATE SET {changed}"
