"""Time that all workers share under a name: each takes the next piece of it, and nobody else has that piece.

One row for each name and one short statement for each piece, so that a limit on all workers together needs no
coordinator. A piece is over when its time is over: who dies with one holds nothing. By the database's clock.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from cleanup_scheduler.ledger.backend import Backend

_QUEUE_SECONDS: Final = 60.0
_QUEUE_PIECES: Final = 100


def take(backend: Backend, name: str, seconds: float) -> float:
    """The next ``seconds`` of that name's time are the caller's; they begin after so many seconds.

    Time that is taken further ahead than any queue of workers explains was taken by a clock that has been set
    back since, and counts as free.
    """
    now = backend.now_seconds
    statement = sa.text(
        f"INSERT INTO timeshares (name, taken_until_seconds) VALUES (:name, {now} + :seconds)"
        " ON CONFLICT (name) DO UPDATE SET taken_until_seconds = :seconds + CASE"
        f" WHEN timeshares.taken_until_seconds BETWEEN {now} AND {now} + :queue"
        f" THEN timeshares.taken_until_seconds ELSE {now} END"
        f" RETURNING taken_until_seconds - {now}"
    )
    values = {"name": name, "seconds": seconds, "queue": max(_QUEUE_SECONDS, _QUEUE_PIECES * seconds)}
    until: float = backend.write(lambda connection: connection.execute(statement, values).scalar_one())
    return max(0.0, until - seconds)
