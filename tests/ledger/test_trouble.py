"""What is said when the database cannot do what it should: always ours, one line, with what to do."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from cleanup_scheduler.errors import LedgerNotMigrated, LedgerUnavailable, SettingsError
from cleanup_scheduler.ledger import migrate, open_ledger

from tests.databases import PostgresServer, execute, own_server, postgres_ledger, wait_until
from tests.ledger.samples import event, opened

AS_ANOTHER_USER = """
import os, sys, tempfile
sys.path.append({checkout!r})
from cleanup_scheduler.errors import CleanupSchedulerError
from cleanup_scheduler.ledger import migrate, open_ledger
from tests.ledger.samples import opened
# everything is imported while this user can still read the installation
with tempfile.TemporaryDirectory() as folder, open_ledger(f"sqlite:///{{folder}}/ledger.db") as ledger:
    ledger.append(opened("s1"))
os.setgid(65534), os.setuid(65534)
try:
    with open_ledger({url!r}) as ledger:
        ledger.append(opened("s1"))
except CleanupSchedulerError as error:
    print(type(error).__name__, error)
"""


def told(error: Exception) -> str:
    """The message, which is one line."""
    assert "\n" not in str(error)
    return str(error)


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    file.write_bytes(b"these are my holiday photos, not a database" * 100)
    with pytest.raises(SettingsError, match="not an SQLite database") as caught:
        open_ledger(f"sqlite:///{file}")
    assert str(file) in told(caught.value)
    assert file.read_bytes().startswith(b"these are my holiday photos")


def test_a_damaged_database_is_said_to_be_damaged(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    with open_ledger(f"sqlite:///{file}") as ledger:
        ledger.append(*(opened(f"s{number}") for number in range(500)))
    content = bytearray(file.read_bytes())
    content[4096 : len(content)] = os.urandom(len(content) - 4096)
    file.write_bytes(bytes(content))
    with (
        pytest.raises(LedgerUnavailable, match=r"damaged.*doctor"),
        open_ledger(f"sqlite:///{file}") as ledger,
    ):
        ledger.append(opened("s1"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnavailable, match="cannot be made") as caught:
        open_ledger(f"sqlite:///{tmp_path}/file/ledger.db")
    assert caught.value.exit_code == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="changes to another user, which only root can")
@pytest.mark.parametrize("exists", [False, True])
def test_a_read_only_folder_is_said_to_be_one(exists: bool) -> None:  # noqa: FBT001
    folder = Path("/tmp") / f"read-only-ledger-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        url = f"sqlite:///{folder / 'ledger.db'}"
        if exists:
            open_ledger(url).close()
        code = AS_ANOTHER_USER.format(url=url, checkout=str(Path.cwd()))
        said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    finally:
        shutil.rmtree(folder)
    assert said.stdout.startswith("LedgerUnavailable the ledger")
    assert "right to write" in said.stdout or "may be written to" in said.stdout


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_loses_nothing_that_was_acknowledged(small_disk: Path) -> None:
    stored: list[int] = []
    with open_ledger(f"sqlite:///{small_disk / 'ledger.db'}") as ledger:

        def append_for_ever() -> None:
            while True:
                stored.extend(ledger.append(opened("s" * 200)))

        with pytest.raises(LedgerUnavailable, match=r"full|disk I/O") as caught:
            append_for_ever()
        told(caught.value)
        assert [one.position for one in ledger.read(limit=100_000)] == stored
        assert len(stored) > 20


def test_a_locked_database_is_waited_for_within_bounds(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with open_ledger(url, timeout_seconds=0.3) as ledger:
        holder = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        with pytest.raises(LedgerUnavailable, match="locked"):
            ledger.append(opened("s1"))
        assert time.monotonic() - began < 5
        assert ledger.read() == []  # readers are not held up
        holder.execute("ROLLBACK")
        holder.close()
        assert ledger.append(opened("s1")) == [1]


def test_a_stopped_process_in_the_queue_holds_others_up_within_bounds(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with open_ledger(url, timeout_seconds=0.3) as ledger, open_ledger(url) as other:
        with other.backend.queue.turn(1), pytest.raises(LedgerUnavailable, match="busy"):  # type: ignore[attr-defined]
            ledger.append(opened("s1"))
        assert ledger.append(opened("s1")) == [1]


def test_a_postgresql_ledger_without_schema_names_the_command() -> None:
    with postgres_ledger(migrated=False) as url:
        with pytest.raises(LedgerNotMigrated, match="cleanup-scheduler migrate") as caught:
            open_ledger(url)
        assert caught.value.exit_code == 2


def test_a_wrong_password_a_wrong_user_and_an_unknown_database_are_told_apart() -> None:
    server = own_server()
    for url, reason in (
        (server.tcp_url("postgres", password="wr0ng"), "password authentication failed.*user and password"),
        (server.tcp_url("postgres", user="nobody-here"), "authentication failed.*user and password"),
        (server.url("nothing_here"), "does not exist.*create the database"),
        (server.url("postgres", user="stranger"), "does not exist.*create the role"),
    ):
        with pytest.raises(SettingsError, match=reason) as caught:
            open_ledger(url)
        assert "wr0ng" not in told(caught.value)


def test_a_server_that_is_not_there_is_out_of_reach() -> None:
    began = time.monotonic()
    with pytest.raises(LedgerUnavailable, match=r"out of reach.*refused") as caught:
        open_ledger("postgresql://u:secret@127.0.0.1:1/db", timeout_seconds=0.2)
    assert time.monotonic() - began < 5
    assert "secret" not in told(caught.value)
    assert caught.value.retryable


def test_a_host_that_is_not_known_is_out_of_reach() -> None:
    with pytest.raises(LedgerUnavailable, match="out of reach"):
        open_ledger("postgresql://u:secret@host.invalid/db", timeout_seconds=0.2)


def test_an_append_waits_for_a_server_that_restarts() -> None:
    server = PostgresServer()
    try:
        url = server.url("postgres")
        migrate(url)
        with open_ledger(url, timeout_seconds=20) as ledger:
            assert ledger.append(opened("before")) == [1]
            server.stop()
            positions: list[int] = []
            waiting = threading.Thread(target=lambda: positions.extend(ledger.append(opened("after"))))
            waiting.start()
            server.start()
            waiting.join(30)
            assert positions == [2]
            assert [stored.scope_id for stored in ledger.read()] == ["before", "after"]
            server.stop()
            ledger.backend.timeout_seconds = 0.2
            with pytest.raises(LedgerUnavailable, match="out of reach"):
                ledger.append(opened("never"))
    finally:
        server.stop_for_good()


def test_a_server_that_does_not_answer_is_waited_for_within_bounds() -> None:
    server = PostgresServer()
    try:
        url = server.url("postgres")
        migrate(url)
        with open_ledger(url, timeout_seconds=0.3) as ledger:
            ledger.append(opened("s1"))
            backends = [
                child for child in psutil.Process(server.pid).children() if "idle" in child.cmdline()[0]
            ]
            assert backends
            for backend in backends:
                backend.suspend()
            began = time.monotonic()
            with pytest.raises(LedgerUnavailable, match="did not answer"):
                ledger.append(opened("s2"))
            assert time.monotonic() - began < 10
            for backend in backends:
                backend.resume()
            assert ledger.append(opened("s3"))
    finally:
        server.stop_for_good()


def test_a_lock_that_is_never_given_back_is_waited_for_within_bounds() -> None:
    with postgres_ledger() as url, open_ledger(url, timeout_seconds=0.3) as ledger:
        with psycopg.connect(url) as holder:
            holder.execute("LOCK TABLE events IN EXCLUSIVE MODE")
            with pytest.raises(LedgerUnavailable, match="locked"):
                ledger.append(opened("s1"))
        assert ledger.append(opened("s1")) == [1]


def test_a_client_that_stops_inside_a_transaction_is_thrown_out() -> None:
    with postgres_ledger() as url, open_ledger(url, timeout_seconds=20) as ledger:
        stopped = psycopg.connect(url)
        stopped.execute("SET idle_in_transaction_session_timeout = 300")
        stopped.commit()
        stopped.execute("SELECT cleanup_append('{a}','{X}','{1}','{r}','{s}','{t}','{p}','{x}', NULL, NULL)")
        assert ledger.append(opened("s1")) == [1]  # the stopped one's event was rolled back with its session
        wait_until(lambda: stopped.info.transaction_status.name != "INTRANS" or _is_dead(stopped))
        stopped.close()


def _is_dead(connection: object) -> bool:
    assert isinstance(connection, psycopg.Connection)
    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        return True
    return False


def test_a_database_with_another_encoding_says_so() -> None:
    with postgres_ledger(migrated=False) as url:
        name = url.rpartition("/")[2].partition("?")[0]
        execute(own_server().url("postgres"), f"DROP DATABASE {name}")
        execute(
            own_server().url("postgres"),
            f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
        )
        with pytest.raises(SettingsError, match=r"encoding LATIN1.*UTF8"):
            migrate(url)


def test_an_event_is_never_in_two_minds_about_its_size(tmp_path: Path) -> None:
    from cleanup_scheduler.domain.events import HoldRequested

    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        text = "ü" * 499_000  # two bytes each
        assert ledger.append(event(HoldRequested(who=text))) == [1]
