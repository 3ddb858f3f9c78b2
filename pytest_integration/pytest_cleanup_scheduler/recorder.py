"""Appends what tests say, and never lets a test fail because the ledger is away.

What the ledger cannot take now is kept by a journal, in order, and goes in front of the next append and at
the session's end. With ``ledger_required`` the error reaches the test instead. Retries nothing by itself:
between two attempts at a ledger that is away lies a pause, so that a hundred tracked things do not wait a
hundred times.
A ledger that cannot be used at all (a wrong URL, not migrated) is said once and not asked again.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from cleanup_scheduler.domain.events import Event, NewEvent
from cleanup_scheduler.errors import LedgerError, LedgerUnavailable, SettingsError
from cleanup_scheduler.ids import new_id

if TYPE_CHECKING:
    from cleanup_scheduler.ledger import Ledger


RETRY_PAUSE_SECONDS: Final = 5.0


class Journal(Protocol):
    """Where events wait for a ledger that is away. ``drain`` hands them over in their order."""

    def keep(self, events: Sequence[NewEvent]) -> None:
        """Add them at the end."""

    def drain(self, append: Callable[[Sequence[NewEvent]], object]) -> None:
        """Hand all over to ``append`` and forget them once it returned."""

    def __len__(self) -> int: ...


class MemoryJournal:
    """Waits in this process; what is left when it ends is lost, and the summary says so."""

    def __init__(self) -> None:
        self._events: list[NewEvent] = []

    def keep(self, events: Sequence[NewEvent]) -> None:
        """Add them at the end."""
        self._events.extend(events)

    def drain(self, append: Callable[[Sequence[NewEvent]], object]) -> None:
        """Hand all over; an error of ``append`` leaves them here (a repeated append stores once)."""
        if self._events:
            append(tuple(self._events))
            self._events.clear()

    def __len__(self) -> int:
        return len(self._events)


def producer_name() -> str:
    """Who appends: host and process."""
    return f"tests@{socket.gethostname()}/{os.getpid()}"


class Recorder:
    """The only way by which this package writes to the ledger. Thread-safe."""

    def __init__(
        self,
        open_ledger: Callable[[], Ledger],
        *,
        required: bool,
        on_error: Callable[[LedgerError | SettingsError], None],
        journal: Journal | None = None,
    ) -> None:
        self._open = open_ledger
        self._required = required
        self._on_error = on_error
        self._journal: Journal = MemoryJournal() if journal is None else journal
        self._ledger: Ledger | None = None
        self._not_before = 0.0
        self._unusable = False
        self._lock = threading.RLock()
        self._producer = producer_name()

    @property
    def waiting(self) -> int:
        """How many events the ledger has not taken yet."""
        return len(self._journal)

    def ledger(self) -> Ledger | None:
        """The open ledger, or None while it cannot be used (with ``ledger_required`` the error is raised)."""
        with self._lock:
            if self._ledger is None and not self._unusable and time.monotonic() >= self._not_before:
                try:
                    self._ledger = self._open()
                except (LedgerError, SettingsError) as error:
                    self._failed(error)
            return self._ledger

    def event(self, payload: Event, *, run_id: str, scope_id: str = "", event_id: str = "") -> NewEvent:
        """An event as this process makes it, now."""
        return NewEvent(
            event_id=event_id or new_id(),
            time=datetime.now(UTC),
            producer=self._producer,
            payload=payload,
            run_id=run_id,
            scope_id=scope_id,
        )

    def append(self, *events: NewEvent, at_once: bool = False) -> bool:
        """Commit the events, or give them to the journal; True once the ledger has them.

        ``at_once`` tries even during the pause. Raises what the ledger refuses for good.
        """
        with self._lock:
            if at_once:
                self._not_before = 0.0
            ledger = self.ledger() if time.monotonic() >= self._not_before else None
            if ledger is not None:
                try:
                    self._journal.drain(lambda waiting: ledger.append(*waiting))
                    if events:
                        ledger.append(*events)
                    return True
                except LedgerUnavailable as error:
                    self._failed(error)
            self._journal.keep(events)
            return False

    def _failed(self, error: LedgerError | SettingsError) -> None:
        if self._required:
            raise error
        self._unusable = not error.retryable
        self._not_before = time.monotonic() + RETRY_PAUSE_SECONDS
        self._on_error(error)

    def close(self) -> None:
        """Close the ledger; a later append opens it again."""
        with self._lock:
            if self._ledger is not None:
                self._ledger.close()
                self._ledger = None
