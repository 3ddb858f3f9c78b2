"""The journal: where a test's events wait, safe on the disk, while the ledger cannot be reached.

One file per process, so that writers never wait for each other. Who drains renames a file first, so that its
writer begins another; a drained event that is drained again is stored once. Nothing is ever thrown away: a
line that the ledger refuses is moved to ``refused.jsonl``.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from cleanup_scheduler.domain.events import NewEvent
from cleanup_scheduler.errors import EventRefused, LedgerUnavailable
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger.address import make_folder
from cleanup_scheduler.ledger.jsonl import line_of, new_event, read_line, write_line
from cleanup_scheduler.ledger.rows import to_row

if TYPE_CHECKING:
    from cleanup_scheduler.ledger.ledger import Ledger

REFUSED: Final = "refused.jsonl"
_WRITING: Final = ".jsonl"
_DRAINING: Final = ".draining"
_BATCH: Final = 500


class Drained(msgspec.Struct, frozen=True, kw_only=True):
    """How many events went into the ledger, and how many lines it refused (they are in ``refused.jsonl``)."""

    stored: int = 0
    refused: int = 0


class Journal:
    """The journals in ``folder``: one is written here, all of them are drained."""

    def __init__(self, folder: Path, *, max_event_bytes: int = 1_000_000) -> None:
        self.folder = folder
        self.max_event_bytes = max_event_bytes
        self._file: Path | None = None
        self._pid = os.getpid()
        self._threads = threading.Lock()

    def add(self, *events: NewEvent) -> None:
        """Write the events; they are on the disk when it returns.

        Raises :class:`EventRefused`, and :class:`LedgerUnavailable` when not even the journal can be written.
        """
        now = datetime.now(UTC)
        rows = [to_row(event, max_event_bytes=self.max_event_bytes, now=now) for event in events]
        lines = b"".join(write_line(line_of(row)) for row in rows)
        try:
            with self._threads:
                while not self._write(lines):
                    self._file = None  # somebody drains it: begin another
        except OSError as error:
            raise LedgerUnavailable(
                f"the journal in {self.folder} cannot be written: {error.strerror}",
                hint="make room on the disk, or give this user the right to write there",
            ) from error

    def _write(self, lines: bytes) -> bool:
        """False when the file has been taken away to be drained."""
        flags = os.O_WRONLY | os.O_APPEND
        if self._file is None or self._pid != os.getpid():
            make_folder(self.folder)
            self._pid = os.getpid()
            self._file = self.folder / f"{self._pid}-{new_id()}{_WRITING}"
            flags |= os.O_CREAT | os.O_EXCL
        try:
            with _locked(self._file, flags) as file:
                if not self._file.exists():
                    return False
                _append_bytes(file, lines)
        except FileNotFoundError:
            return False
        if flags & os.O_CREAT:
            _sync_folder(self.folder)
        return True

    def waiting(self) -> int:
        """How many events wait in all journals of the folder."""
        return sum(len(_lines(file)) for file in self._files())

    def _files(self) -> list[Path]:
        """The oldest first: ids of files sort by time."""
        files = [file for file in self.folder.glob("*-*") if file.suffix in (_WRITING, _DRAINING)]
        return sorted(files, key=lambda file: file.stem.rpartition("-")[2])

    def drain(self, ledger: Ledger) -> Drained:
        """Append what waits to the ledger. Raises :class:`LedgerUnavailable`; what was not stored stays."""
        stored = refused = 0
        for file in self._files():
            try:
                aside = _set_aside(file)
                with _locked(aside, os.O_RDWR, wait=False):
                    if not aside.exists():
                        continue
                    lines = _lines(aside)
                    bad = _append(ledger, lines)
                    self._keep(bad)
                    aside.unlink()
            except (FileNotFoundError, BlockingIOError):
                continue  # another process drains it
            stored += len(lines) - len(bad)
            refused += len(bad)
        return Drained(stored=stored, refused=refused)

    def _keep(self, refused: list[bytes]) -> None:
        if refused:
            with _locked(self.folder / REFUSED, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
                _append_bytes(file, b"".join(refused))


def _append(ledger: Ledger, lines: Sequence[bytes]) -> list[bytes]:
    """Append the events of the lines; those lines that hold none, or one that the ledger refuses."""
    refused, good = [], []
    for line in lines:
        try:
            good.append((line, new_event(read_line(line))))
        except EventRefused:
            refused.append(line)
    for start in range(0, len(good), _BATCH):
        some = good[start : start + _BATCH]
        try:
            ledger.append(*(event for _, event in some))
        except EventRefused:
            refused += [line for line, event in some if not _accepts(ledger, event)]
    return refused


def _accepts(ledger: Ledger, event: NewEvent) -> bool:
    try:
        ledger.append(event)
    except EventRefused:
        return False
    return True


def _set_aside(file: Path) -> Path:
    """Rename the file, so that its writer begins another one."""
    if file.suffix == _DRAINING:
        return file
    with _locked(file, os.O_RDWR):
        return file.rename(file.with_suffix(_DRAINING))


def _lines(file: Path) -> list[bytes]:
    """The lines that were written to their end: a torn one was never acknowledged."""
    try:
        return [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    except FileNotFoundError:
        return []


@contextmanager
def _locked(path: Path, flags: int, *, wait: bool = True) -> Iterator[int]:
    file = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield file
    finally:
        os.close(file)


def _append_bytes(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]
    os.fsync(file)


def _sync_folder(folder: Path) -> None:
    """The new name is on the disk too."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
