"""A psycopg connection that waits for an answer no longer than it was told to.

A server that is stopped, or behind a network that swallows packets, never answers, and no timeout of the
server's own helps then. Imports psycopg, so nothing imports this before a PostgreSQL ledger is opened.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")


class BoundedConnection(psycopg.Connection[Any]):
    """``answer_seconds`` bounds each statement; None waits for ever (migrations)."""

    answer_seconds: float | None = None

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **options: Any) -> T:
        """See :meth:`psycopg.Connection.wait`."""
        if self.answer_seconds is None:
            return super().wait(gen, *arguments, **options)
        return super().wait(self._bounded(gen, self.answer_seconds), *arguments, **options)

    def _bounded(self, gen: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
        deadline = time.monotonic() + seconds
        try:
            state = next(gen)
            while True:
                ready = yield state
                if not ready and time.monotonic() > deadline:
                    self.close()  # what the server does with the statement is unknown from here on
                    raise psycopg.OperationalError(f"the server did not answer within {seconds:g} s")
                state = gen.send(ready)
        except StopIteration as finished:
            result: T = finished.value
            return result
