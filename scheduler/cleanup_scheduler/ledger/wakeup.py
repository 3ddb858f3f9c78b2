"""Wake-up: a hint that there may be new events, so that a worker need not wait for its next tick.

Polling is the contract, the hint only makes it quicker: one may be lost, and one may come for nothing. On
PostgreSQL a debounced NOTIFY goes out on a connection of its own, never in an append (it would take a lock
that all commits share); on SQLite the listener asks the file whether it has changed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

CHANNEL: Final = "cleanup_scheduler_events"
_DEBOUNCE_SECONDS: Final = 0.02
_POLL_SECONDS: Final = 0.02


class Listener(Protocol):
    """One per worker, for one thread."""

    def wait(self, timeout_seconds: float) -> bool:
        """True as soon as there may be something new, False when the time is over."""

    def close(self) -> None:
        """Give its connection back."""


class SqliteListener:
    """Asks ``PRAGMA data_version``, which changes when another connection has committed."""

    def __init__(self, engine: Engine) -> None:
        self._pooled = engine.raw_connection()
        self._seen = self._version()

    def _version(self) -> int:
        connection: Any = self._pooled.driver_connection
        return int(connection.execute("PRAGMA data_version").fetchone()[0])

    def wait(self, timeout_seconds: float) -> bool:
        """See :meth:`Listener.wait`."""
        deadline = time.monotonic() + timeout_seconds
        while (version := self._version()) == self._seen:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(_POLL_SECONDS, left))
        self._seen = version
        return True

    def close(self) -> None:
        """See :meth:`Listener.close`."""
        self._pooled.close()


class PostgresqlListener:
    """LISTENs outside any transaction: inside one nothing is heard."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Any = None
        self._connect()

    def _connect(self) -> None:
        pooled = self._engine.raw_connection()
        self._connection = pooled.driver_connection
        self._connection.answer_seconds = None  # silence is what it waits through
        pooled.detach()
        self._connection.execute(f"LISTEN {CHANNEL}")

    def wait(self, timeout_seconds: float) -> bool:
        """See :meth:`Listener.wait`. After a lost connection True: something may have been missed."""
        import psycopg

        deadline = time.monotonic() + timeout_seconds
        try:
            if self._connection is None:
                self._connect()
                return True
            for _ in self._connection.notifies(timeout=timeout_seconds, stop_after=1):
                return True
        except (psycopg.Error, DBAPIError):
            self.close()
            time.sleep(max(0.0, deadline - time.monotonic()))  # the server is away: the tick's own pace
            return True
        return False

    def close(self) -> None:
        """See :meth:`Listener.close`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


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
