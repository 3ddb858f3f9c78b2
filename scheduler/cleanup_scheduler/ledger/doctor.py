"""Looks at a ledger and its surroundings and says what is well, what may bite later, and what is wrong.

Each check is one finding with its own words; one that fails does not stop the others. Changes nothing.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from cleanup_scheduler.errors import CleanupSchedulerError
from cleanup_scheduler.ledger.address import file_system_of
from cleanup_scheduler.ledger.journal import REFUSED, Journal
from cleanup_scheduler.ledger.ledger import Ledger
from cleanup_scheduler.ledger.opening import open_ledger

_WAL_BYTES: Final = 64 * 1024 * 1024
_SKEW_SECONDS: Final = 5.0
_OLDEST_SERVER: Final = 150000
_TRIGGERS: Final = {
    "sqlite": {"events_no_delete", "events_no_update", "events_only_append"},
    "postgresql": {"events_no_change", "events_order"},
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """``state`` is ``ok``, ``warning`` (works, may bite later) or ``problem``; ``hint`` says what to do."""

    check: str
    state: Literal["ok", "warning", "problem"]
    detail: str
    hint: str = ""


def examine(url: str, journal_folder: Path, *, timeout_seconds: float = 5.0) -> list[Finding]:
    """Every finding, in a fixed order. An SQLite ledger that is not there yet is made, as first use does."""
    findings = list(_journal(journal_folder))
    try:
        ledger = open_ledger(url, timeout_seconds=timeout_seconds)
    except CleanupSchedulerError as error:
        return [Finding(check="open", state="problem", detail=error.message, hint=error.hint), *findings]
    with ledger:
        own = _SQLITE if ledger.backend.address.dialect == "sqlite" else _POSTGRESQL
        found = [_one(check, ledger) for check in (_schema, _triggers, _clock, _fold, *own)]
    return [*found, *findings]


def _one(check: Callable[[Ledger], Finding], ledger: Ledger) -> Finding:
    try:
        return check(ledger)
    except CleanupSchedulerError as error:
        return Finding(
            check=check.__name__.strip("_"), state="problem", detail=error.message, hint=error.hint
        )


def _journal(folder: Path) -> Iterator[Finding]:
    waiting = Journal(folder).waiting()
    refused = folder / REFUSED
    if refused.exists():
        yield Finding(
            check="journal",
            state="problem",
            detail=f"the ledger refused lines of a journal; they are in {refused}",
            hint="read them, mend them and run `cleanup-cli ledger import`, or remove the file",
        )
    elif waiting:
        yield Finding(
            check="journal",
            state="warning",
            detail=f"{waiting} events wait in {folder} for the ledger",
            hint="run `cleanup-cli ledger import`",
        )
    else:
        yield Finding(check="journal", state="ok", detail="no event waits in a journal")


def _ask(ledger: Ledger, sql: str) -> Any:
    return ledger.backend.read(lambda connection: connection.execute(sa.text(sql)).scalar())


def _schema(ledger: Ledger) -> Finding:
    revision = _ask(ledger, "SELECT version_num FROM alembic_version")
    head = ledger.head().position
    return Finding(
        check="schema", state="ok", detail=f"revision {revision}, {head} events, ledger {ledger.ledger_id}"
    )


def _triggers(ledger: Ledger) -> Finding:
    def found(connection: Connection) -> set[str]:
        sql = (
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events'"
            if connection.dialect.name == "sqlite"
            else "SELECT tgname FROM pg_trigger WHERE tgrelid = 'events'::regclass AND tgenabled <> 'D'"
        )
        return {row[0] for row in connection.execute(sa.text(sql))}

    missing = _TRIGGERS[ledger.backend.address.dialect] - ledger.backend.read(found)
    if missing:
        return Finding(
            check="triggers",
            state="problem",
            detail=f"switched off or removed: {', '.join(sorted(missing))}; events can be changed",
            hint="find out who did it, run `cleanup-cli verify`, make them again (migrations/versions)",
        )
    return Finding(check="triggers", state="ok", detail="events cannot be changed or removed")


def _clock(ledger: Ledger) -> Finding:
    before = datetime.now(UTC)
    there = ledger.now()
    after = datetime.now(UTC)
    skew = max((before - there).total_seconds(), (there - after).total_seconds(), 0.0)
    detail = f"the database's clock and this host's differ by {skew:.1f} s"
    if skew > _SKEW_SECONDS:
        return Finding(check="clock", state="warning", detail=detail, hint="set the clocks by NTP")
    return Finding(check="clock", state="ok", detail=detail)


def _fold(ledger: Ledger) -> Finding:
    folded, head = _ask(ledger, "SELECT position FROM fold"), ledger.head().position
    if folded > head:
        return Finding(
            check="state",
            state="problem",
            detail=f"the state knows {folded} events, the ledger ends at {head}: its end was cut off",
            hint="restore the ledger, or run `cleanup-cli ledger rebuild`",
        )
    return Finding(check="state", state="ok", detail=f"folded up to {folded} of {head}")


def _file_system(ledger: Ledger) -> Finding:
    path = ledger.backend.address.path
    kind = file_system_of(path) or "unknown to this system"
    usage = os.statvfs(path.parent)
    free = usage.f_bavail * usage.f_frsize
    detail = f"{path} on {kind}, {free // 1_000_000} MB free"
    if free < 100_000_000:
        return Finding(check="file system", state="warning", detail=detail, hint="make room on the disk")
    return Finding(check="file system", state="ok", detail=detail)


def _sqlite_version(_: Ledger) -> Finding:
    version = sqlite3.sqlite_version
    if (3, 7, 0) <= sqlite3.sqlite_version_info <= (3, 51, 2):
        return Finding(
            check="SQLite",
            state="warning",
            detail=f"version {version}: 3.7.0 to 3.51.2 can, very rarely, damage a WAL database that several"
            " connections write to (sqlite.org/wal.html#walresetbug)",
            hint="use a Python with a newer SQLite, or PostgreSQL",
        )
    return Finding(check="SQLite", state="ok", detail=f"version {version}")


def _wal(ledger: Ledger) -> Finding:
    path = ledger.backend.address.path
    mode = _ask(ledger, "PRAGMA journal_mode")
    wal = path.with_name(path.name + "-wal")
    size = wal.stat().st_size if wal.exists() else 0
    if mode != "wal":
        return Finding(
            check="WAL",
            state="problem",
            detail=f"journal_mode is {mode}; readers and writers block each other",
            hint=f"sqlite3 {path} 'PRAGMA journal_mode = WAL'",
        )
    if size > _WAL_BYTES:
        return Finding(
            check="WAL",
            state="warning",
            detail=f"the WAL has {size // 1_000_000} MB: some process keeps a read transaction open",
            hint=f"find it (fuser {path}) and end it",
        )
    return Finding(check="WAL", state="ok", detail=f"{size} bytes")


def _integrity(ledger: Ledger) -> Finding:
    found = _ask(ledger, "PRAGMA quick_check(1)")
    if found != "ok":
        return Finding(
            check="integrity",
            state="problem",
            detail=f"the file is damaged: {found}",
            hint="export what can be read (`cleanup-cli ledger export`) and import it into a new ledger",
        )
    return Finding(check="integrity", state="ok", detail="the file's structure is sound")


def _server(ledger: Ledger) -> Finding:
    number = int(_ask(ledger, "SHOW server_version_num"))
    detail = f"PostgreSQL {_ask(ledger, 'SHOW server_version')}"
    if number < _OLDEST_SERVER:
        return Finding(check="server", state="warning", detail=detail, hint="15 is the oldest one tested")
    return Finding(check="server", state="ok", detail=detail)


def _durability(ledger: Ledger) -> Finding:
    settings = ("fsync", "synchronous_commit", "full_page_writes")
    off = [name for name in settings if _ask(ledger, f"SHOW {name}") in ("off", "local")]
    if off:
        return Finding(
            check="durability",
            state="problem",
            detail=f"{', '.join(off)} is off: an acknowledged event can be lost",
            hint="switch it on in the server's settings",
        )
    return Finding(check="durability", state="ok", detail="commits are on the disk when they return")


def _encoding(ledger: Ledger) -> Finding:
    encoding = _ask(ledger, "SHOW server_encoding")
    state: Literal["ok", "problem"] = "ok" if encoding == "UTF8" else "problem"
    return Finding(check="encoding", state=state, detail=str(encoding))


def _rights(ledger: Ledger) -> Finding:
    user = _ask(ledger, "SELECT current_user")
    may = {
        right: _ask(ledger, f"SELECT has_table_privilege('events', '{right}')")
        for right in ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
    }
    if not may["INSERT"]:
        return Finding(
            check="rights",
            state="warning",
            detail=f"{user} cannot append: reports only",
            hint="GRANT cleanup_producer or cleanup_worker to it, see docs/ledger.md",
        )
    more = [right for right in ("UPDATE", "DELETE", "TRUNCATE") if may[right]]
    if more:
        return Finding(
            check="rights",
            state="warning",
            detail=f"{user} has {', '.join(more)} on events; only the triggers keep it from changing them",
            hint="use roles of docs/ledger.md for the processes",
        )
    return Finding(check="rights", state="ok", detail=f"{user} can append and cannot change")


def _idle(ledger: Ledger) -> Finding:
    sql = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'idle in transaction' AND now() - state_change > interval '10 seconds'"
    )
    idle = int(_ask(ledger, sql))
    if idle:
        return Finding(
            check="sessions",
            state="warning",
            detail=f"{idle} sessions sit idle in a transaction",
            hint="set idle_in_transaction_session_timeout for those clients",
        )
    return Finding(check="sessions", state="ok", detail="none sits idle in a transaction")


_SQLITE: Final = (_file_system, _sqlite_version, _wal, _integrity)
_POSTGRESQL: Final = (_server, _encoding, _durability, _rights, _idle)
