"""G1 and G3: what was acknowledged is stored, and stored once, whoever is killed and whenever."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from cleanup_scheduler.ledger import Ledger, migrate, open_ledger
from cleanup_scheduler.ledger.sqlite import SqliteBackend
from cleanup_scheduler.ledger.verifying import verify

from tests.databases import PostgresServer, fresh_ledger, python
from tests.ledger.conftest import PRODUCERS
from tests.ledger.samples import opened

# says an id only once its append has returned; tries again what it does not know the fate of
WRITER = """
import sys, time
from cleanup_scheduler.errors import LedgerUnavailable
from cleanup_scheduler.ledger import open_ledger
from tests.ledger.samples import opened

def stubborn(work):
    while True:
        try:
            return work()
        except LedgerUnavailable:
            time.sleep(0.05)

ledger = stubborn(lambda: open_ledger(sys.argv[1], timeout_seconds=1))
for number in range(1_000_000):
    event = opened(f"{sys.argv[2]}-{number}")
    stubborn(lambda: ledger.append(event))
    print(event.event_id, flush=True)
"""


class Writers:
    """Eight processes that append, and what they were told is stored."""

    def __init__(self, url: str) -> None:
        self.acknowledged: list[str] = []
        self._url = url
        self._listeners: list[threading.Thread] = []
        self.processes: list[subprocess.Popen[str]] = []
        for _ in range(8):
            self.start()

    def start(self) -> None:
        process = python(WRITER, self._url, str(len(self.processes)))
        listener = threading.Thread(target=self._listen, args=(process,))
        listener.start()
        self.processes.append(process)
        self._listeners.append(listener)

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.acknowledged.extend(line.strip() for line in process.stdout if line.endswith("\n"))

    def kill_one(self) -> None:
        alive = [process for process in self.processes if process.poll() is None]
        random.choice(alive).send_signal(signal.SIGKILL)  # noqa: S311 - any will do

    def wait_for(self, more: int) -> None:
        wanted = len(self.acknowledged) + more
        deadline = time.monotonic() + 60
        while len(self.acknowledged) < wanted:
            assert time.monotonic() < deadline, "the writers have come to a standstill"
            time.sleep(0.02)

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        for listener in self._listeners:
            listener.join()
        for process in self.processes:
            process.communicate()


def check(ledger: Ledger, acknowledged: list[str]) -> None:
    """Nothing lost, nothing doubled, no gap, and the chain fits."""
    stored = [event.event_id for event in ledger.follow()]
    assert set(acknowledged) - set(stored) == set()
    assert len(stored) == len(set(stored))
    assert [event.position for event in ledger.follow()] == list(range(1, len(stored) + 1))
    assert verify(ledger).intact


def test_what_sqlite_has_committed_is_on_the_disk(tmp_path: Path) -> None:
    """SQLite documentation, "PRAGMA synchronous": with WAL only FULL (2) syncs the log at each commit."""
    with fresh_ledger("sqlite", tmp_path) as url, open_ledger(url) as ledger:
        ledger.append(opened("s1"))
        assert isinstance(ledger.backend, SqliteBackend)
        for cursor in (ledger.backend._writer_cursor(), ledger.backend.engine.raw_connection().cursor()):
            assert cursor.execute("PRAGMA synchronous").fetchone() == (2,)
            assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@PRODUCERS
def test_writers_killed_at_random_lose_nothing_that_was_acknowledged(ledger_url: str) -> None:
    with open_ledger(ledger_url) as ledger:
        writers = Writers(ledger_url)
        try:
            for _ in range(8):
                writers.wait_for(60)
                writers.kill_one()
                writers.start()
            writers.wait_for(60)
        finally:
            writers.stop()
        assert len(writers.acknowledged) >= 540
        check(ledger, writers.acknowledged)


def test_a_server_stopped_under_load_loses_nothing_that_was_acknowledged() -> None:
    server = PostgresServer()
    try:
        url = server.url("postgres")
        migrate(url)
        writers = Writers(url)
        try:
            for how in (signal.SIGQUIT, signal.SIGQUIT, signal.SIGINT, signal.SIGQUIT):
                writers.wait_for(100)
                server.stop(how)
                server.start()
            writers.wait_for(100)
        finally:
            writers.stop()
        with open_ledger(url) as ledger:
            check(ledger, writers.acknowledged)
    finally:
        server.stop_for_good()


@PRODUCERS
def test_a_commit_whose_answer_was_lost_is_stored_once(ledger: Ledger) -> None:
    """What an append does when it cannot know: it is made again, with the same id."""
    event = opened("s1")
    real = ledger.backend.append
    lost: list[list[int]] = []

    def answer_lost(*arguments: object) -> list[int]:
        positions = real(*arguments)  # type: ignore[arg-type]
        if not lost:
            lost.append(positions)
            raise ConnectionError("after the commit")
        return positions

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger.backend, "append", answer_lost)
        with pytest.raises(ConnectionError):
            ledger.append(event)
        assert ledger.append(event) == [1]
    assert [one.event_id for one in ledger.read()] == [event.event_id]
