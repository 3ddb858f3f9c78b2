"""Claims on scopes: taken before anything is touched, renewed while work goes on, given back afterwards.

A claim whose lease may have run out is treated as lost before the ledger says so: a worker that was paused
stops by its own clock, and the fencing token stops whatever it still tries to write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from cleanup_scheduler.engine.batching import Batches
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
        self._grants = Batches(self._grant)
        self._releases = Batches(self._release)
        self._renewing: asyncio.Task[None] | None = None

    async def claim(self, scope_id: str) -> Held | None:
        """The claim, or None while somebody else has it."""
        asked_at = self._clock.monotonic()
        claim = await self._grants.ask(scope_id)
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
            await self._releases.ask(held.claim)
        except LedgerError as error:
            logger.warning("the claim on scope %s runs out by itself: %s", held.claim.scope_id, error)

    async def _grant(self, scope_ids: Sequence[str]) -> Sequence[Claim | None]:
        granted = await asyncio.to_thread(
            self._ledger.claim_many, scope_ids, holder=self._holder, lease_seconds=self._lease_seconds
        )
        return [granted.pop(scope_id, None) for scope_id in scope_ids]  # asked for twice: only one has it

    async def _release(self, claims: Sequence[Claim]) -> Sequence[None]:
        await asyncio.to_thread(self._ledger.release_many, claims)
        return [None] * len(claims)

    async def _renew_all(self) -> None:
        while self._held:
            await asyncio.sleep(self._lease_seconds / 3)
            await self._renew([held for held in self._held.values() if not held.lost])

    async def _renew(self, all_held: Sequence[Held]) -> None:
        asked_at = self._clock.monotonic()
        claims = [held.claim for held in all_held]
        try:
            renewed = await asyncio.to_thread(
                self._ledger.renew_many, claims, lease_seconds=self._lease_seconds
            )
        except LedgerError as error:
            logger.warning("could not renew %d claims: %s", len(claims), error)
            return
        for held in all_held:
            claim = renewed.get(held.claim.scope_id)
            if claim is None:
                held.lost = True
            else:
                held.claim, held.expires_at = claim, asked_at + self._lease_seconds
