"""What a test process appends with: the ledger when it can be reached, else the journal beside the checkout.

A test never fails because the ledger is down. After a failure the ledger is left alone for a while, so that a
session of a thousand tests does not wait a thousand times; before it is used again the journal is drained, so
that a run's events keep their order. Opening anything is put off until there is something to append.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cleanup_scheduler.domain.events import NewEvent
from cleanup_scheduler.errors import ClaimLost, CleanupSchedulerError, EventRefused
from cleanup_scheduler.ledger.journal import Drained, Journal
from cleanup_scheduler.ledger.opening import open_ledger

if TYPE_CHECKING:
    from cleanup_scheduler.ledger.ledger import Ledger

_LEAVE_ALONE_SECONDS: Final = 15.0


class Recorder:
    """Appends for a test process; safe from any thread. ``journal_folder`` is ``.cleanup-scheduler/journal``.

    With ``required`` nothing is journalled: the ledger's error is raised. ``problem`` is the one line for the
    session's summary, empty while all is well (``error`` is the same as an exception: its type says whether
    it passes by itself); ``journalled`` counts the events that went into the journal.
    """

    def __init__(
        self,
        url: str,
        journal_folder: Path,
        *,
        timeout_seconds: float = 5.0,
        max_event_bytes: int = 1_000_000,
        required: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.journal = Journal(journal_folder, max_event_bytes=max_event_bytes)
        self.error: CleanupSchedulerError | None = None
        self.journalled = 0
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._max_event_bytes = max_event_bytes
        self._required = required
        self._clock = clock
        self._ledger: Ledger | None = None
        self._try_again_at = 0.0
        self._drained = False
        self._lock = threading.RLock()

    @property
    def problem(self) -> str:
        """The first thing that went wrong, as a line."""
        return "" if self.error is None else str(self.error)

    def append(self, *events: NewEvent) -> None:
        """Append the events to the ledger, or to the journal; durable when it returns, within the timeout.

        Raises :class:`EventRefused` when an event itself is wrong; the ledger's error when it is required;
        :class:`LedgerUnavailable` when the journal cannot be written either.
        """
        with self._lock:
            ledger = self.ledger()
            if ledger is not None:
                try:
                    ledger.append(*events)
                except (EventRefused, ClaimLost):
                    raise
                except CleanupSchedulerError as error:
                    self._failed(error)
                else:
                    return
            self.journal.add(*events)
            self._drained = False
            self.journalled += len(events)

    def ledger(self) -> Ledger | None:
        """The ledger, opened, and the journal drained into it; None while it cannot be reached."""
        with self._lock:
            if self._clock() < self._try_again_at:
                return None
            try:
                if self._ledger is None:
                    self._ledger = open_ledger(
                        self._url,
                        timeout_seconds=self._timeout_seconds,
                        max_event_bytes=self._max_event_bytes,
                    )
                if not self._drained:
                    self.journal.drain(self._ledger)
                    self._drained = True
            except CleanupSchedulerError as error:
                self._failed(error)
                return None
            return self._ledger

    def _failed(self, error: CleanupSchedulerError) -> None:
        if self._required:
            raise error
        self.error = self.error or error
        self._try_again_at = self._clock() + _LEAVE_ALONE_SECONDS

    def close(self) -> Drained:
        """At the session's end: drain the journal if the ledger is back, and close. What was drained."""
        with self._lock:
            drained = Drained()
            self._try_again_at = 0.0
            try:
                if self._ledger is None and self.journal.waiting():
                    self._ledger = open_ledger(self._url, timeout_seconds=self._timeout_seconds)
                if self._ledger is not None:
                    drained = self.journal.drain(self._ledger)
            except CleanupSchedulerError as error:
                self.error = self.error or error
            finally:
                if self._ledger is not None:
                    self._ledger.close()
                    self._ledger = None
            return drained
