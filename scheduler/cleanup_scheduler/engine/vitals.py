"""What the worker knows of itself: whether it lives, whether it is ready, what it is doing now.

Read by the health endpoints, SIGUSR1 and the heartbeat. Refuses to find anything out: who answers a probe
must not wait for a cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from cleanup_scheduler.engine.outages import Outages
from cleanup_scheduler.settings import Settings

_STUCK_SECONDS: Final = 300.0  # the first replay of a long ledger takes a minute or two


class Vitals:
    """Written by the daemon as it goes on. ``doing`` gives one line for people."""

    def __init__(self, settings: Settings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._stuck_after_seconds = max(_STUCK_SECONDS, 3 * settings.tick_seconds)
        self._turned_at: float | None = None
        self.ledger_outages = Outages(settings, monotonic)
        self.cluster_outages = Outages(settings, monotonic)
        self.ledger_answers = self.cluster_answers = False
        self.stopping = False
        self.doing: Callable[[], str] = lambda: "starts"

    def turn(self) -> None:
        """A tick came to its end, or found that it had to wait."""
        self._turned_at = self._monotonic()

    def stuck(self) -> str:
        """Why a new process would do better; empty when it would not."""
        if self.stopping or self._turned_at is None:
            return ""  # what is under way has its own time to end; a ledger may be away for hours
        silent = self._monotonic() - self._turned_at
        return f"no tick has ended for {silent:.0f} s" if silent > self._stuck_after_seconds else ""

    def unready(self) -> list[str]:
        """Why no work should be expected of it; empty when it is ready."""
        if self.stopping:
            return ["told to stop"]
        reasons = [str(outages) for outages in (self.ledger_outages, self.cluster_outages) if outages.why]
        if not reasons and not self.ledger_answers:
            reasons.append("the ledger has not answered yet")
        elif not reasons and not self.cluster_answers:
            reasons.append("the cluster has not answered yet")
        return reasons
