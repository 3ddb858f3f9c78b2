"""The roles that are shipped for PostgreSQL: each can do its work, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from cleanup_scheduler.errors import SettingsError
from cleanup_scheduler.ledger import Journal, Ledger, open_ledger
from cleanup_scheduler.ledger.doctor import examine
from cleanup_scheduler.ledger.verifying import verify

from tests.databases import execute, postgres_ledger, role_of
from tests.ledger.samples import opened, started, tracked, whole_test


@pytest.fixture(scope="module")
def owner_url() -> Iterator[str]:
    """A ledger whose owner looks on."""
    with postgres_ledger() as url:
        yield url


@pytest.fixture
def producer_url(owner_url: str) -> Iterator[str]:
    """The same, for a user who may only append and read."""
    with role_of(owner_url, "cleanup_producer") as url:
        yield url


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET payload = ''",
        "DELETE FROM events",
        "TRUNCATE events",
        "ALTER TABLE events DISABLE TRIGGER USER",
        "DROP TRIGGER events_no_change ON events",
        "DROP TABLE events",
        "SELECT * FROM events FOR UPDATE",
        "UPDATE meta SET value = 'x'",
        "UPDATE fold SET position = 0",
        "DELETE FROM scopes",
        "INSERT INTO claims VALUES ('s', 1, 'me', 0)",
        "INSERT INTO timeshares VALUES ('kind-ci', 0)",
        "CREATE OR REPLACE FUNCTION cleanup_order() RETURNS trigger LANGUAGE sql AS 'SELECT NULL'",
    ],
)
def test_a_producer_can_change_nothing(producer_url: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(producer_url, statement)


def test_a_producer_appends_reads_beats_and_drains(
    producer_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    journal = Journal(tmp_path_factory.mktemp("journal"))
    journal.add(opened("s1"))
    with open_ledger(producer_url) as ledger:
        before = ledger.head().position
        ledger.append(started(), opened("s0"))
        assert journal.drain(ledger).stored == 1
        ledger.beat("run", "r1", lease_seconds=60)
        assert ledger.heartbeats("run")[0].alive
        ledger.unbeat("run", "r1")
        assert [one.scope_id for one in ledger.read(before)] == ["", "s0", "s1"]
        assert ledger.now()


def test_a_producer_that_writes_past_us_lands_in_the_chain(owner_url: str, producer_url: str) -> None:
    columns = "position, event_id, type, version, run_id, scope_id, time, producer, payload, hash"
    values = "1000000, 'mine', 'RunFinished', 1, 'r', '', '2026-01-01T00:00:00Z', 'p', '{}', '\\x00'"
    execute(producer_url, f"INSERT INTO events ({columns}) VALUES ({values})")
    with open_ledger(owner_url) as ledger:
        assert ledger.head().position < 1000
        assert verify(ledger).intact


def test_a_worker_does_all_its_work(owner_url: str) -> None:
    with role_of(owner_url, "cleanup_worker") as url, open_ledger(url) as ledger:
        ledger.append(started("w"), *whole_test("w1", run="w"), opened("w2", run="w"))
        state = ledger.projection()
        state.catch_up()
        claim = ledger.claim("w2", holder="w", lease_seconds=60)
        assert claim is not None
        ledger.append(tracked("w2", run="w"), claims=[ledger.renew(claim, lease_seconds=60)])
        ledger.release(claim)
        assert state.catch_up() == 1
        assert ledger.archived(ledger.archive(b"log", run_id="w", scope_id="w2")) == b"log"
        assert ledger.prune_archive(max_total_bytes=0) == 1
        assert ledger.take_time("kind-ci", 1) == 0
        assert ledger.take_time("kind-ci", 1) > 0
        ledger.beat("worker", "w", lease_seconds=60)
        ledger.unbeat("worker", "w")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(url, "DELETE FROM events")


def test_a_reader_cannot_append_and_is_told_so(
    owner_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with role_of(owner_url, "cleanup_reader") as url:
        with open_ledger(url) as ledger:
            assert ledger.head()
            with pytest.raises(SettingsError, match=r"permission denied.*right"):
                ledger.append(opened("s1"))
        rights = {one.check: one for one in examine(url, tmp_path_factory.mktemp("journal"))}["rights"]
        assert (rights.state, "cannot append" in rights.detail) == ("warning", True)


def test_the_doctor_is_content_with_a_producer(
    producer_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rights = {one.check: one for one in examine(producer_url, tmp_path_factory.mktemp("journal"))}["rights"]
    assert rights.state == "ok"


def test_making_the_roles_again_is_harmless(owner_url: str) -> None:
    for _ in range(2):
        with role_of(owner_url, "cleanup_producer") as url, open_ledger(url) as ledger:
            assert isinstance(ledger, Ledger)
