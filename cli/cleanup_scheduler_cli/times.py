"""Times as people type and read them. Everything shown is UTC, and says so."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from cleanup_scheduler.errors import UsageError

_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def parse_since(text: str, now: datetime) -> datetime:
    """``90s``, ``2h30m``, ``7d``: that long ago; or an ISO 8601 time (UTC unless it says otherwise)."""
    try:
        ago = _duration(text)
        at = now - ago if ago is not None else datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--since {text!r} is neither a duration nor a time",
            hint="write 90s, 2h30m, 7d or 2026-01-31T12:00",
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def parse_duration(option: str, text: str) -> timedelta:
    """``90s``, ``2h30m``, ``7d``."""
    try:
        duration = _duration(text)
    except OverflowError:
        duration = None
    if duration is None:
        raise UsageError(f"{option} {text!r} is no duration", hint="write 90s, 2h30m or 7d")
    return duration


def _duration(text: str) -> timedelta | None:
    if not _DURATION.fullmatch(text):
        return None
    return timedelta(seconds=sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text)))


def clock_time(at: datetime | None) -> str:
    """``2026-01-31 12:00:05 UTC``."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if at else ""


def age(at: datetime | None, now: datetime) -> str:
    """``3m ago`` or ``in 24h``; as short as kubectl's AGE column."""
    if at is None:
        return ""
    seconds = (now - at).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """``45s``, ``3m``, ``24h``, ``9d``: the largest unit of which there are at least two."""
    for unit in ("w", "d", "h", "m"):
        if round(seconds) >= 2 * _UNIT_SECONDS[unit]:
            return f"{round(seconds / _UNIT_SECONDS[unit])}{unit}"
    return f"{round(seconds)}s"
