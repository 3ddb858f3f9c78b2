"""Between events and the ledger's rows: refuses at the producer what could not be read back.

Times are text, ``2026-01-31T09:30:00.000001Z``: the same bytes on both databases, exact to the microsecond,
and they sort as they should.
"""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, NoReturn

from cleanup_scheduler.domain.events import EVENT_TYPES, NewEvent, StoredEvent, Unreadable, decode, encode
from cleanup_scheduler.errors import EventRefused

MAX_AHEAD: Final = timedelta(minutes=5)  # how far two hosts' clocks may differ before we call it the future
_EVENT_ID: Final = re.compile(r"[0-9a-f]{32}").fullmatch
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
    utc = time if time.tzinfo is UTC else time.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[:-6] + "Z"


def to_time(text: str) -> datetime:
    """The time of a stored form; raises :class:`Unreadable`, also when it does not know its zone."""
    try:
        time = datetime.fromisoformat(text)
    except (ValueError, TypeError) as error:
        raise Unreadable(f"its time is {text!r}") from error
    if time.tzinfo is None:
        raise Unreadable(f"its time is {text!r}, without a zone")
    return time


def to_row(event: NewEvent, *, max_event_bytes: int, now: datetime) -> Row:
    """The row of a new event; raises :class:`EventRefused` with the reason."""
    event_id, run_id, scope_id, producer = event.event_id, event.run_id, event.scope_id, event.producer
    payload, time = event.payload, event.time
    type_name = type(payload).__name__
    if not (
        EVENT_TYPES.get(type_name) is type(payload)
        and _EVENT_ID(event_id)
        and _is_label(run_id)
        and _is_label(scope_id)
        and _is_label(producer)
        and time.tzinfo is not None
        and time <= now + MAX_AHEAD
    ):
        _refuse(event, now)
    try:
        body = encode(payload)
        text = body.decode()
    except (TypeError, ValueError, OverflowError) as error:
        raise EventRefused(f"{_what(event)} cannot be encoded: {error}") from error
    if len(body) > max_event_bytes:
        raise EventRefused(
            f"{_what(event)} has {len(body)} bytes; at most {max_event_bytes} are allowed",
            hint="say less in it, or raise max_event_bytes",
        )
    return Row(event_id, type_name, payload.VERSION, run_id, scope_id, to_text(time), producer, text)


def _what(event: NewEvent) -> str:
    return f"event {event.type} {event.event_id!r}"


def _refuse(event: NewEvent, now: datetime) -> NoReturn:
    """Say which of the conditions an event does not meet."""
    what = _what(event)
    if EVENT_TYPES.get(event.type) is not type(event.payload):
        raise EventRefused(f"{what}: {event.type!r} is not a type of event that this ledger knows")
    if not _EVENT_ID(event.event_id):
        raise EventRefused(f"{what}: the event id is not 32 hexadecimal digits", hint="make it with new_id()")
    for name in ("run_id", "scope_id", "producer"):
        if not _is_label(getattr(event, name)):
            raise EventRefused(f"{what}: {name} is longer than 255 or holds control characters")
    if event.time.tzinfo is None:
        raise EventRefused(f"{what}: its time {event.time} has no time zone", hint="give it in UTC")
    raise EventRefused(
        f"{what}: its time {event.time} is in the future; it is {now} here", hint="set the clock right"
    )


def to_event(row: Any) -> StoredEvent:
    """The stored event of a row ``(position, *Row)``; one that cannot be read keeps its problem instead."""
    position, event_id, type_name, version, run_id, scope_id, time_text, producer, body = row
    problem = ""
    try:
        payload = decode(type_name, version, body)
    except Unreadable as error:
        payload, problem = None, str(error)
    try:
        time = to_time(time_text)
    except Unreadable as error:
        time, payload, problem = datetime.min.replace(tzinfo=UTC), None, str(error)
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
