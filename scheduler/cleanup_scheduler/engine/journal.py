"""Appends the worker's events, many at once: coroutines that append at the same time share one commit.

Every append of a scope's work carries the claim, so the ledger itself refuses a worker that was overtaken.
``append`` returns after the commit; nothing here retries: who appends decides what a failure means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cleanup_scheduler.domain.events import Event, NewEvent
from cleanup_scheduler.engine.clock import Clock
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger import Claim, Ledger

MAX_BATCH_EVENTS = 500


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
    ) -> None:
        self._ledger, self._clock, self._producer = ledger, clock, producer
        self._run_id, self._scope_id, self._claim = run_id, scope_id, claim
        self._waiting: list[tuple[NewEvent, asyncio.Future[None]]] = []
        self._flush: asyncio.Task[None] | None = None
        self.appended = 0

    async def append(self, *payloads: Event) -> None:
        """Commit these, in this order and in one batch; raises what the ledger raises, ClaimLost included."""
        loop = asyncio.get_running_loop()
        done = [loop.create_future() for _ in payloads]
        self._waiting += zip(map(self._event, payloads), done, strict=True)
        if self._flush is None or self._flush.done():
            self._flush = loop.create_task(self._flush_all())
        results = await asyncio.gather(*done, return_exceptions=True)
        failure = next((result for result in results if isinstance(result, BaseException)), None)
        if failure is not None:
            raise failure

    def _event(self, payload: Event) -> NewEvent:
        return NewEvent(
            event_id=new_id(),
            time=self._clock.stamp(),
            producer=self._producer,
            payload=payload,
            run_id=self._run_id,
            scope_id=self._scope_id,
        )

    async def _flush_all(self) -> None:
        await asyncio.sleep(0)  # whoever is ready to append in this turn of the loop joins the batch
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH_EVENTS], self._waiting[MAX_BATCH_EVENTS:]
            try:
                events = [event for event, _ in batch]
                await asyncio.to_thread(self._ledger.append, *events, claim=self._claim())
                self.appended += len(events)
            except Exception as error:  # noqa: BLE001 - handed to everybody who waits for this batch
                _settle(batch, error)
            else:
                _settle(batch, None)


def _settle(batch: list[tuple[NewEvent, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, future in batch:
        if future.done():
            continue  # its coroutine was cancelled while the batch was on its way
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
