"""Appends the worker's events, many at once: whatever its scopes append at the same time shares one commit.

Every append of a scope's work carries the claim, so the ledger itself refuses a worker that was overtaken; a
claim that is lost spoils only the appends made under it. ``append`` returns after the commit; nothing here
retries: who appends decides what a failure means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from cleanup_scheduler.domain.events import Event, NewEvent
from cleanup_scheduler.engine.batching import Batches
from cleanup_scheduler.engine.clock import Clock
from cleanup_scheduler.errors import ClaimLost, EventRefused
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger import Claim, Ledger

MAX_BATCH_EVENTS: Final = 500


class _Append(msgspec.Struct, frozen=True):
    events: tuple[NewEvent, ...]
    claim: Callable[[], Claim | None]


class Commits:
    """The one way into the ledger for all journals of a worker."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._batches = Batches(
            self._commit,
            max_weight=MAX_BATCH_EVENTS,
            weight=lambda append: len(append.events),
            each_alone=(ClaimLost, EventRefused),
        )

    async def append(self, events: tuple[NewEvent, ...], claim: Callable[[], Claim | None]) -> None:
        """Commit these, in this order and in one batch; raises what the ledger raises."""
        await self._batches.ask(_Append(events, claim))

    async def _commit(self, appends: Sequence[_Append]) -> Sequence[None]:
        events = [event for append in appends for event in append.events]
        held = (append.claim() for append in appends)
        claims = {(claim.scope_id, claim.token): claim for claim in held if claim}
        await asyncio.to_thread(self._ledger.append, *events, claims=list(claims.values()))
        return [None] * len(appends)


class Journal:
    """The way of one scope's (or run's) events into the ledger, under one claim or none."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        producer: str,
        *,
        run_id: str,
        scope_id: str = "",
        claim: Callable[[], Claim | None] = lambda: None,
        commits: Commits | None = None,
    ) -> None:
        self._commits = commits or Commits(ledger)
        self._clock, self._producer = clock, producer
        self._run_id, self._scope_id, self._claim = run_id, scope_id, claim
        self.appended = 0

    async def append(self, *payloads: Event) -> None:
        """Commit these, in this order; raises what the ledger raises, ClaimLost included.

        All or none, unless they are more than fit into one batch: then a failure leaves out the end.
        """
        events = tuple(map(self._event, payloads))
        for start in range(0, len(events), MAX_BATCH_EVENTS):
            some = events[start : start + MAX_BATCH_EVENTS]
            await self._commits.append(some, self._claim)
            self.appended += len(some)

    def _event(self, payload: Event) -> NewEvent:
        return NewEvent(
            event_id=new_id(),
            time=self._clock.stamp(),
            producer=self._producer,
            payload=payload,
            run_id=self._run_id,
            scope_id=self._scope_id,
        )
