"""Fair queueing of processes before SQLite's one writer's lock, which is not fair itself: at saturation one
of 8 writers got a single append in 5 seconds.

Two ``flock`` files: who is next holds the turnstile, so that whoever has had its slice must queue again. In
a slice of some milliseconds a process may come back at once: handing over after each append would cost more
than the append. The kernel lets go of the files when a process dies. Every wait is bounded: a stopped holder
stops nobody for good.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cleanup_scheduler.errors import LedgerUnavailable

_SLICE_SECONDS: Final = 0.010
_FIRST_PAUSE_SECONDS: Final = 0.00005
_LONGEST_PAUSE_SECONDS: Final = 0.0005  # of the one who is next
_LONGEST_PAUSE_IN_QUEUE_SECONDS: Final = 0.002


class FairQueue:
    """The place in the queue of this process; threads of it queue before that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.Lock()
        self._files: tuple[int, int] | None = None
        self._slice_ends = 0.0

    @contextmanager
    def turn(self, timeout_seconds: float) -> Iterator[None]:
        """Wait for this process's turn; raises :class:`LedgerUnavailable` after ``timeout_seconds``."""
        self.enter(timeout_seconds)
        try:
            yield
        finally:
            self.leave()

    def enter(self, timeout_seconds: float) -> None:
        """Begin a turn, as :meth:`turn` does; :meth:`leave` must follow. For appends, where it counts."""
        now = time.monotonic()
        if not self._threads.acquire(timeout=timeout_seconds):
            raise self._too_long(timeout_seconds)
        try:
            turnstile, lock = self._files or self._open()
            if now > self._slice_ends or not _try(lock):
                if not self._queue(turnstile, lock, now + timeout_seconds):
                    raise self._too_long(timeout_seconds)
                self._slice_ends = time.monotonic() + _SLICE_SECONDS
        except BaseException:
            self._threads.release()
            raise

    def leave(self) -> None:
        """End the turn."""
        try:
            if self._files is not None:
                fcntl.flock(self._files[1], fcntl.LOCK_UN)
        finally:
            self._threads.release()

    @staticmethod
    def _queue(turnstile: int, lock: int, deadline: float) -> bool:
        if not _lock(turnstile, deadline, _LONGEST_PAUSE_IN_QUEUE_SECONDS):
            return False
        try:
            return _lock(lock, deadline, _LONGEST_PAUSE_SECONDS)
        finally:
            fcntl.flock(turnstile, fcntl.LOCK_UN)

    def _open(self) -> tuple[int, int]:
        try:
            names = (self._path.with_name(self._path.name + suffix) for suffix in (".queue", ".lock"))
            turnstile, lock = (os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666) for name in names)
        except OSError as error:
            raise LedgerUnavailable(
                f"the ledger {self._path} cannot be locked: {error.strerror}: {error.filename}",
                hint="give this user the right to write to its folder",
            ) from error
        self._files = turnstile, lock
        return self._files

    def _too_long(self, timeout_seconds: float) -> LedgerUnavailable:
        return LedgerUnavailable(
            f"the ledger {self._path} was busy for {timeout_seconds:g} s",
            hint="another process holds it; see who has it open",
        )

    def forget(self) -> None:
        """In a forked child: the open files are the parent's, with the parent's locks."""
        self.close()
        self._threads = threading.Lock()

    def close(self) -> None:
        """Give the files back; what is locked stays locked for whoever else has them open."""
        for file in self._files or ():
            os.close(file)
        self._files = None


def _lock(file: int, deadline: float, longest_pause_seconds: float) -> bool:
    pause = _FIRST_PAUSE_SECONDS
    while not _try(file):
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, longest_pause_seconds)
    return True


def _try(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
