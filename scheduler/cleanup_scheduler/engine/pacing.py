"""How many requests a second go to the cluster: so many of this worker, and so many of all workers together.

Both are kept by spacing requests out in time, so that nothing is saved up for a burst. What all share is the
ledger's time: a worker takes a quarter of a second of it and sends what fits. Refuses to go faster when the
ledger is out of reach: then each worker keeps to its share of what was agreed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final

from cleanup_scheduler.cluster import Pace, current_cluster
from cleanup_scheduler.engine.clock import Clock
from cleanup_scheduler.engine.outages import Outages
from cleanup_scheduler.errors import CleanupSchedulerError
from cleanup_scheduler.ledger import Ledger
from cleanup_scheduler.settings import Settings

_PIECE_SECONDS: Final = 0.25
_AGREED_SECONDS: Final = 10.0
_LEAST_PIECE_SECONDS: Final = 0.025  # no more than forty questions a second to the ledger, of all workers


class Spacing:
    """The times at which requests may go, so many a second, with at most ``at_once`` after a rest."""

    def __init__(self, per_second: float, monotonic: Callable[[], float], *, at_once: int = 1) -> None:
        self._gap_seconds = 1 / per_second
        self._slack_seconds = (max(1, at_once) - 1) * self._gap_seconds
        self._monotonic = monotonic
        self._free_at = -math.inf

    def take(self) -> float:
        """The next time is the caller's; so many seconds until then."""
        now = self._monotonic()
        at = max(self._free_at, now - self._slack_seconds)
        self._free_at = at + self._gap_seconds
        return max(0.0, at - now)


class OwnPace:
    """This worker's own limit: a token bucket that holds a quarter of a second's worth."""

    def __init__(self, per_second: float, clock: Clock) -> None:
        self._clock = clock
        self._spacing = Spacing(per_second, clock.monotonic, at_once=int(per_second * _PIECE_SECONDS))

    async def turn(self) -> None:
        """See :class:`Pace`."""
        wait_seconds = self._spacing.take()
        if wait_seconds > 0:
            await self._clock.sleep(wait_seconds)


class SharedPace:
    """The limit of all workers that serve one cluster from one ledger.

    ``take_time`` takes the next piece of the shared time and says when it begins; ``workers`` counts those
    that are alive.
    """

    def __init__(
        self,
        per_second: float,
        clock: Clock,
        outages: Outages,
        *,
        take_time: Callable[[float], Awaitable[float]],
        workers: Callable[[], Awaitable[int]],
    ) -> None:
        self._per_second, self._clock, self._outages = per_second, clock, outages
        self._take_time, self._workers = take_time, workers
        self._least = max(1, int(per_second * _LEAST_PIECE_SECONDS))
        self._most = max(1, int(per_second * _PIECE_SECONDS))
        self._piece, self._left, self._piece_ends_at = self._least, 0, -math.inf
        self._one_by_one = asyncio.Lock()
        self._waiting = 0
        # how many we are is not known yet
        self._share, self._agreed_at = Spacing(min(1.0, per_second), clock.monotonic), -math.inf

    async def turn(self) -> None:
        """See :class:`Pace`."""
        self._waiting += 1
        try:
            async with self._one_by_one:
                if self._left and self._clock.monotonic() < self._piece_ends_at:
                    self._left -= 1
                elif self._outages.over:
                    await self._next_piece()
                else:
                    await self._by_share()
        finally:
            self._waiting -= 1

    async def _next_piece(self) -> None:
        """Wait for a piece of the shared time; its first request is the caller's."""
        # used up: there was use for more; else for less
        wanted = self._piece - self._left if self._left else self._piece * 2
        self._piece = min(max(wanted, self._waiting, self._least), self._most)
        self._left = 0
        try:
            await self._agree()
            wait_seconds = await self._take_time(self._piece / self._per_second)
        except CleanupSchedulerError as error:
            self._outages.happened(f"the rate limit of all workers is kept by shares: {error}")
            await self._by_share()
            return
        self._outages.ended("the rate limit of all workers")
        ends_at = self._clock.monotonic() + wait_seconds + self._piece / self._per_second
        if wait_seconds > 0:
            await self._clock.sleep(wait_seconds)
        self._left, self._piece_ends_at = self._piece - 1, ends_at

    async def _agree(self) -> None:
        """What each may do alone when the ledger is out of reach."""
        now = self._clock.monotonic()
        if now - self._agreed_at >= _AGREED_SECONDS:
            workers = max(1, await self._workers())
            self._share, self._agreed_at = Spacing(self._per_second / workers, self._clock.monotonic), now

    async def _by_share(self) -> None:
        wait_seconds = self._share.take()
        if wait_seconds > 0:
            await self._clock.sleep(wait_seconds)


class Limits:
    """All limits that hold for one worker; none when the settings name none."""

    def __init__(self, *paces: Pace) -> None:
        self._paces = paces
        self.waiting = 0

    async def turn(self) -> None:
        """See :class:`Pace`."""
        self.waiting += 1
        try:
            for pace in self._paces:
                await pace.turn()
        finally:
            self.waiting -= 1


def limits(ledger: Ledger, settings: Settings, clock: Clock) -> Limits:
    """What the settings say; the shared limit goes by the name of the cluster."""
    cluster = current_cluster(settings).name
    paces: list[Pace] = []
    if settings.max_requests_per_second:
        paces.append(OwnPace(settings.max_requests_per_second, clock))
    if settings.max_requests_per_second_all_workers:

        async def take_time(seconds: float) -> float:
            return await asyncio.to_thread(ledger.take_time, cluster, seconds)

        async def workers() -> int:
            beats = await asyncio.to_thread(ledger.heartbeats, "worker")
            return sum(beat.alive and beat.info == cluster for beat in beats)

        outages = Outages(settings, clock.monotonic)
        per_second = settings.max_requests_per_second_all_workers
        paces.append(SharedPace(per_second, clock, outages, take_time=take_time, workers=workers))
    return Limits(*paces)
