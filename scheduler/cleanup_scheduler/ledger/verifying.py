"""Recomputes the hash chain and says where the ledger does not fit: changed, removed, inserted or cut off.

Reads in bounded memory and short statements, while others append. A batch that fits is checked as a whole,
each event of it, of a long ledger in several processes; one that does not is read again and walked through
event by event, to say where and why. Refuses to repair anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from cleanup_scheduler.domain.events import LedgerPruned, Unreadable, decode
from cleanup_scheduler.ledger.chain import GENESIS
from cleanup_scheduler.ledger.fitting import Verdict, fit, read_after, verdicts
from cleanup_scheduler.ledger.ledger import Ledger
from cleanup_scheduler.ledger.records import Head
from cleanup_scheduler.ledger.rows import to_time

_PROBLEMS: Final = 20
_LINE: Final = b"\n"
_FAR: Final = 2**62


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
        self._nothing_before_the_first()
        for verdict in verdicts(self._ledger, self._ledger.head().position):
            if not self._takes(verdict):
                self._check(upto=verdict.last)
        self._check(upto=_FAR)
        self._end()
        head = Head(position=self._position, hash=self._hash.hex())
        return Verification(
            events=self._events, head=head, broken=self._broken[:_PROBLEMS], unreadable=self._unreadable
        )

    def _nothing_before_the_first(self) -> None:
        sql = "SELECT position FROM events WHERE position <= 0 ORDER BY position LIMIT ?"
        for (position,) in self._ledger.backend.scan(sql, (_PROBLEMS,)):
            self._break(position, "the ledger begins at position 1: somebody put it there")

    def _takes(self, verdict: Verdict) -> bool:
        """It fits, and to what stands before it; the head given is not in it."""
        begins_here = (self._position, self._hash) == (verdict.after, verdict.before)
        if not (verdict.fits and begins_here) or self._expected_after(verdict.after, verdict.last):
            return False
        self._events += verdict.last - verdict.after
        self._position, self._hash = verdict.last, verdict.end
        return True

    def _check(self, *, upto: int) -> None:
        while rows := read_after(self._ledger, self._position, upto=upto):
            if not self._fits(rows):
                self._walk(rows[-1][0])
            self._events += len(rows)

    def _fits(self, rows: Sequence[Any]) -> bool:
        """Every event of the batch follows the one before it, and can be read; the head given is not here."""
        last = self._position + len(rows)
        if self._expected_after(self._position, last) or not fit(rows, self._position, self._hash):
            return False
        self._position, self._hash = last, bytes(rows[-1][-1])
        return True

    def _expected_after(self, after: int, last: int) -> bool:
        return self._expected is not None and after < self._expected.position <= last

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
        """Positions are missing before this one: fine when checkpoints, of just now too, cover them."""
        missing = self._skip_pruned(self._position + 1, position)
        if missing != position:
            self._pruned = _pruned_ranges(self._ledger)
            missing = self._skip_pruned(missing, position)
        if missing != position:
            self._break(
                missing, f"the events {missing} to {position - 1} are missing and no prune removed them"
            )

    def _skip_pruned(self, missing: int, position: int) -> int:
        """The first position that no checkpoint covers."""
        while missing < position and missing in self._pruned:
            last, self._hash = self._pruned[missing]
            missing = last + 1
        return missing

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
