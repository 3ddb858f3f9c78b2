"""An event loop in a thread of its own, for the cluster's asynchronous client.

A test may itself run inside a loop (or start and close some), so the cleaner never borrows the test's.
Started on first use; the caller waits, and a Ctrl-C while it waits cancels what it waits for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

Result = TypeVar("Result")
_END_SECONDS: Final = 10.0


class BackgroundLoop:
    """Runs coroutines one thread away."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    @property
    def started(self) -> bool:
        """Whether anything has run here."""
        return self._loop is not None

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """The coroutine's result or exception."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._running())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="cleanup-scheduler-loop", daemon=True
                )
                self._thread.start()
            return self._loop

    def close(self) -> None:
        """Cancel what still runs, stop the thread, close the loop."""
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result(timeout=_END_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=_END_SECONDS)
        self._loop.close()
        self._loop = self._thread = None


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
