"""Wake-up: a hint that there may be new events, so that a worker need not wait for its next tick.

Polling is the contract, the hint only makes it quicker: one may be lost, and one may come for nothing. On
PostgreSQL a debounced NOTIFY goes out on a connection of its own, never in an append (it would take a lock
that all commits share); on SQLite the listener asks the file whether it has changed.
"""

from __future__ import annotations

import os
import select
import sqlite3
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, Protocol

from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection

CHANNEL: Final = "cleanup_scheduler_events"
_DEBOUNCE_SECONDS: Final = 0.02
_POLL_SECONDS: Final = 0.03
_NEWEST: Final = "SELECT COALESCE(MAX(position), 0) FROM events"


class Listener(Protocol):
    """One per worker. One thread waits; any other may close it, which ends the wait at once."""

    def wait(self, timeout_seconds: float) -> bool:
        """True as soon as there may be something new, also since the last call; False when the time is over
        or the listener is closed. When the database cannot be asked, True after the whole time: look."""

    def close(self) -> None:
        """Give its connection back."""


class _Sleep:
    """A sleep that another thread can end for good, and that costs no processor while it lasts."""

    def __init__(self) -> None:
        self.over = False
        self._end, self._ender = os.pipe()

    def until(self, deadline: float, *files: int) -> bool:
        """True as soon as one of the files can be read or the sleep is ended, False at the deadline."""
        poll = select.poll()
        for file in (self._end, *files):
            poll.register(file, select.POLLIN)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))

    def end(self) -> None:
        """Every sleep is over from now on."""
        self.over = True
        os.write(self._ender, b".")

    def close(self) -> None:
        """Nobody sleeps here any more."""
        os.close(self._end)
        os.close(self._ender)


class _Listener(ABC):
    """What both have in common: one waits, another may close."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sleep, self._waiting = _Sleep(), threading.Lock()
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def wait(self, timeout_seconds: float) -> bool:
        """See :meth:`Listener.wait`."""
        deadline = time.monotonic() + timeout_seconds
        with self._waiting:
            if self._sleep.over:
                return False
            try:
                return self._hear(deadline)
            except _trouble():
                self._disconnect()
            self._sleep.until(deadline)  # the database is away: the tick's own pace
            return not self._sleep.over

    def close(self) -> None:
        """See :meth:`Listener.close`."""
        if not self._sleep.over:
            self._sleep.end()
            with self._waiting:
                self._disconnect()
                self._sleep.close()

    @abstractmethod
    def _connect(self) -> None:
        """Begin to listen."""

    @abstractmethod
    def _hear(self, deadline: float) -> bool:
        """Wait for something new; the driver's errors go up."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Give the connection back, if there is one."""


class SqliteListener(_Listener):
    """Asks ``PRAGMA data_version``, which changes when another connection has committed (some microseconds),
    and only then for the newest event: heartbeats and claims wake nobody."""

    _pooled: PoolProxiedConnection | None = None

    def _connect(self) -> None:
        self._pooled = self._engine.raw_connection()
        self._version, self._position = self._ask("PRAGMA data_version"), self._ask(_NEWEST)

    def _ask(self, sql: str) -> int:
        assert self._pooled is not None  # noqa: S101 - connected before
        connection: Any = self._pooled.driver_connection
        return int(connection.execute(sql).fetchone()[0])

    def _hear(self, deadline: float) -> bool:
        if self._pooled is None:
            self._connect()
            return True  # something may have been missed
        while not self._sleep.over:
            if self._has_grown():
                return True
            now = time.monotonic()
            if now >= deadline:
                return False
            self._sleep.until(min(now + _POLL_SECONDS, deadline))
        return False

    def _has_grown(self) -> bool:
        version = self._ask("PRAGMA data_version")
        if version == self._version:
            return False
        before, self._version = self._position, version
        self._position = self._ask(_NEWEST)
        return self._position != before

    def _disconnect(self) -> None:
        if self._pooled is not None:
            self._pooled.close()
            self._pooled = None


class PostgresqlListener(_Listener):
    """LISTENs outside any transaction (inside one nothing is heard), and sleeps until the socket speaks."""

    _connection: Any = None

    def _connect(self) -> None:
        pooled = self._engine.raw_connection()
        self._connection = pooled.driver_connection
        pooled.detach()
        self._connection.execute(f"LISTEN {CHANNEL}")
        self._connection.answer_seconds = None  # silence is what it waits through

    def _hear(self, deadline: float) -> bool:
        if self._connection is None:
            self._connect()
            return True  # something may have been missed
        while not self._sleep.over:
            if list(self._connection.notifies(timeout=0)):
                return True
            if not self._sleep.until(deadline, self._connection.fileno()):
                return False
        return False

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _trouble() -> tuple[type[Exception], ...]:
    """What a database that cannot be asked raises. A driver that is not loaded raises nothing."""
    psycopg = sys.modules.get("psycopg")
    return (sqlite3.Error, SQLAlchemyError, *((psycopg.Error,) if psycopg else ()))


class Hints:
    """Sends hints from a thread of its own, at most one in 20 ms; the thread comes with the first hint."""

    def __init__(self, send: Callable[[], None]) -> None:
        self._send = send
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def give(self) -> None:
        """Something was appended."""
        if self._thread is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._wanted, self._closing = threading.Event(), threading.Event()
            self._thread = threading.Thread(target=self._run, name="cleanup-scheduler-hints", daemon=True)
            self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._closing.is_set():
                return
            self._send()
            self._closing.wait(_DEBOUNCE_SECONDS)

    def close(self) -> None:
        """Send what is still to be sent, and end the thread."""
        if self._thread is None or self._pid != os.getpid():
            return
        pending = self._wanted.is_set()
        self._closing.set()
        self._wanted.set()
        self._thread.join()
        self._thread = None
        if pending:
            self._send()
