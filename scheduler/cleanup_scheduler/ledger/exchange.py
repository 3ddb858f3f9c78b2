"""Export and import as JSON lines: from SQLite to PostgreSQL and back, the chain intact.

The first line says which ledger it is and where its head stood. An import copies positions and hashes, and
refuses a line that does not fit the chain; into a ledger that has other events it refuses altogether. A
journal's lines, which have no position, are appended as new events.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from cleanup_scheduler.domain.events import LedgerPruned, NewEvent, Unreadable, decode
from cleanup_scheduler.errors import EventRefused, UsageError
from cleanup_scheduler.ledger.chain import GENESIS, canonical, link
from cleanup_scheduler.ledger.jsonl import Line, line_of, new_event, read_line, write_line
from cleanup_scheduler.ledger.ledger import Ledger
from cleanup_scheduler.ledger.records import Head
from cleanup_scheduler.ledger.rows import Row
from cleanup_scheduler.ledger.schema import ARCHIVE, EVENTS, META

T = TypeVar("T")
_FORMAT: Final = "cleanup-scheduler ledger"
_BATCH: Final = 1000
_LOGS_AT_ONCE: Final = 20
_COLUMNS: Final = "event_id, type, version, run_id, scope_id, time, producer, payload"


class Header(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The first line of an export."""

    format: str
    version: int
    ledger_id: str
    head_position: int
    head_hash: str


