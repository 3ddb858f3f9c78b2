"""Events as JSON lines: the form of journals and exports. The payload's bytes are kept as they are.

A line holds one event; an exported one has its position and hash too. Refuses a line that it cannot read,
with the reason; nothing is guessed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from cleanup_scheduler.domain.events import NewEvent, Unreadable, decode
from cleanup_scheduler.errors import EventRefused
from cleanup_scheduler.ledger.rows import Row


class Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One event. ``payload`` is raw JSON."""

    event_id: str
    type: str
    version: int
    time: str
    producer: str
    payload: msgspec.Raw
    run_id: str = ""
    scope_id: str = ""
    position: int = 0
    hash: str = ""

    def row(self) -> Row:
        """As it is stored."""
        return Row(
            self.event_id,
            self.type,
            self.version,
            self.run_id,
            self.scope_id,
            self.time,
            self.producer,
            bytes(self.payload).decode("utf-8"),
        )


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Line)


def write_line(line: Line) -> bytes:
    """The line, its end included."""
    return _ENCODER.encode(line) + b"\n"


def read_line(text: bytes) -> Line:
    """The line's event; raises :class:`EventRefused` with the reason."""
    try:
        return _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EventRefused(f"this line is no event: {error}: {text[:80]!r}") from error


def line_of(row: Row) -> Line:
    """The line of an event that has no position yet."""
    return Line(
        event_id=row.event_id,
        type=row.type,
        version=row.version,
        time=row.time,
        producer=row.producer,
        payload=msgspec.Raw(row.payload.encode("utf-8")),
        run_id=row.run_id,
        scope_id=row.scope_id,
    )


def new_event(line: Line) -> NewEvent:
    """The event that a journal's line holds, upcast; raises :class:`EventRefused`."""
    try:
        return NewEvent(
            event_id=line.event_id,
            time=datetime.fromisoformat(line.time),
            producer=line.producer,
            payload=decode(line.type, line.version, bytes(line.payload)),
            run_id=line.run_id,
            scope_id=line.scope_id,
        )
    except (Unreadable, ValueError) as error:
        raise EventRefused(f"this line is no event that can be stored: {error}") from error
