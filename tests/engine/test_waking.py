"""The daemon's ear: it hears of events, and leaves no thread behind."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest
from cleanup_scheduler.engine.waking import hints
from cleanup_scheduler.ledger import Ledger

from tests.databases import DATABASES
from tests.engine.world import until
from tests.ledger.samples import opened


def listeners() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "listener" in thread.name]


@pytest.mark.parametrize("database", DATABASES, indirect=True)
async def test_it_hears_of_each_event_and_its_thread_ends_when_nobody_listens(ledger: Ledger) -> None:
    async with aclosing(hints(ledger, pause_seconds=20)) as heard:
        for number in range(3):
            hint = asyncio.ensure_future(anext(heard))
            await asyncio.to_thread(ledger.append, opened(f"s{number}"))
            while not hint.done():  # what came before it listened is no news
                await asyncio.wait([hint], timeout=0.2)
                await asyncio.to_thread(ledger.append, opened(f"s{number}-again"))
        waiting = asyncio.ensure_future(anext(heard))
        while (await asyncio.wait([waiting], timeout=0.2))[0]:  # a last hint was under way
            waiting = asyncio.ensure_future(anext(heard))
        assert listeners()
        waiting.cancel()
        await asyncio.wait([waiting])

    async def ended() -> bool:
        return not listeners()

    await until(ended, 10)  # long before the wait would have been over
