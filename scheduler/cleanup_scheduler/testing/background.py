"""Work that goes on beside requests: tasks whose failure is told at once, and queues of things to look at
again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

_log = logging.getLogger(__name__)


def spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start a task; an exception that ends it is logged with its traceback, not kept until somebody asks."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell)
    return task


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the embedded cluster's %s failed", task.get_name(), exc_info=error)


class Queue:
    """Keys to be looked at, each once however often it is added; ``handle`` looks at one at a time."""

    def __init__(self, handle: Callable[[str], None], name: str, *, at_once: int = 50) -> None:
        self._handle = handle
        self._at_once = at_once
        self._keys: dict[str, None] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._wake = asyncio.Event()
        self._name = name
        self._task = spawn(self._run(), name)

    def add(self, key: str) -> None:
        self._keys[key] = None
        self._wake.set()

    def add_later(self, key: str, seconds: float) -> None:
        def due() -> None:
            self._timers.discard(timer)
            self.add(key)

        timer = asyncio.get_running_loop().call_later(max(seconds, 0.0), due)
        self._timers.add(timer)

    async def stop(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._task.cancel()
        await asyncio.wait([self._task])

    def _handle_safely(self, key: str) -> None:
        """One key that cannot be handled is told, and does not stop the others."""
        try:
            self._handle(key)
        except Exception:  # noqa: BLE001  (a controller goes on with the next, as Kubernetes' do)
            _log.exception("the embedded cluster's %s failed at %s", self._name, key)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._keys:
                for key in list(self._keys)[: self._at_once]:
                    del self._keys[key]
                    self._handle_safely(key)
                await asyncio.sleep(0)  # requests come first