class LogLine(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An archived log: ``body`` is base64 of what the database holds (zlib)."""

    archive_id: str
    run_id: str
    scope_id: str
    stored_seconds: float
    size_bytes: int
    body: str


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """``stored`` events are new, ``known`` were there already; ``logs`` are new ones of the archive."""

    stored: int = 0
    known: int = 0
    logs: int = 0


def export(ledger: Ledger, stream: BinaryIO, *, logs: bool = True) -> Head:
    """Write the ledger as it is now; returns the head that was reached."""
    head = ledger.head()
    header = Header(
        format=_FORMAT,
        version=1,
        ledger_id=ledger.ledger_id,
        head_position=head.position,
        head_hash=head.hash,
    )
    stream.write(_encode(header))
    sql = (
        f"SELECT position, hash, {_COLUMNS} FROM events"
        " WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"
    )
    after = 0
    while rows := ledger.backend.scan(sql, (after, head.position, _BATCH)):
        for position, hash_, *row in rows:
            stream.write(write_line(line_of(Row(*row), position=position, hash_=bytes(hash_))))
        after = rows[-1][0]
    for log in _logs(ledger) if logs else ():
        stream.write(_encode(log))
    return head


def _logs(ledger: Ledger) -> Iterator[LogLine]:
    after = ""
    while True:
        query = sa.select(ARCHIVE).where(ARCHIVE.c.archive_id > after).order_by(ARCHIVE.c.archive_id)
        page = query.limit(_LOGS_AT_ONCE)
        rows = ledger.backend.read(lambda connection: connection.execute(page).mappings().all())  # noqa: B023
        for row in rows:
            yield LogLine(**{**row, "body": base64.b64encode(row["body"]).decode()})
        if len(rows) < _LOGS_AT_ONCE:
            return
        after = rows[-1]["archive_id"]


def import_lines(ledger: Ledger, lines: Iterable[bytes]) -> Imported:
    """Read an export or a journal into the ledger, all or nothing.

    Raises :class:`EventRefused` naming the line that does not fit, :class:`UsageError` when this ledger has
    other events.
    """
    with ledger.backend.border(), ledger.backend.writing() as connection:
        reader = _Import(ledger, connection)
        with ledger.backend.events_unlocked(connection):
            for number, text in enumerate(lines, start=1):
                if text.strip():
                    try:
                        reader.take(text)
                    except (EventRefused, UsageError) as error:
                        raise type(error)(f"line {number}: {error.message}", hint=error.hint) from error
            reader.flush()
        reader.check_gaps()
    ledger.refresh_id()
    ledger.append(*reader.new)
    stored = reader.stored + len(reader.new)
    return Imported(stored=stored, known=reader.known, logs=reader.logs)


class _Import:
    """One import in one transaction."""

    def __init__(self, ledger: Ledger, connection: Connection) -> None:
        self._ledger, self._connection = ledger, connection
        row = connection.execute(
            sa.select(EVENTS.c.position, EVENTS.c.hash).order_by(EVENTS.c.position.desc()).limit(1)
        ).fetchone()
        self._head: int = 0 if row is None else row[0]
        self._position: int = self._head
        self._hash = GENESIS if row is None else bytes(row[1])
        self._rows: list[dict[str, Any]] = []
        self._gaps: list[tuple[int, Line]] = []
        self._pruned: dict[int, tuple[int, str]] = {}
        self.stored = self.known = self.logs = 0
        self.new: list[NewEvent] = []

    def take(self, text: bytes) -> None:
        if b'"archive_id"' in text[:20]:
            self._take_log(_decode(text, LogLine))
        elif b'"format"' in text[:20]:
            self._take_header(_decode(text, Header))
        else:
            line = read_line(text)
            if line.position:
                self._take_event(line)
            else:
                self.new.append(new_event(line))

    def _take_header(self, header: Header) -> None:
        if header.format != _FORMAT or header.version != 1:
            raise EventRefused(
                f"this is {header.format!r} version {header.version}, not {_FORMAT!r} version 1"
            )
        if self._head and header.ledger_id != self._ledger.ledger_id:
            raise UsageError(
                f"the ledger {self._ledger.url} already has events of its own; the export is of the ledger"
                f" {header.ledger_id}",
                hint="import it into an empty ledger",
            )
        self._connection.execute(
            sa.update(META).where(META.c.key == "ledger_id").values(value=header.ledger_id)
        )

    def _take_event(self, line: Line) -> None:
        if line.position <= self._head:
            self._compare(line)
            return
        if line.position <= self._position:
            raise EventRefused(f"position {line.position} comes after position {self._position}")
        row = line.row()
        if line.position == self._position + 1:
            _check(line, self._hash)
        else:
            self._gaps.append((self._position + 1, line))
        self._remember_checkpoint(row)
        self._position, self._hash = line.position, bytes.fromhex(line.hash)
        self._rows.append({**row._asdict(), "position": line.position, "hash": self._hash})
        self.stored += 1
        if len(self._rows) >= _BATCH:
            self.flush()

    def _compare(self, line: Line) -> None:
        query = sa.select(EVENTS.c.hash).where(EVENTS.c.position == line.position)
        stored = self._connection.execute(query).scalar_one_or_none()
        if stored is None or bytes(stored).hex() != line.hash:
            raise UsageError(
                f"the ledger {self._ledger.url} has another event at position {line.position}",
                hint="import it into an empty ledger",
            )
        self.known += 1

    def _remember_checkpoint(self, row: Row) -> None:
        if row.type == LedgerPruned.__name__:
            try:
                event = decode(row.type, row.version, row.payload)
            except Unreadable:
                return  # then the gap that it was to explain is refused
            assert isinstance(event, LedgerPruned)  # noqa: S101 - decode said so
            self._pruned.update({one.first: (one.last, one.hash) for one in event.ranges})

    def flush(self) -> None:
        """Store what was taken so far."""
        if self._rows:
            self._connection.execute(sa.insert(EVENTS), self._rows)
            self._rows = []

    def check_gaps(self) -> None:
        """Where positions were missing, a checkpoint must say so, and the chain must go on from it."""
        for missing, line in self._gaps:
            first, last_hash = missing, ""
            while missing < line.position and missing in self._pruned:
                last, last_hash = self._pruned[missing]
                missing = last + 1
            if missing != line.position:
                raise EventRefused(
                    f"the events {first} to {line.position - 1} are missing and no prune removed them"
                )
            _check(line, bytes.fromhex(last_hash))

    def _take_log(self, log: LogLine) -> None:
        values = {**msgspec.structs.asdict(log), "body": base64.b64decode(log.body)}
        known = sa.select(ARCHIVE.c.archive_id).where(ARCHIVE.c.archive_id == log.archive_id)
        if self._connection.execute(known).fetchone() is None:
            self._connection.execute(sa.insert(ARCHIVE), [values])
            self.logs += 1


def _check(line: Line, previous: bytes) -> None:
    row = line.row()
    found = link(previous, canonical(line.position, *row[:-1], row.payload.encode("utf-8")))
    if found.hex() != line.hash:
        raise EventRefused(
            f"the event at position {line.position} does not fit the chain: it, or one before it, was changed"
        )


def _decode(text: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EventRefused(f"this line cannot be read: {error}") from error


def _encode(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value) + b"\n"
