"""Recomputes the hash chain and says where the ledger does not fit: changed, removed, inserted or cut off.

Reads in bounded memory and short statements, while others append. Refuses to repair anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from cleanup_scheduler.domain.events import LedgerPruned, Unreadable, decode
from cleanup_scheduler.ledger.chain import GENESIS
from cleanup_scheduler.ledger.ledger import Ledger
from cleanup_scheduler.ledger.records import Head

_BATCH: Final = 5000
_PROBLEMS: Final = 20
_LINE: Final = b"\n"


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
            for position, stored_hash, body, type_name, version, time in rows:
                if position != self._position + 1:
                    self._gap(position)
                found = hashlib.sha256(self._hash + body).digest()
                if found != stored_hash:
                    self._break(position, "its content or its hash was changed, or what stood before it was")
                self._position, self._hash = position, bytes(stored_hash)
                self._read(position, body, type_name, version, time)
                if self._expected is not None and position == self._expected.position:
                    self._compare(self._expected)
            self._events += len(rows)
        self._end()
        head = Head(position=self._position, hash=self._hash.hex())
        return Verification(
            events=self._events, head=head, broken=self._broken[:_PROBLEMS], unreadable=self._unreadable
        )

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
            datetime.fromisoformat(time)
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


def _batches(ledger: Ledger) -> Iterator[list[Any]]:
    bytes_ = f"{ledger.backend.hash_column}, {ledger.backend.canonical_column}"
    sql = (
        f"SELECT position, {bytes_}, type, version, time"
        " FROM events WHERE position > ? ORDER BY position LIMIT ?"
    )
    after = 0
    while rows := ledger.backend.scan(sql, (after, _BATCH)):
        yield rows
        after = rows[-1][0]


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
