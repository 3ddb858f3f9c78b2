"""Fair queueing of processes before SQLite's one writer's lock, which is not fair itself: at saturation one
of 8 writers got a single append in 5 seconds.

Two ``flock`` files in turn: who waits holds the turnstile, so that whoever has just written must queue again.
The kernel lets go of them when a process dies. Every wait is bounded: a stopped holder stops nobody for good.
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

_FIRST_PAUSE_SECONDS: Final = 0.00005
_LONGEST_PAUSE_SECONDS: Final = 0.002


class FairQueue:
    """The place in the queue of this process; threads of it queue before that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.Lock()
        self._files: tuple[int, int] | None = None

    @contextmanager
    def turn(self, timeout_seconds: float) -> Iterator[None]:
        """Wait for this process's turn; raises :class:`LedgerUnavailable` after ``timeout_seconds``."""
        deadline = time.monotonic() + timeout_seconds
        if not self._threads.acquire(timeout=timeout_seconds):
            raise self._too_long(timeout_seconds)
        try:
            turnstile, lock = self._open()
            if not _lock(turnstile, deadline):
                raise self._too_long(timeout_seconds)
            try:
                if not _lock(lock, deadline):
                    raise self._too_long(timeout_seconds)
            finally:
                fcntl.flock(turnstile, fcntl.LOCK_UN)
            try:
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def _open(self) -> tuple[int, int]:
        if self._files is None:
            try:
                names = (self._path.with_name(self._path.name + suffix) for suffix in (".queue", ".lock"))
                turnstile, lock = (
                    os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666) for name in names
                )
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


def _lock(file: int, deadline: float) -> bool:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
        else:
            return True
