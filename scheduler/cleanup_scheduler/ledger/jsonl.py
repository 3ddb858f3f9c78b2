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
    """One event. ``payload`` is raw JSON; ``payload_text`` stands instead of it for what is no JSON on one
    line (somebody damaged it): exports keep that too."""

    event_id: str
    type: str
    version: int
    time: str
    producer: str
    payload: msgspec.Raw = msgspec.Raw(b"null")
    payload_text: str = ""
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
            self.payload_text or bytes(self.payload).decode("utf-8"),
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


def line_of(row: Row, *, position: int = 0, hash_: bytes = b"") -> Line:
    """The line of an event, which has no position yet when it goes into a journal."""
    raw = row.payload.encode("utf-8")
    fits = b"\n" not in raw and _is_json(raw)
    return Line(
        position=position,
        hash=hash_.hex(),
        event_id=row.event_id,
        type=row.type,
        version=row.version,
        time=row.time,
        producer=row.producer,
        payload=msgspec.Raw(raw if fits else b"null"),
        payload_text="" if fits else row.payload,
        run_id=row.run_id,
        scope_id=row.scope_id,
    )


def _is_json(raw: bytes) -> bool:
    try:
        msgspec.json.decode(raw, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True


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
