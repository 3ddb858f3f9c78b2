"""Between events and the ledger's rows: refuses at the producer what could not be read back.

Times are text, ``2026-01-31T09:30:00.000001Z``: the same bytes on both databases, exact to the microsecond,
and they sort as they should.
"""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from cleanup_scheduler.domain.events import EVENT_TYPES, NewEvent, StoredEvent, Unreadable, decode, encode
from cleanup_scheduler.errors import EventRefused

MAX_AHEAD: Final = timedelta(minutes=5)  # how far two hosts' clocks may differ before we call it the future
_EVENT_ID: Final = re.compile(r"[0-9a-f]{32}")
_LABEL: Final = re.compile(r"[^\x00-\x1f\x7f\u0085\u2028\u2029\ud800-\udfff]{0,255}")


class Row(NamedTuple):
    """An event as it is stored, before the ledger gives it position and hash. ``payload`` is UTF-8 JSON."""

    event_id: str
    type: str
    version: int
    run_id: str
    scope_id: str
    time: str
    producer: str
    payload: str


@functools.lru_cache(maxsize=4096)
def _is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None


def to_text(time: datetime) -> str:
    """The stored form of a time that knows its zone."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def to_row(event: NewEvent, *, max_event_bytes: int, now: datetime) -> Row:
    """The row of a new event; raises :class:`EventRefused` with the reason."""
    what = f"event {event.type} {event.event_id!r}"
    if EVENT_TYPES.get(event.type) is not type(event.payload):
        raise EventRefused(f"{what}: {event.type!r} is not a type of event that this ledger knows")
    if not _EVENT_ID.fullmatch(event.event_id):
        raise EventRefused(f"{what}: the event id is not 32 hexadecimal digits", hint="make it with new_id()")
    for name in ("run_id", "scope_id", "producer"):
        if not _is_label(getattr(event, name)):
            raise EventRefused(f"{what}: {name} is longer than 255 or holds control characters")
    if event.time.tzinfo is None:
        raise EventRefused(f"{what}: its time {event.time} has no time zone", hint="give it in UTC")
    if event.time > now + MAX_AHEAD:
        raise EventRefused(
            f"{what}: its time {event.time} is in the future; it is {now} here", hint="set the clock right"
        )
    return Row(
        event.event_id,
        event.type,
        event.payload.VERSION,
        event.run_id,
        event.scope_id,
        to_text(event.time),
        event.producer,
        _payload(event, what, max_event_bytes),
    )


def _payload(event: NewEvent, what: str, max_event_bytes: int) -> str:
    try:
        body = encode(event.payload)
        text = body.decode("utf-8")
    except (TypeError, ValueError, OverflowError) as error:
        raise EventRefused(f"{what} cannot be encoded: {error}") from error
    if len(body) > max_event_bytes:
        raise EventRefused(
            f"{what} has {len(body)} bytes; at most {max_event_bytes} are allowed",
            hint="say less in it, or raise max_event_bytes",
        )
    return text


def to_event(row: Any) -> StoredEvent:
    """The stored event of a row ``(position, *Row)``; one that cannot be read keeps its problem instead."""
    position, event_id, type_name, version, run_id, scope_id, time_text, producer, body = row
    problem = ""
    try:
        payload = decode(type_name, version, body)
    except Unreadable as error:
        payload, problem = None, str(error)
    try:
        time = datetime.fromisoformat(time_text)
    except ValueError:
        time, payload, problem = datetime.min.replace(tzinfo=UTC), None, f"its time is {time_text!r}"
    return StoredEvent(
        position=position,
        event_id=event_id,
        time=time,
        producer=producer,
        type=type_name,
        version=version,
        payload=payload,
        run_id=run_id,
        scope_id=scope_id,
        problem=problem,
    )
