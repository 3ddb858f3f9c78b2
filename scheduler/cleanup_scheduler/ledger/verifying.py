"""Recomputes the hash chain and says where the ledger does not fit: changed, removed, inserted or cut off.

Reads in bounded memory and short statements, while others append. A batch that fits is checked as a whole,
each event of it; one that does not is read again and walked through event by event, to say where and why.
Refuses to repair anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from cleanup_scheduler.domain.events import LedgerPruned, Unreadable, decode
from cleanup_scheduler.ledger.chain import GENESIS
from cleanup_scheduler.ledger.folding import UNREADABLE, Decoders
from cleanup_scheduler.ledger.ledger import Ledger
from cleanup_scheduler.ledger.records import Head
from cleanup_scheduler.ledger.rows import to_time

_BATCH: Final = 2000
_PROBLEMS: Final = 20
_LINE: Final = b"\n"
_COLUMNS: Final = "position, event_id, type, version, run_id, scope_id, time, producer, payload, hash"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The event at ``position`` does not fit: ``what`` is one sentence."""

    position: int
    what: str


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """``events`` were checked up to ``head``. ``broken`` are breaks of the chain, the first 20 of them;
    ``unreadable`` are events that fit but that this program cannot read: the fold skips them."""

    events: int
    head: Head
    broken: list[Problem]
    unreadable: list[Problem]

    @property
    def intact(self) -> bool:
        """Nothing was changed, removed or cut off."""
        return not self.broken


def verify(ledger: Ledger, *, expected: Head | None = None) -> Verification:
    """Check every event. ``expected`` is a head printed earlier: the ledger must still contain it."""
    return _Walk(ledger, expected).run()


class _Walk:
    def __init__(self, ledger: Ledger, expected: Head | None) -> None:
        self._ledger = ledger
        self._expected = expected
        self._pruned = _pruned_ranges(ledger)
        self._position, self._hash, self._events = 0, GENESIS, 0
        self._broken: list[Problem] = []
        self._unreadable: list[Problem] = []

    def run(self) -> Verification:
        for rows in _batches(self._ledger):
            if not self._fits(rows):
                self._walk(rows[-1][0])
            self._events += len(rows)
        self._end()
        head = Head(position=self._position, hash=self._hash.hex())
        return Verification(
            events=self._events, head=head, broken=self._broken[:_PROBLEMS], unreadable=self._unreadable
        )

    def _fits(self, rows: Sequence[Any]) -> bool:
        """Every event of the batch follows the one before it, and can be read; the head given is not here."""
        positions, hashes = [row[0] for row in rows], [row[-1] for row in rows]
        first, last = self._position + 1, self._position + len(rows)
        if positions != list(range(first, last + 1)):
            return False
        if self._expected is not None and first <= self._expected.position <= last:
            return False
        before = [self._hash, *hashes[:-1]]
        if hashes != _links(rows, before):
            return False
        if not _all_readable(rows):
            return False
        self._position, self._hash = last, hashes[-1]
        return True

    def _walk(self, last: int) -> None:
        for position, stored_hash, body, type_name, version, time in _exactly(
            self._ledger, self._position, last
        ):
            if position != self._position + 1:
                self._gap(position)
            found = hashlib.sha256(self._hash + body).digest()
            if found != stored_hash:
                self._break(position, "its content or its hash was changed, or what stood before it was")
            self._position, self._hash = position, bytes(stored_hash)
            self._read(position, body, type_name, version, time)
            if self._expected is not None and position == self._expected.position:
                self._compare(self._expected)

    def _break(self, position: int, what: str) -> None:
        if len(self._broken) < _PROBLEMS:
            self._broken.append(Problem(position=position, what=what))

    def _gap(self, position: int) -> None:
        """Positions are missing before this one: fine when checkpoints cover them all."""
        missing = self._position + 1
        while missing < position and missing in self._pruned:
            last, self._hash = self._pruned[missing]
            missing = last + 1
        if missing != position:
            self._break(
                missing, f"the events {missing} to {position - 1} are missing and no prune removed them"
            )

    def _read(self, position: int, body: bytes, type_name: str, version: int, time: str) -> None:
        try:
            to_time(time)
            decode(type_name, version, body.split(_LINE, 8)[8])
        except (Unreadable, ValueError, TypeError, IndexError) as error:
            if len(self._unreadable) < _PROBLEMS:
                self._unreadable.append(Problem(position=position, what=str(error)))

    def _compare(self, expected: Head) -> None:
        if self._hash.hex() != expected.hash:
            self._break(
                expected.position, f"its hash is {self._hash.hex()}, the head given was {expected.hash}"
            )

    def _end(self) -> None:
        if self._expected is not None and self._position < self._expected.position:
            self._break(
                self._position + 1,
                f"the ledger ends at {self._position}, the head given stood at {self._expected.position}:"
                " its end was cut off",
            )


def _links(rows: Sequence[Any], before: Sequence[bytes]) -> list[bytes]:
    """The hashes of rows of :data:`_COLUMNS`, by their values: ``chain.link`` of ``chain.canonical``, without
    two calls an event. Text that a driver hands out can always be encoded."""
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


def _batches(ledger: Ledger) -> Iterator[list[Any]]:
    after = 0
    sql = f"SELECT {_COLUMNS} FROM events WHERE position > ? ORDER BY position LIMIT ?"
    while rows := ledger.backend.scan(sql, (after, _BATCH)):
        yield rows
        after = rows[-1][0]


def _exactly(ledger: Ledger, after: int, last: int) -> list[Any]:
    """The same events, their bytes as the database holds them, whatever somebody put there."""
    bytes_ = f"{ledger.backend.hash_column}, {ledger.backend.canonical_column}"
    where = "position > ? AND position <= ? ORDER BY position"
    return ledger.backend.scan(
        f"SELECT position, {bytes_}, type, version, time FROM events WHERE {where}", (after, last)
    )


def _pruned_ranges(ledger: Ledger) -> Mapping[int, tuple[int, bytes]]:
    """By its first position, each range that a checkpoint says was removed: its last position and hash."""
    ranges: dict[int, tuple[int, bytes]] = {}
    after = 0
    while events := ledger.read(after, run_id="", scope_id=""):
        for event in events:
            if isinstance(event.payload, LedgerPruned):
                for pruned in event.payload.ranges:
                    ranges[pruned.first] = (pruned.last, bytes.fromhex(pruned.hash))
        after = events[-1].position
    return ranges
