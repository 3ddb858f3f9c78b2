"""The border: a driver's exception goes in, one of ours comes out, or nothing when it is not expected.

Every error that a person can cause (wrong file, full disk, server down, wrong password) has one line that
says what and what to do. What is not listed here keeps its own type and traceback: it is a mistake of ours.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import sqlalchemy.exc

from cleanup_scheduler.errors import (
    ClaimLost,
    CleanupSchedulerError,
    EventRefused,
    LedgerNotMigrated,
    LedgerUnavailable,
    SettingsError,
)
from cleanup_scheduler.ledger.address import Address

# sqlite.org/rescode.html, primary codes
_SQLITE_UNAVAILABLE: Final[dict[int, tuple[str, str]]] = {
    5: ("is locked by another process", "see who has it open; it is tried again"),
    6: ("is locked", "see who has it open; it is tried again"),
    8: ("cannot be written", "give this user the right to write to it and to its folder"),
    10: ("cannot be read or written: disk I/O error", "look at the disk"),
    11: ("is damaged", "run `cleanup-cli doctor`; restore it from an export or move it away"),
    13: ("cannot grow: the disk is full", "make room on the disk"),
    14: ("cannot be opened", "see that its folder exists and may be written to by this user"),
    15: ("is being opened by too many processes", "it is tried again"),
}
_NOT_A_DATABASE: Final = 26
# postgresql.org/docs/current/errcodes-appendix.html
_RESTARTING: Final = ("57P01", "57P02", "57P03")
_LOCKED: Final = ("55P03", "57014", "25P03", "40001", "40P01")


def is_connection_lost(error: BaseException) -> bool:
    """The server went away or is starting: the same call may work on a new connection."""
    original = _original(error)
    state = getattr(original, "sqlstate", None)
    if isinstance(original, sqlite3.Error):
        return False
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
        return True
    if state is None:
        return type(original).__name__ in ("OperationalError", "InterfaceError") and not _refusal(original)
    return state in _RESTARTING or state.startswith("08")


def translate(error: BaseException, address: Address) -> CleanupSchedulerError | None:
    """Our error for ``error``; None when it is none that we expect."""
    original = _original(error)
    if isinstance(original, sqlite3.Error):
        return _sqlite(original, address)
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return LedgerUnavailable(
            f"the ledger {address.shown} has no free connection", hint="it is tried again"
        )
    if type(original).__module__.partition(".")[0] == "psycopg":
        return _postgresql(original, address)
    return None


def _original(error: BaseException) -> BaseException:
    if isinstance(error, sqlalchemy.exc.DBAPIError) and isinstance(error.orig, BaseException):
        return error.orig
    return error


def _sqlite(error: sqlite3.Error, address: Address) -> CleanupSchedulerError | None:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == _NOT_A_DATABASE:
        return SettingsError(
            f"{address.path} is not an SQLite database", hint="name another file or move this one away"
        )
    if code in _SQLITE_UNAVAILABLE:
        what, hint = _SQLITE_UNAVAILABLE[code]
        return LedgerUnavailable(f"the ledger {address.path} {what}: {error}", hint=hint)
    if "no such table" in str(error):
        return LedgerNotMigrated(
            f"the ledger {address.path} has no table of ours: {error}", hint="run `cleanup-scheduler migrate`"
        )
    return None


def _postgresql(error: BaseException, address: Address) -> CleanupSchedulerError | None:
    state = getattr(error, "sqlstate", None) or ""
    line = _first_line(error)
    if state == "CS001":
        return ClaimLost(line, hint="another worker acts on this scope now")
    if state in ("42P01", "42883"):
        return LedgerNotMigrated(
            f"the ledger {address.shown} has no schema yet: {line}", hint="run `cleanup-scheduler migrate`"
        )
    if state == "42501":
        return SettingsError(
            f"the ledger {address.shown} refuses: {line}", hint="give this role the right, see docs/ledger.md"
        )
    if state == "22021" or (state.startswith("22") and "encoding" in line):
        return EventRefused(f"the ledger {address.shown} cannot store this text: {line}")
    refusal = _refusal(error)
    if refusal:
        return SettingsError(f"the ledger {address.shown} cannot be opened: {line}", hint=refusal)
    if state in _LOCKED:
        return LedgerUnavailable(f"the ledger {address.shown} is locked: {line}", hint="it is tried again")
    if state.startswith(("53", "58")) or is_connection_lost(error):
        return LedgerUnavailable(
            f"the ledger {address.shown} is out of reach: {line}", hint="see that the server runs"
        )
    return None


def _refusal(error: BaseException) -> str:
    """What to do when the server answers that it does not want us; empty when it did not say so."""
    state, text = getattr(error, "sqlstate", None) or "", str(error)
    if state in ("28P01", "28000") or "authentication failed" in text or "no password supplied" in text:
        return "check user and password in ledger_url"
    if state == "3D000" or ("database" in text and "does not exist" in text):
        return "create the database, or name another in ledger_url"
    if "role" in text and "does not exist" in text:
        return "create the role, or name another in ledger_url"
    if "no pg_hba.conf entry" in text:
        return "let this host in: pg_hba.conf on the server"
    if "invalid connection option" in text or "invalid URI" in text or "invalid sslmode" in text:
        return "mend ledger_url"
    return ""


def _first_line(error: BaseException) -> str:
    """What the server said; a failed connection's text names each address tried, the last one tells."""
    text = str(getattr(getattr(error, "diag", None), "message_primary", None) or error)
    lines = [line.strip(" -") for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if "FATAL" in line or "failed:" in line]
    return (marked or lines or ["no reason given"])[0]
