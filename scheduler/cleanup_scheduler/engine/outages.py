"""When the cluster or the ledger is out of reach: growing pauses and a line for each, no spinning."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from cleanup_scheduler.domain.backoff import retry_delay
from cleanup_scheduler.settings import Settings

logger = logging.getLogger("cleanup_scheduler.engine")


class Outages:
    """Says when to try again. ``monotonic`` counts seconds; ``why`` is empty while all is well."""

    def __init__(self, settings: Settings, monotonic: Callable[[], float]) -> None:
        self._settings, self._monotonic = settings, monotonic
        self._in_a_row = 0
        self._not_before = float("-inf")
        self.why = ""

    @property
    def over(self) -> bool:
        """Whether it is time to try."""
        return self._monotonic() >= self._not_before

    def happened(self, why: str, *, retry_after_seconds: float | None = None) -> float:
        """One more; the pause until the next attempt, in seconds."""
        self._in_a_row += 1
        self.why = why
        pause = retry_delay(
            self._in_a_row,
            first_seconds=self._settings.backoff_first_seconds,
            max_seconds=self._settings.backoff_max_seconds,
            jitter=random.random(),  # noqa: S311 - spreads retries, guards nothing
            floor_seconds=retry_after_seconds or 0.0,
        ).total_seconds()
        self._not_before = self._monotonic() + pause
        logger.warning("%s; trying again in %.1f s", why, pause)
        return pause

    def ended(self, who: str) -> None:
        """It answers again."""
        if self._in_a_row:
            logger.info("%s answers again", who)
        self._in_a_row = 0
        self.why = ""

    def __str__(self) -> str:
        """What is wrong and when it is tried again, for people; empty while all is well."""
        left = max(0.0, self._not_before - self._monotonic())
        return f"{self.why}; trying again in {left:.0f} s" if self.why else ""
