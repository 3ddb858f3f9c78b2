"""Does a stretch of the ledger fit: positions without a gap, every hash right, every event readable?

Of a long ledger the stretches are looked at by several processes at once, which the stored hashes allow:
each is checked from the hash stored before it, and whoever puts the verdicts together must see that this is
the hash at which the stretch before ended. Says yes or no; where and why not is found by walking through.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from cleanup_scheduler.ledger.chain import GENESIS
from cleanup_scheduler.ledger.folding import UNREADABLE, Decoders
from cleanup_scheduler.ledger.ledger import Ledger
from cleanup_scheduler.ledger.stretching import Stretch, divide, in_processes

COLUMNS: Final = "position, event_id, type, version, run_id, scope_id, time, producer, payload, hash"
BATCH: Final = 1000
WORTH_IT: Final = 200_000  # events: a process takes as much of a processor to start as 100,000 do


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """On the events after position ``after`` up to ``last``. ``fits`` holds if ``before`` is the hash at
    ``after``; ``end`` is the hash at ``last``."""

    after: int
    last: int
    fits: bool = False
    before: bytes = b""
    end: bytes = b""


def fit(rows: Sequence[Any], after: int, before: bytes) -> bool:
    """Whether rows of :data:`COLUMNS` follow position ``after`` and its hash, one by one, and can be read."""
    if [row[0] for row in rows] != list(range(after + 1, after + 1 + len(rows))):
        return False
    hashes = [row[-1] for row in rows]
    return hashes == _links(rows, [before, *hashes[:-1]]) and _all_readable(rows)


def read_after(ledger: Ledger, after: int, *, upto: int) -> list[Any]:
    """The next rows of :data:`COLUMNS`, a batch of them."""
    sql = f"SELECT {COLUMNS} FROM events WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"
    return ledger.backend.scan(sql, (after, upto, BATCH))


def verdicts(ledger: Ledger, head: int) -> Iterator[Verdict]:
    """The verdicts on all events up to position ``head``, in order; none on a ledger that is not worth it."""
    if head >= WORTH_IT:
        yield from in_processes(ledger, check, divide(0, head))


def check(ledger: Ledger, stretch: Stretch) -> Verdict:
    """Whether the stretch fits."""
    doubtful = Verdict(after=stretch.after, last=stretch.last)
    before = GENESIS
    if stretch.after:
        stored = ledger.backend.scan("SELECT hash FROM events WHERE position = ?", (stretch.after,))
        if not stored:
            return doubtful
        before = bytes(stored[0][0])
    after, end = stretch.after, before
    while after < stretch.last:
        rows = read_after(ledger, after, upto=stretch.last)
        if not rows or not fit(rows, after, end):
            return doubtful
        after, end = rows[-1][0], bytes(rows[-1][-1])
    return msgspec.structs.replace(doubtful, fits=True, before=before, end=end)


def _links(rows: Sequence[Any], before: Sequence[bytes]) -> list[bytes]:
    """The hashes of the rows, by their values: ``chain.link`` of ``chain.canonical``, without two calls an
    event. Text that a driver hands out can always be encoded."""
    return [
        hashlib.sha256(
            previous
            + f"{position}\n{id_}\n{type_}\n{version}\n{run}\n{scope}\n{time}\n{producer}\n{payload}".encode()
        ).digest()
        for (position, id_, type_, version, run, scope, time, producer, payload, _), previous in zip(
            rows, before, strict=True
        )
    ]


def _all_readable(rows: Sequence[Any]) -> bool:
    decoders, read_time = Decoders(), datetime.fromisoformat
    try:
        for row in rows:
            decoders[row[2], row[3]](row[8])
        return None not in [read_time(row[6]).tzinfo for row in rows]
    except UNREADABLE:
        return False
