"""Hears of new events: the ledger's listener waits in a thread, and says so to the event loop.

A hint and no more: one may be lost and one may come for nothing, the tick finds everything in any case.
Refuses to complain: a ledger that cannot be reached is the tick's to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cleanup_scheduler.errors import LedgerError
from cleanup_scheduler.ledger import Ledger

if TYPE_CHECKING:
    from cleanup_scheduler.ledger.wakeup import Listener


async def hints(ledger: Ledger, *, pause_seconds: float) -> AsyncGenerator[None]:
    """One item each time there may be new events; without end. Close it (``contextlib.aclosing``).

    ``pause_seconds``: so often it is tried to reach a ledger that cannot be reached.
    """
    # a thread of its own: the default ones are few, and this one is never free
    thread = ThreadPoolExecutor(1, thread_name_prefix="cleanup-scheduler-listener")
    loop = asyncio.get_running_loop()
    listener: Listener | None = None
    try:
        while True:
            try:
                if listener is None:
                    listener = await loop.run_in_executor(thread, ledger.listen)
                if await loop.run_in_executor(thread, listener.wait, pause_seconds):
                    yield
            except LedgerError:
                await asyncio.sleep(pause_seconds)
    finally:
        if listener is not None:
            await asyncio.to_thread(listener.close)  # which ends the wait
        thread.shutdown(wait=False)
