"""A clock that stands still until it is told to move, so that delays can be asserted instead of slept."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta


class ManualClock:
    """Starts at ``start`` (default: this host's time now) and moves only by :meth:`advance`.

    ``sleep`` returns after one turn of the event loop and moves nothing: what waits for the world (a cluster)
    waits for its condition, what waits for time waits for :meth:`advance`.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime.now(UTC)
        self._seconds = 0.0

    def now(self) -> datetime:
        return self._now

    def stamp(self) -> datetime:
        """This host's time: a ledger refuses events from the future."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))

    async def refresh(self) -> None:
        """Asks nobody."""

    def advance(self, seconds: float = 0.0, *, hours: float = 0.0) -> None:
        """Let that much time pass."""
        self._now += timedelta(seconds=seconds, hours=hours)
        self._seconds += seconds + hours * 3600
