"""A worker that dies, as if killed with -9, at a point of its pass that is chosen by number.

Points are before and after every call of the ledger and every request to the API. A point is named by its
number, in the order in which they happen, or by its kind: the first one of that kind. Runs in a process of
its own, forked from one that has everything imported.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import threading
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any, Final, TypeAlias

import msgspec
from cleanup_scheduler.cluster import connect
from cleanup_scheduler.cluster.requests import Request
from cleanup_scheduler.domain.events import NewEvent
from cleanup_scheduler.engine import Worker
from cleanup_scheduler.ledger import open_ledger
from cleanup_scheduler.settings import Settings

DIED: Final = 86
Tell: TypeAlias = "Connection[list[str], list[str]]"
_LEDGER_CALLS: Final = ("append", "claim_many", "renew_many", "release_many", "archive_many")


class Points:
    """Counts, and dies at the chosen one."""

    def __init__(self, die_at: int | str) -> None:
        self._die_at, self._count, self._lock = die_at, 0, threading.Lock()
        self.kinds: dict[str, None] = {}

    def pass_by(self, kind: str) -> None:
        with self._lock:
            self._count += 1
            self.kinds[kind] = None
            if self._die_at in (self._count, kind):
                os._exit(DIED)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **named: Any) -> Any:
            kind = " ".join((name, *_what_is_said(args)))
            self.pass_by(f"before {kind}")
            try:
                return call(*args, **named)
            finally:
                self.pass_by(f"after {kind}")

        return wrapped

    def around_request(self, send: Callable[[Request], Awaitable[bytes]]) -> Callable[..., Awaitable[bytes]]:
        async def wrapped(request: Request) -> bytes:
            kind = f"{request.method} {_collection(request.path)}"
            self.pass_by(f"before {kind}")
            try:
                return await send(request)
            finally:
                self.pass_by(f"after {kind}")

        return wrapped


def _what_is_said(arguments: tuple[object, ...]) -> list[str]:
    return sorted({type(given.payload).__name__ for given in arguments if isinstance(given, NewEvent)})


def _collection(path: str) -> str:
    """The path without what differs from Job to Job."""
    return re.sub(r"/(namespaces|jobs|pods)/[^/]+", r"/\1/*", path)


def one_pass(url: str, settings: Settings, scope_ids: set[str], die_at: int | str, tell: Tell) -> None:
    """One pass over these scopes, which tells the kinds of its points; never returns when it dies."""
    points = Points(die_at)

    async def work() -> None:
        with open_ledger(url) as ledger:
            for name in _LEDGER_CALLS:
                setattr(ledger, name, points.around(name, getattr(ledger, name)))
            async with connect(settings) as cluster:
                transport = cluster._transport
                transport.send = points.around_request(transport.send)  # type: ignore[method-assign, assignment]
                await Worker(ledger, cluster, settings).run_once(scope_ids)

    asyncio.run(work())
    tell.send(list(points.kinds))


def pass_in_a_process_of_its_own(
    url: str, settings: Settings, scope_ids: set[str], die_at: int | str
) -> list[str] | None:
    """None when it died at that point; the kinds of the points that it passed when it ended before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tests.engine.dying", "cleanup_scheduler.cluster.transport", "sqlalchemy"]
    )
    short_lease = msgspec.structs.replace(settings, claim_lease_seconds=0.3)
    listen, tell = context.Pipe(duplex=False)
    with listen:
        process = context.Process(target=one_pass, args=(url, short_lease, scope_ids, die_at, tell))
        process.start()
        tell.close()
        process.join(60)
        assert process.exitcode in (0, DIED), process.exitcode
        if process.exitcode == DIED:
            return None
        kinds: list[str] = listen.recv()
        return kinds
