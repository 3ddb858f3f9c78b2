"""The sign of life of a run: without it, what its tests left is an orphan after the grace.

A thread of its own, so that a test that blocks for minutes does not look dead. Refuses to die of a ledger
that is away: the next beat tries again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from cleanup_scheduler.errors import LedgerError

if TYPE_CHECKING:
    from cleanup_scheduler.ledger import Ledger


class Heartbeat:
    """Beats at once and then every ``interval_seconds`` until :meth:`stop`."""

    def __init__(
        self,
        ledger: Callable[[], Ledger | None],
        run_id: str,
        *,
        interval_seconds: float,
        lease_seconds: float,
        info: str,
        on_error: Callable[[LedgerError], None],
    ) -> None:
        self._ledger, self._run_id, self._info = ledger, run_id, info
        self._interval_seconds, self._lease_seconds = interval_seconds, lease_seconds
        self._on_error = on_error
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cleanup-scheduler-heartbeat", daemon=True)

    def start(self) -> None:
        """The first beat is stored when this returns."""
        self._beat()
        self._thread.start()

    def stop(self, *, last: bool) -> None:
        """No further beat; ``last`` also removes the sign of life, because the run has said its end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._interval_seconds)
        if last:
            self._say(lambda ledger: ledger.unbeat("run", self._run_id))

    def _run(self) -> None:
        while not self._stop.wait(self._interval_seconds):
            self._beat()

    def _beat(self) -> None:
        self._say(
            lambda ledger: ledger.beat(
                "run", self._run_id, lease_seconds=self._lease_seconds, info=self._info
            )
        )

    def _say(self, what: Callable[[Ledger], None]) -> None:
        try:
            ledger = self._ledger()
            if ledger is not None:
                what(ledger)
        except LedgerError as error:
            self._on_error(error)
