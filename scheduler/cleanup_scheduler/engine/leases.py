"""Claims on scopes: taken before anything is touched, renewed while work goes on, given back afterwards.

A claim whose lease may have run out is treated as lost before the ledger says so: a worker that was paused
stops by its own clock, and the fencing token stops whatever it still tries to write.
"""

from __future__ import annotations

import asyncio
import logging

from cleanup_scheduler.engine.clock import Clock
from cleanup_scheduler.errors import ClaimLost, LedgerError
from cleanup_scheduler.ledger import Claim, Ledger

logger = logging.getLogger(__name__)


class Held:
    """One claim in hand. ``claim`` is the newest grant; :meth:`check` before every act."""

    def __init__(self, claim: Claim, expires_at: float, clock: Clock) -> None:
        self.claim = claim
        self.expires_at = expires_at
        self._clock = clock
        self.lost = False

    def check(self) -> None:
        """Raise :class:`ClaimLost` when somebody else may hold the scope by now."""
        if self.lost or self._clock.monotonic() >= self.expires_at:
            self.lost = True
            raise ClaimLost(f"the claim on scope {self.claim.scope_id} ran out while it was worked on")


class Leases:
    """All claims of one worker, with one task that renews them."""

    def __init__(self, ledger: Ledger, clock: Clock, *, holder: str, lease_seconds: float) -> None:
        self._ledger, self._clock = ledger, clock
        self._holder, self._lease_seconds = holder, lease_seconds
        self._held: dict[str, Held] = {}
        self._renewing: asyncio.Task[None] | None = None

    async def claim(self, scope_id: str) -> Held | None:
        """The claim, or None while somebody else has it."""
        asked_at = self._clock.monotonic()
        claim = await asyncio.to_thread(
            self._ledger.claim, scope_id, holder=self._holder, lease_seconds=self._lease_seconds
        )
        if claim is None:
            return None
        held = Held(claim, asked_at + self._lease_seconds, self._clock)
        self._held[scope_id] = held
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew_all())
        return held

    async def release(self, held: Held) -> None:
        """Give it back; one that cannot be given back runs out by itself."""
        self._held.pop(held.claim.scope_id, None)
        if not self._held and self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        if held.lost:
            return
        try:
            await asyncio.to_thread(self._ledger.release, held.claim)
        except LedgerError as error:
            logger.warning("the claim on scope %s runs out by itself: %s", held.claim.scope_id, error)

    async def _renew_all(self) -> None:
        while self._held:
            await asyncio.sleep(self._lease_seconds / 3)
            for held in list(self._held.values()):
                await self._renew(held)

    async def _renew(self, held: Held) -> None:
        asked_at = self._clock.monotonic()
        try:
            held.claim = await asyncio.to_thread(
                self._ledger.renew, held.claim, lease_seconds=self._lease_seconds
            )
            held.expires_at = asked_at + self._lease_seconds
        except ClaimLost:
            held.lost = True
        except LedgerError as error:
            logger.warning("could not renew the claim on scope %s: %s", held.claim.scope_id, error)
