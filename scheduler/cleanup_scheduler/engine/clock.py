"""Time, passed in. The worker's "now" is the ledger's, because hosts disagree.

Refuses to be read from anywhere else in this package: whoever needs the time is given a :class:`Clock`.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from cleanup_scheduler.ledger import Ledger


class Clock(Protocol):
    """What the worker asks.

    ``now`` is the ledger's UTC time, for decisions; ``stamp`` this host's, as every producer writes it on its
    events; ``monotonic`` counts seconds and never goes back.
    """

    def now(self) -> datetime: ...
    def stamp(self) -> datetime: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...
    async def refresh(self) -> None: ...


class LedgerClock:
    """This host's clock, corrected by what the ledger's says (asked by :meth:`refresh`, once a pass)."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._offset = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset

    def stamp(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def refresh(self) -> None:
        """Measure the offset anew; half the round trip is counted as the ledger's way back."""
        before = datetime.now(UTC)
        there = await asyncio.to_thread(self._ledger.now)
        self._offset = there - (before + (datetime.now(UTC) - before) / 2)
