"""Exponential backoff with jitter; the random number is passed in, so that a schedule can be asserted."""

from __future__ import annotations

from datetime import timedelta


def retry_delay(
    attempt: int, *, first_seconds: float, max_seconds: float, jitter: float, floor_seconds: float = 0.0
) -> timedelta:
    """How long to wait after failed attempt number ``attempt`` (from 1).

    ``jitter`` in [0, 1): the delay lies between half and all of the exponential step ("equal jitter").
    ``floor_seconds`` is what a server asked for (Retry-After); never wait less.
    """
    step = min(max_seconds, first_seconds * 2.0 ** min(attempt - 1, 62))
    return timedelta(seconds=max(floor_seconds, step * (0.5 + jitter / 2)))
