"""Watches: the events of one kind since a version, with bookmarks, selectors and 410 for a version that is
forgotten.

The lines are made here; the server only writes them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType

from cleanup_scheduler.testing.lists import Choice
from cleanup_scheduler.testing.objects import encode
from cleanup_scheduler.testing.resources import Resource
from cleanup_scheduler.testing.statuses import expired
from cleanup_scheduler.testing.store import Event, Store, Stored, Table

Render = Callable[[Stored], bytes]
BOOKMARK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class WatchRequest:
    resource: Resource
    namespace: str
    chosen: Choice | None
    version: int | None
    bookmarks: bool
    initial_events: bool
    timeout_seconds: float


class Watch:
    """Follows a table from the moment it is entered; :meth:`lines` ends after the time that was asked for."""

    def __init__(
        self, store: Store, request: WatchRequest, render: Render, bookmark_seconds: float = BOOKMARK_SECONDS
    ) -> None:
        self._store = store
        self._request = request
        self._render = render
        self._bookmark_seconds = bookmark_seconds
        self._table: Table = store.table(request.resource)
        self._pending: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._expired = False

    def __enter__(self) -> Watch:
        self._start()
        self._table.listeners.append(self._follow)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._table.listeners.remove(self._follow)

    async def lines(self) -> AsyncIterator[bytes]:
        """Whole lines, as many as there are at a time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._request.timeout_seconds
        while True:
            if self._pending:
                chunk = b"".join(self._pending)
                self._pending.clear()
                yield chunk
                if self._expired:
                    return
                continue
            remaining = deadline - loop.time()
            if remaining <= 0:
                return
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), min(remaining, self._bookmark_seconds))
            except TimeoutError:
                self._bookmark()

    def _start(self) -> None:
        request = self._request
        if request.version:
            if request.version < self._table.forgotten_version:
                told = f"too old resource version: {request.version} ({self._table.forgotten_version})"
                self._pending.append(_line("ERROR", encode(expired(told).status())))
                self._expired = True
                return
            for event in self._table.history:
                if event.version > request.version:
                    self._follow(event)
            return
        for stored in self._store.within(request.resource, request.namespace):
            if request.chosen is None or request.chosen(stored):
                self._pending.append(_line("ADDED", self._render(stored)))
        if request.initial_events:
            self._bookmark(initial_events_end=True)

    def _follow(self, event: Event) -> None:
        """Turn an event into what this watch sees of it: entering or leaving a selection is ADDED or
        DELETED.
        """
        request = self._request
        if request.namespace and event.stored.namespace != request.namespace:
            return
        kind: str = event.type
        if request.chosen is not None:
            was = event.previous is not None and request.chosen(event.previous)
            chosen = request.chosen(event.stored) and event.type != "DELETED"
            if not was and not chosen:
                return
            kind = "MODIFIED" if was and chosen else "ADDED" if chosen else "DELETED"
        self._pending.append(_line(kind, self._render(event.stored)))
        self._wake.set()

    def _bookmark(self, *, initial_events_end: bool = False) -> None:
        if not self._request.bookmarks:
            return
        resource = self._request.resource
        meta: dict[str, object] = {"resourceVersion": str(self._store.version), "creationTimestamp": None}
        if initial_events_end:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        body = encode({"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta})
        self._pending.append(_line("BOOKMARK", body))


def _line(kind: str, obj: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + obj + b"}\n"
