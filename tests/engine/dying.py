"""A worker that dies, as if killed with -9, at a point of its pass that is chosen by number.

Points are before and after every call of the ledger and every request to the API, in the order in which they
happen. Runs in a process of its own, forked from one that has everything imported.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable
from typing import Any, Final

import msgspec
from cleanup_scheduler.cluster import connect
from cleanup_scheduler.engine import Worker
from cleanup_scheduler.ledger import open_ledger
from cleanup_scheduler.settings import Settings

DIED: Final = 86
_LEDGER_CALLS: Final = ("append", "claim", "renew", "release", "archive")


class Points:
    """Counts, and dies at the chosen one."""

    def __init__(self, die_at: int) -> None:
        self._die_at, self._count, self._lock = die_at, 0, threading.Lock()

    def pass_by(self) -> None:
        with self._lock:
            self._count += 1
            if self._count == self._die_at:
                os._exit(DIED)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **named: Any) -> Any:
            self.pass_by()
            result = call(*args, **named)
            self.pass_by()
            return result

        return wrapped

    def around_async(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def wrapped(*args: Any, **named: Any) -> Any:
            self.pass_by()
            result = await call(*args, **named)
            self.pass_by()
            return result

        return wrapped


def one_pass(url: str, settings: Settings, scope_ids: set[str], die_at: int) -> None:
    """One pass over these scopes; never returns when the point is reached."""
    points = Points(die_at)

    async def work() -> None:
        with open_ledger(url) as ledger:
            for name in _LEDGER_CALLS:
                setattr(ledger, name, points.around(getattr(ledger, name)))
            async with connect(settings) as cluster:
                transport = cluster._transport
                transport.send = points.around_async(transport.send)  # type: ignore[method-assign]
                await Worker(ledger, cluster, settings).run_once(scope_ids)

    asyncio.run(work())


def pass_in_a_process_of_its_own(url: str, settings: Settings, scope_ids: set[str], die_at: int) -> bool:
    """Whether it died at that point; False when its pass ended before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tests.engine.dying", "cleanup_scheduler.cluster.transport", "sqlalchemy"]
    )
    short_lease = msgspec.structs.replace(settings, claim_lease_seconds=0.3)
    process = context.Process(target=one_pass, args=(url, short_lease, scope_ids, die_at))
    process.start()
    process.join(60)
    assert process.exitcode in (0, DIED), process.exitcode
    return process.exitcode == DIED
