"""When the ledger cannot be reached: nothing is lost, nothing waits long, nothing is stored twice."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.errors import EventRefused, LedgerUnavailable, SettingsError
from cleanup_scheduler.ledger import Drained, Journal, Ledger, Recorder, open_ledger

from tests.databases import postgres_ledger, python, wait_until
from tests.ledger.conftest import PRODUCERS
from tests.ledger.samples import event, gone, opened, outcome, tracked

NOWHERE = "postgresql://u:secret@127.0.0.1:1/db"
WRITER = """
import sys
from pathlib import Path
from cleanup_scheduler.ledger import Journal
from tests.ledger.samples import opened
journal = Journal(Path(sys.argv[1]))
for number in range(100_000):
    one = opened(f"s{number}")
    journal.add(one)
    print(one.event_id, flush=True)
"""


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@PRODUCERS
def test_a_drained_journal_is_in_the_ledger_in_the_order_it_was_written(
    ledger: Ledger, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    said = [opened("s1"), tracked("s1"), outcome("s1"), event(e.HoldRequested(who="ü\n\u0000", why="💥"))]
    journal.add(*said[:2])
    journal.add(*said[2:])
    assert journal.waiting() == 4
    assert journal.drain(ledger) == Drained(stored=4)
    assert [one.event_id for one in ledger.read()] == [one.event_id for one in said]
    assert [one.payload for one in ledger.read()] == [one.payload for one in said]
    assert journal.waiting() == 0
    assert journal.drain(ledger) == Drained()
    assert [file.name for file in journal.folder.iterdir()] == [".gitignore"]


@PRODUCERS
def test_a_writer_whose_journal_is_drained_begins_another(ledger: Ledger, tmp_path: Path) -> None:
    journal, drainer = Journal(tmp_path), Journal(tmp_path)
    journal.add(opened("s1"))
    drainer.drain(ledger)
    journal.add(opened("s2"))
    drainer.drain(ledger)
    assert [one.scope_id for one in ledger.read()] == ["s1", "s2"]


@PRODUCERS
def test_a_journal_taken_away_just_before_its_writer_locks_it_gets_nothing_more(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, drainer = Journal(tmp_path), Journal(tmp_path)
    writer.add(opened("s1"))
    real = fcntl.flock
    drains: list[bool] = []

    def drain_first(file: int, operation: int) -> None:
        if not drains:
            drains.append(True)
            drainer.drain(ledger)
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", drain_first)
    writer.add(opened("s2"))
    assert drainer.drain(ledger) == Drained(stored=1)
    assert [one.scope_id for one in ledger.read()] == ["s1", "s2"]


@PRODUCERS
def test_draining_that_was_cut_off_is_done_again_and_stores_once(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    journal.add(*(opened(f"s{number}") for number in range(3)))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda self: (_ for _ in ()).throw(RuntimeError("killed here")))
        with pytest.raises(RuntimeError):
            journal.drain(ledger)
    assert ledger.head().position == 3
    assert Journal(tmp_path).drain(ledger) == Drained(stored=3)
    assert ledger.head().position == 3


def test_what_the_ledger_does_not_take_stays_in_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.add(opened("s1"))
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", timeout_seconds=0.2) as ledger:
        with ledger.backend.queue.turn(1), pytest.raises(LedgerUnavailable):  # type: ignore[attr-defined]
            journal.drain(ledger)
        assert journal.waiting() == 1
        assert journal.drain(ledger) == Drained(stored=1)


@PRODUCERS
def test_a_line_that_is_no_event_is_kept_aside(ledger: Ledger, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.add(opened("s1"))
    (file,) = tmp_path.glob("*.jsonl")
    good = file.read_bytes()
    torn = good[:20]
    strange = good.replace(b"ScopeOpened", b"Rained")
    late = good.replace(b'"2026-', b'"9026-')
    file.write_bytes(b"garbage\n" + good + strange + late + torn)
    assert journal.drain(ledger) == Drained(stored=1, refused=3)
    assert (tmp_path / "refused.jsonl").read_bytes() == b"garbage\n" + strange + late
    assert ledger.head().position == 1
    assert journal.drain(ledger) == Drained()


def test_a_journal_refuses_what_the_ledger_would_refuse(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_event_bytes=100)
    with pytest.raises(EventRefused, match="at most 100"):
        journal.add(event(e.HoldRequested(who="x" * 200)))
    with pytest.raises(EventRefused, match="event id"):
        journal.add(msgspec.structs.replace(opened("s"), event_id="x"))
    assert journal.waiting() == 0


def test_a_journal_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnavailable, match="cannot be made"):
        Journal(tmp_path / "file" / "journal").add(opened("s1"))


@PRODUCERS
def test_a_writer_killed_at_any_time_loses_nothing_it_was_told_is_safe(
    ledger: Ledger, tmp_path: Path
) -> None:
    writers = [python(WRITER, str(tmp_path)) for _ in range(3)]
    drained = threading.Event()
    said: list[set[str]] = [set() for _ in writers]

    def listen(number: int) -> None:
        stream = writers[number].stdout
        assert stream is not None
        said[number].update(line.strip() for line in stream if line.endswith("\n"))

    listeners = [threading.Thread(target=listen, args=(number,)) for number in range(len(writers))]
    for listener in listeners:
        listener.start()
    journal = Journal(tmp_path)
    while not drained.is_set():
        if journal.drain(ledger).stored and ledger.head().position > 300:
            drained.set()
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    for listener in listeners:
        listener.join()
    for writer in writers:
        writer.communicate()
    assert journal.drain(ledger).refused == 0
    stored = {one.event_id for one in ledger.follow()}
    acknowledged = set().union(*said)
    assert len(acknowledged) > 300
    assert acknowledged - stored == set()


def test_a_test_goes_on_when_the_ledger_is_not_there(tmp_path: Path) -> None:
    recorder = Recorder(NOWHERE, tmp_path, timeout_seconds=0.2)
    recorder.append(opened("s1"))
    recorder.append(tracked("s1"), outcome("s1"))
    assert recorder.journalled == 3
    assert "out of reach" in recorder.problem
    assert "secret" not in recorder.problem
    assert recorder.ledger() is None
    recorder.close()
    assert recorder.journal.waiting() == 3


def test_a_ledger_that_failed_is_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def refuse(url: str, **options: object) -> Ledger:
        attempts.append(url)
        raise LedgerUnavailable("down")

    monkeypatch.setattr("cleanup_scheduler.ledger.recorder.open_ledger", refuse)
    clock = Clock()
    recorder = Recorder("sqlite:///x", tmp_path, clock=clock)
    for number in range(100):
        recorder.append(opened(f"s{number}"))
    assert len(attempts) == 1
    clock.seconds += 16
    recorder.append(opened("late"))
    assert len(attempts) == 2


@PRODUCERS
def test_a_ledger_that_comes_back_gets_the_journal_first(
    ledger: Ledger, ledger_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "journal"
    earlier = Recorder(NOWHERE, folder, timeout_seconds=0.1)
    earlier.append(opened("s1"), tracked("s1"))
    earlier.close()
    recorder = Recorder(ledger_url, folder)
    recorder.append(outcome("s1"))
    assert [one.type for one in ledger.read()] == ["ScopeOpened", "ResourceTracked", "OutcomeRecorded"]
    assert (recorder.problem, recorder.journalled) == ("", 0)
    assert recorder.close() == Drained()


LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""


@contextmanager
def locked_by_another_process(file: Path) -> Iterator[None]:
    """As long as the block lasts, however long that is."""
    process = python(LOCKER, str(file))
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    try:
        yield
    finally:
        process.communicate("\n")


@pytest.mark.parametrize("options", [{"timeout_seconds": 0.3}, {}], ids=["soon", "with the real default"])
def test_a_database_locked_for_longer_than_the_bounded_wait_is_journalled_and_drained_later(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    url, clock = f"sqlite:///{tmp_path / 'ledger.db'}", Clock()
    recorder = Recorder(url, tmp_path / "journal", clock=clock, **options)
    recorder.append(opened("s1"))
    with locked_by_another_process(tmp_path / "ledger.db"):
        recorder.append(tracked("s1"))  # returns although the lock is still held
        recorder.append(outcome("s1"))
        assert recorder.journal.waiting() == 2
        assert "locked by another process" in recorder.problem
    clock.seconds += 16
    recorder.append(gone("s1"))
    assert recorder.journal.waiting() == 0
    with open_ledger(url) as ledger:
        said = [one.type for one in ledger.read()]
    assert said == ["ScopeOpened", "ResourceTracked", "OutcomeRecorded", "ResourceGone"]
    assert recorder.close() == Drained()


def test_a_ledger_that_is_still_to_be_made_is_waited_for_no_longer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    recorder = Recorder(url, tmp_path / "journal", timeout_seconds=0.3)
    empty = sqlite3.connect(tmp_path / "ledger.db")
    empty.execute("PRAGMA journal_mode = WAL")  # so that it can be read while it is locked
    empty.close()
    with locked_by_another_process(tmp_path / "ledger.db"):
        began = time.monotonic()
        recorder.append(opened("s1"))
        assert time.monotonic() - began < 30  # a migration by itself would wait a minute
    assert recorder.close() == Drained(stored=1)


@PRODUCERS
def test_the_sessions_end_drains_the_journal(ledger: Ledger, ledger_url: str, tmp_path: Path) -> None:
    clock = Clock()
    recorder = Recorder(ledger_url, tmp_path / "journal", clock=clock)
    recorder._failed(LedgerUnavailable("down for a moment"))
    recorder.append(opened("s1"))
    assert ledger.head().position == 0
    assert recorder.close() == Drained(stored=1)
    assert recorder.problem == "down for a moment"
    assert ledger.head().position == 1


@PRODUCERS
def test_an_append_that_failed_half_way_is_stored_once(
    ledger: Ledger, ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(ledger_url, tmp_path / "journal")
    mine = recorder.ledger()
    assert mine is not None
    real = mine.append

    def committed_but_not_told(*events: e.NewEvent) -> list[int]:
        real(*events)
        raise LedgerUnavailable("the connection broke at the commit")

    with monkeypatch.context() as patch:
        patch.setattr(mine, "append", committed_but_not_told)
        recorder.append(opened("s1"))
    assert recorder.close() == Drained(stored=1)
    assert [one.scope_id for one in ledger.read()] == ["s1"]


def test_a_required_ledger_fails_the_test(tmp_path: Path) -> None:
    recorder = Recorder(NOWHERE, tmp_path, timeout_seconds=0.1, required=True)
    with pytest.raises(LedgerUnavailable):
        recorder.append(opened("s1"))
    assert recorder.journal.waiting() == 0


def test_a_wrong_url_or_a_missing_migration_loses_nothing(tmp_path: Path) -> None:
    recorder = Recorder("mysql://x/y", tmp_path)
    recorder.append(opened("s1"))
    assert "unknown scheme" in recorder.problem
    recorder.close()
    with postgres_ledger(migrated=False) as url:
        recorder = Recorder(url, tmp_path)
        recorder.append(opened("s2"))
        recorder.close()
        assert "cleanup-scheduler migrate" in recorder.problem
        with pytest.raises(SettingsError):
            Recorder("mysql://x/y", tmp_path, required=True).append(opened("s3"))
    assert Journal(tmp_path).waiting() == 2


def test_a_refused_event_is_the_callers_to_mend(tmp_path: Path) -> None:
    recorder = Recorder(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "journal")
    with pytest.raises(EventRefused):
        recorder.append(msgspec.structs.replace(opened("s"), event_id="x"))
    assert recorder.close() == Drained()


def test_a_recorder_opens_nothing_until_it_is_used(tmp_path: Path) -> None:
    recorder = Recorder(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "journal")
    recorder.close()
    assert list(tmp_path.iterdir()) == []


@PRODUCERS
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_writes_a_journal_of_its_own(ledger: Ledger, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.add(opened("parent"))
    child = os.fork()
    if child == 0:
        try:
            journal.add(opened("child"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert wait_until(lambda: journal.drain(ledger).stored) == 2
