"""G13: events cannot be changed or removed, and a change by an administrator is detected and located."""

from __future__ import annotations

import os

import pytest
import sqlalchemy as sa
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.ledger import Head, Ledger, fitting, stretching, verifying
from cleanup_scheduler.ledger.chain import GENESIS, link
from cleanup_scheduler.ledger.verifying import verify
from sqlalchemy.engine import Connection

from tests.ledger.samples import event, opened, started, whole_test

NOW = "2026-01-01T00:00:00.000000Z"


def short_stretches(monkeypatch: pytest.MonkeyPatch, *, processors: int = 1) -> None:
    """As if the ledger was a long one."""
    monkeypatch.setattr(stretching, "STRETCH", 4)
    monkeypatch.setattr(fitting, "WORTH_IT", 8)
    monkeypatch.setattr(os, "cpu_count", lambda: processors)


@pytest.fixture(autouse=True, params=["as a whole", "in stretches"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is found is found both ways."""
    if request.param == "in stretches":
        short_stretches(monkeypatch)


def run(ledger: Ledger, *statements: str) -> None:
    """Statements of somebody who has all rights, triggers on."""

    def work(connection: Connection) -> None:
        for statement in statements:
            connection.execute(sa.text(statement))

    ledger.backend.write(work)


def tamper(ledger: Ledger, *statements: str) -> None:
    """The same by an administrator who switches the triggers off."""

    def work(connection: Connection) -> None:
        with ledger.backend.events_unlocked(connection):
            for statement in statements:
                connection.execute(sa.text(statement))

    ledger.backend.write(work)


@pytest.fixture
def full(ledger: Ledger) -> Ledger:
    """A ledger of 21 events."""
    ledger.append(started(), *(one for number in range(5) for one in whole_test(f"s{number}")))
    return ledger


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET payload = '{}' WHERE position = 3",
        "UPDATE events SET position = 99 WHERE position = 3",
        "DELETE FROM events WHERE position = 3",
        "DELETE FROM events",
    ],
)
def test_the_database_refuses_to_change_or_remove_an_event(full: Ledger, statement: str) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        run(full, statement)
    assert verify(full).events == 21


def test_postgresql_refuses_to_truncate(full: Ledger) -> None:
    if full.backend.address.dialect == "postgresql":
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            run(full, "TRUNCATE events")
    assert verify(full).intact


def test_replacing_or_inserting_in_the_middle_is_no_way_round(full: Ledger) -> None:
    values = "'new', 'X', 1, 'r', 's', 't', 'p', '{}'"
    columns = "event_id, type, version, run_id, scope_id, time, producer, payload"
    if full.backend.address.dialect == "sqlite":
        for verb in ("INSERT", "INSERT OR REPLACE", "REPLACE", "INSERT OR IGNORE"):
            with pytest.raises(sa.exc.DBAPIError, match="append-only"):
                run(full, f"{verb} INTO events (position, {columns}, hash) VALUES (3, {values}, x'00')")
    else:  # whoever inserts there, and whatever position they ask for: it goes to the end, into the chain
        run(full, f"INSERT INTO events (position, {columns}) VALUES (3, {values})")
        assert full.head().position == 22
    assert verify(full).intact


@pytest.mark.parametrize("column", ["event_id", "type", "run_id", "scope_id", "time", "producer", "payload"])
def test_a_change_by_an_administrator_is_located(full: Ledger, column: str) -> None:
    assert verify(full).intact
    tamper(full, f"UPDATE events SET {column} = 'changed' WHERE position = 7")
    found = verify(full)
    assert not found.intact
    assert found.broken[0].position == 7
    assert "changed" in found.broken[0].what


def test_a_removed_event_is_located(full: Ledger) -> None:
    tamper(full, "DELETE FROM events WHERE position IN (7, 8)")
    found = verify(full)
    assert found.broken[0].position == 7
    assert "7 to 8 are missing" in found.broken[0].what


def test_swapped_events_are_located(full: Ledger) -> None:
    tamper(
        full,
        "UPDATE events SET position = 1000 WHERE position = 7",
        "UPDATE events SET position = 7 WHERE position = 8",
        "UPDATE events SET position = 8 WHERE position = 1000",
    )
    assert verify(full).broken[0].position == 7


def test_a_cut_off_end_needs_a_head_that_was_printed_earlier(full: Ledger) -> None:
    earlier = full.head()
    full.append(opened("later"))
    assert verify(full, expected=earlier).intact
    tamper(full, "DELETE FROM events WHERE position > 19")
    assert verify(full).intact  # what is left fits together
    found = verify(full, expected=earlier)
    assert not found.intact
    assert "cut off" in found.broken[0].what


def test_a_head_of_another_ledger_does_not_fit(full: Ledger) -> None:
    found = verify(full, expected=Head(position=5, hash="0" * 64))
    assert [problem.position for problem in found.broken] == [5]


def rewrite_chain(ledger: Ledger) -> None:
    """Make the hashes fit again, as somebody with all rights could."""
    sql = f"SELECT position, {ledger.backend.canonical_column} FROM events ORDER BY position"
    last, statements = GENESIS, []
    for position, body in ledger.backend.scan(sql, ()):
        last = link(last, bytes(body))
        literal = f"x'{last.hex()}'" if ledger.backend.address.dialect == "sqlite" else f"'\\x{last.hex()}'"
        statements.append(f"UPDATE events SET hash = {literal} WHERE position = {position}")
    tamper(ledger, *statements)


def test_a_chain_rewritten_to_its_end_is_found_by_an_earlier_head(full: Ledger) -> None:
    earlier = full.head()
    tamper(full, "UPDATE events SET producer = 'liar' WHERE position = 7")
    rewrite_chain(full)
    assert verify(full).events == 21
    assert verify(full).intact
    assert verify(full, expected=earlier).broken[0].position == 21


def test_a_removed_event_is_located_though_the_chain_was_rewritten(full: Ledger) -> None:
    tamper(full, "DELETE FROM events WHERE position = 7")
    rewrite_chain(full)
    found = verify(full)
    assert found.broken[0].position == 7
    assert "missing" in found.broken[0].what


def test_what_cannot_be_read_is_reported_and_does_not_break_the_chain(ledger: Ledger) -> None:
    ledger.append(started())
    ledger.append(event(e.HoldRequested(who="eve"), scope="s1"))
    if ledger.backend.address.dialect == "postgresql":
        strange = [("Rained", 1, NOW, "{}"), ("RunFinished", 9, NOW, "{}"), ("RunFinished", 1, "soon", "{}"),
                   ("RunFinished", 1, NOW, "[")]  # fmt: skip
        for number, (type_name, version, time, payload) in enumerate(strange):
            values = f"'{number}', '{type_name}', {version}, '', '', '{time}', 'p', '{payload}'"
            columns = "event_id, type, version, run_id, scope_id, time, producer, payload"
            run(ledger, f"INSERT INTO events ({columns}) VALUES ({values})")
        found = verify(ledger)
        assert found.intact
        assert [problem.position for problem in found.unreadable] == [3, 4, 5, 6]
        assert "Rained" in found.unreadable[0].what
    assert verify(ledger).events == ledger.head().position


def test_the_ledger_is_verified_in_batches(full: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what fits is read once: only a batch that does not is walked through event by event."""
    monkeypatch.setattr(fitting, "BATCH", 2)
    monkeypatch.setattr(verifying, "_exactly", lambda *_: pytest.fail("it fits"))
    found = verify(full)
    assert (found.events, found.head) == (21, full.head())
    assert found.intact
    assert not found.unreadable


def test_an_empty_ledger_is_intact(ledger: Ledger) -> None:
    assert verify(ledger).intact
    assert verify(ledger).events == 0
    assert not verify(ledger, expected=Head(position=1, hash="0" * 64)).intact


@pytest.mark.parametrize("_way", ["in processes"], indirect=True)
def test_several_processes_find_what_was_changed(full: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    short_stretches(monkeypatch, processors=2)
    verdicts = list(fitting.verdicts(full, full.head().position))
    assert [(one.after, one.last, one.fits) for one in verdicts] == [
        (0, 4, True), (4, 8, True), (8, 12, True), (12, 16, True), (16, 20, True), (20, 21, True),
    ]  # fmt: skip
    assert verify(full).intact
    tamper(full, "UPDATE events SET producer = 'liar' WHERE position = 10")
    found = verify(full)
    assert [problem.position for problem in found.broken] == [10]
    assert found.events == 21


def test_a_verdict_that_begins_at_another_hash_is_not_taken(
    full: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = fitting.Verdict(after=0, last=21, fits=True, before=b"x" * 32, end=b"y" * 32)
    monkeypatch.setattr(verifying, "verdicts", lambda *_: iter([elsewhere]))
    assert verify(full).head == full.head()


def test_an_event_put_before_the_first_is_found(full: Ledger) -> None:
    columns = "event_id, type, version, run_id, scope_id, time, producer, payload"
    tamper(
        full,
        f"INSERT INTO events (position, hash, {columns}) SELECT -5, hash, 'forged', "
        f"{columns.removeprefix('event_id, ')} FROM events WHERE position = 3",
    )
    assert full.backend.scan("SELECT min(position) FROM events", ()) == [(-5,)]
    assert [problem.position for problem in verify(full).broken] == [-5]
