"""The state kept beside the events: the same however it was reached, on both databases."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NoReturn
from zlib import crc32

import msgspec
import pytest
import sqlalchemy as sa
from cleanup_scheduler.domain.lifecycle import fold
from cleanup_scheduler.domain.state import Run, Scope, State
from cleanup_scheduler.errors import LedgerTooNew
from cleanup_scheduler.ledger import Ledger, open_ledger, partial, projection, stretching
from cleanup_scheduler.ledger.folding import History, fold_rows
from cleanup_scheduler.ledger.projection import Projection
from cleanup_scheduler.ledger.rows import to_event
from cleanup_scheduler.ledger.snapshots import Changes
from cleanup_scheduler.reports import resolve_target

from tests.ledger.samples import (
    NOON,
    abandoned,
    finished,
    gone,
    opened,
    outcome,
    started,
    tracked,
    whole_test,
)
from tests.ledger.test_tampering import tamper


def replayed(ledger: Ledger) -> State:
    """The state by the domain's own fold, from zero, in memory."""
    state = State()
    for stored in ledger.follow():
        fold(state, stored)
    return state


def saved(ledger: Ledger) -> tuple[dict[str, Run], dict[str, Scope]]:
    """Everything that is kept, through a projection that has just been opened."""
    fresh = ledger.projection()
    rows = ledger.backend.scan("SELECT DISTINCT run_id FROM events", ())
    scopes = {scope.scope_id: scope for row in rows for scope in fresh.scopes_of(row[0])}
    return {run.run_id: run for run in fresh.all_runs()}, scopes


def test_following_along_and_replaying_from_zero_agree(ledger: Ledger) -> None:
    state = ledger.projection()
    for number in range(5):
        ledger.append(started(f"run-{number}"), *whole_test(f"s{number}", run=f"run-{number}"))
        assert state.catch_up() == 5
        assert state.catch_up() == 0
    plain = replayed(ledger)
    assert saved(ledger) == (plain.runs, plain.scopes)


def test_only_what_is_open_is_held_in_memory(ledger: Ledger) -> None:
    ledger.append(started(), *whole_test("s1"), opened("s2"), tracked("s2", "job-2"), outcome("s2"))
    state = ledger.projection()
    state.catch_up()
    assert [scope.scope_id for _, scope in state.open_scopes()] == ["s2"]
    assert set(state.scopes) == {"s2"}
    assert [run.run_id for run in state.open_runs()] == ["run-1"]
    ledger.append(gone("s2", "job-2"), finished())
    state.catch_up()
    assert state.open_scopes() == []
    assert state.open_runs() == []
    assert state.scope("s1", "run-1").resources
    assert state.run("run-1").finished_at == NOON


def test_a_late_event_opens_a_settled_scope_again(ledger: Ledger) -> None:
    ledger.append(started(), *whole_test("s1"))
    state = ledger.projection()
    state.catch_up()
    ledger.append(tracked("s1", "late"))
    state.catch_up()
    ((_, scope),) = state.open_scopes()
    assert sorted(resource.ref.name for resource in scope.resources.values()) == ["job-1", "late"]


def test_only_open_scopes_are_kept_and_of_the_rest_what_was_named(ledger: Ledger) -> None:
    def kept() -> list[str]:
        return [row[0] for row in ledger.backend.scan("SELECT scope_id FROM scopes", ())]

    ledger.append(started(), *whole_test("s1"), opened("s2"), tracked("s2", "job-2"))
    state = ledger.projection()
    state.catch_up()
    assert kept() == ["s2"]
    ledger.append(outcome("s2"), gone("s2", "job-2"))
    state.catch_up()
    assert kept() == []
    assert [scope.scope_id for _, scope, _ in ledger.projection().find_resources("jobs", "job-2")] == ["s2"]


def test_a_worker_hears_that_another_settled_a_scope(ledger: Ledger, ledger_url: str) -> None:
    with open_ledger(ledger_url) as other:
        one, two = ledger.projection(), other.projection()
        ledger.append(started(), opened("s1"), tracked("s1"), opened("s2"))
        one.catch_up()
        two.catch_up()
        ledger.append(outcome("s1"), gone("s1"))
        assert (two.catch_up(), one.catch_up()) == (2, 0)
        assert [scope.scope_id for _, scope in one.open_scopes()] == ["s2"]
        assert one.scope("s1", "run-1").settled


def test_a_question_is_answered_as_of_the_position_that_was_reached(ledger: Ledger) -> None:
    ledger.append(started(), *whole_test("s1"))
    state = ledger.projection()
    state.catch_up()
    ledger.append(tracked("s1", "late"))
    assert list(state.scope("s1", "run-1").resources) == list(state.scopes_of("run-1")[0].resources)
    assert len(state.scope("s1", "run-1").resources) == 1
    state.catch_up()
    assert len(state.scope("s1", "run-1").resources) == 2


def test_a_resource_that_was_named_again_and_again_is_found_once(ledger: Ledger) -> None:
    state = ledger.projection()
    for said in (
        started(),
        opened("s1"),
        tracked("s1"),
        outcome("s1"),
        gone("s1"),
        tracked("s1"),
        gone("s1"),
    ):
        ledger.append(said)
        state.catch_up()
    assert len(state.find_resources("jobs", "job-1")) == 1
    assert [tuple(row) for row in ledger.backend.scan("SELECT position FROM resources", ())] == [(3,)]


def test_names_that_look_the_same_in_the_index_are_told_apart(ledger: Ledger) -> None:
    assert crc32(b"plumless") == crc32(b"buckeroo")
    ledger.append(started(), opened("s1"), opened("s2"), tracked("s1", "plumless"))
    ledger.append(*(tracked("s2", name) for name in ("plumless", "buckeroo", "a", "b", "c", "plumless")))
    state = ledger.projection()
    state.catch_up()
    ledger.append(opened("s3"), tracked("s3", "plumless"), finished())
    state.catch_up()
    assert [scope.scope_id for _, scope, _ in state.find_resources("", "plumless")] == ["s3", "s2", "s1"]
    assert [scope.scope_id for _, scope, _ in state.find_resources("", "buckeroo")] == ["s2"]
    assert state.find_resources("", "d") == []
    names = {"buckeroo", "c", "d"}
    assert sorted(resource.ref.name for resource in state.resources_named(names)) == ["buckeroo", "c"]


def test_an_idle_look_is_one_statement(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.append(started(), *whole_test("s1"), opened("s2"))
    state = ledger.projection()
    state.catch_up()
    asked: list[str] = []
    real = ledger.backend.scan

    def counted(sql: str, parameters: Sequence[Any]) -> list[Any]:
        asked.append(sql)
        return real(sql, parameters)

    monkeypatch.setattr(ledger.backend, "scan", counted)
    monkeypatch.setattr(ledger.backend, "read", lambda work: pytest.fail("a second statement"))
    assert state.catch_up() == 0
    assert len(asked) == 1


def test_a_scope_belongs_to_the_run_that_its_first_event_names(ledger: Ledger) -> None:
    ledger.append(started("a"), started("b"), opened("s1", run="a"), tracked("s1", run="b"))
    state = ledger.projection()
    state.catch_up()
    assert [len(scope.resources) for scope in state.scopes_of("a")] == [1]
    assert state.scopes_of("b") == []


def test_two_workers_fold_the_same_events_without_harm(ledger: Ledger, ledger_url: str) -> None:
    with open_ledger(ledger_url) as other:
        one, two = ledger.projection(), other.projection()
        ledger.append(started(), opened("s1"), tracked("s1"))
        assert (one.catch_up(), two.catch_up()) == (3, 0)
        ledger.append(outcome("s1"), opened("s2"))
        assert (two.catch_up(), one.catch_up()) == (2, 0)
        assert [scope for _, scope in one.open_scopes()] == [scope for _, scope in two.open_scopes()]
        plain = replayed(ledger)
        assert saved(ledger) == (plain.runs, plain.scopes)


def test_who_comes_second_takes_what_the_first_saved(
    ledger: Ledger, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.append(started(), opened("s1"), tracked("s1"), outcome("s1"))
    with open_ledger(ledger_url) as other:
        slow, fast = ledger.projection(), other.projection()
        real = slow._snapshots.save
        stolen: list[int] = []

        def save_after_the_other(changes: Changes) -> bool:
            if not stolen:
                stolen.append(fast.catch_up())
                ledger.append(gone("s1"))
            return real(changes)

        monkeypatch.setattr(slow._snapshots, "save", save_after_the_other)
        assert slow.catch_up() == 1  # its first batch was thrown away; the event after it is its own
        assert stolen == [4]
        plain = replayed(ledger)
        assert saved(ledger) == (plain.runs, plain.scopes)
        assert slow.open_scopes() == []


def test_a_failed_save_is_not_taken_for_done(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    state = ledger.projection()
    state.catch_up()
    ledger.append(started(), opened("s1"), tracked("s1"))

    def fail(changes: Changes) -> bool:
        raise RuntimeError("pulled the plug")

    with monkeypatch.context() as patch:
        patch.setattr(state._snapshots, "save", fail)
        with pytest.raises(RuntimeError):
            state.catch_up()
    assert state.catch_up() == 3
    assert len(state.scopes["s1"].resources) == 1
    plain = replayed(ledger)
    assert saved(ledger) == (plain.runs, plain.scopes)


@pytest.mark.parametrize("events_per_save", [1, 6, 1000])
def test_more_events_than_a_batch_are_all_folded(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, events_per_save: int
) -> None:
    monkeypatch.setattr(partial, "_WITHIN", partial._WITHIN.replace("LIMIT 5000", "LIMIT 3"))
    monkeypatch.setattr(partial, "_BATCH", 3)
    monkeypatch.setattr(projection, "_EVENTS_PER_SAVE", events_per_save)
    ledger.append(started(), *(one for number in range(7) for one in whole_test(f"s{number}")))
    assert ledger.projection().catch_up() == 29
    plain = replayed(ledger)
    assert saved(ledger) == (plain.runs, plain.scopes)


def in_tiny_stretches(monkeypatch: pytest.MonkeyPatch, *, processors: int) -> None:
    """As if the ledger was a long one."""
    monkeypatch.setattr(stretching, "STRETCH", 4)
    monkeypatch.setattr(projection, "_WORTH_PROCESSES", 2)
    monkeypatch.setattr(projection, "_EVENTS_PER_SAVE", 10)
    monkeypatch.setattr(os, "cpu_count", lambda: processors)


@pytest.mark.parametrize("processors", [1, 2, 4])
def test_several_processes_fold_as_one_does(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    """Scopes and runs that go on from stretch to stretch, and events of runs among those of tests."""
    tests = [one for number in range(7) for one in whole_test(f"s{number}")]
    first, *rest = whole_test("s8")
    speaks_again = [abandoned(), first, finished(), abandoned(), *rest, abandoned("run-2"), started("run-2")]
    is_dead = [opened("s10", run="run-3"), abandoned("run-3"), opened("s10", run="run-3")]
    ledger.append(started(), opened("s9"), *tests, *speaks_again, *is_dead, tracked("s9"))
    unreadable = ledger.head().position - 1
    tamper(ledger, f"UPDATE events SET version = 9 WHERE position = {unreadable}")
    in_tiny_stretches(monkeypatch, processors=processors)
    state = ledger.projection(several_processes=True)
    assert state.catch_up() == ledger.head().position
    assert [scope.scope_id for _, scope in state.open_scopes()] == ["s10", "s9"]
    assert [state.run(f"run-{number}").abandoned_at is None for number in (1, 2, 3)] == [True, True, False]
    plain = replayed(ledger)
    assert saved(ledger) == (plain.runs, plain.scopes)
    assert state.find_resources("jobs", "job-1")[0][1].scope_id == "s9"


def die_elsewhere(_: Ledger, stretch: stretching.Stretch) -> int:
    """Here it works, from the moment on at which another process has taken a stretch and was killed."""
    taken = Path(os.environ["TAKEN"])
    if os.getpid() != int(os.environ["HERE"]):
        taken.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    deadline = monotonic() + 60
    while not taken.exists():
        assert monotonic() < deadline, "no other process took anything"
        sleep(0.01)
    return stretch.last


def test_what_a_killed_process_had_taken_is_worked_on_here(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(stretching, "STRETCH", 1)
    monkeypatch.setenv("TAKEN", str(tmp_path / "taken"))
    monkeypatch.setenv("HERE", str(os.getpid()))
    results = stretching.in_processes(ledger, die_elsewhere, stretching.divide(0, 40))
    assert list(results) == list(range(1, 41))
    assert "a process has died, its part of the ledger is worked on here" in caplog.text


def test_where_no_process_can_be_started_everything_is_worked_on_here(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(stretching, "STRETCH", 1)
    results = stretching.in_processes(ledger, last_of, stretching.divide(0, 40))
    assert list(results) == list(range(1, 41))
    assert "no other process can be started" in caplog.text


def last_of(_: Ledger, stretch: stretching.Stretch) -> int:
    return stretch.last


def work_for_ever(_: Ledger, stretch: stretching.Stretch) -> int:
    """Here it works, in other processes it never comes to an end."""
    if os.getpid() != int(os.environ["HERE"]):
        signal.pause()
    return stretch.last


def test_who_has_seen_enough_ends_the_others_at_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(stretching, "STRETCH", 1)
    monkeypatch.setenv("HERE", str(os.getpid()))
    results = stretching.in_processes(ledger, work_for_ever, stretching.divide(0, 40))
    assert next(results) == 1
    results.close()
    assert caplog.text == ""


def test_state_of_an_older_fold_is_folded_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.append(started(), *whole_test("s1"))
    ledger.projection().catch_up()
    ledger.backend.write(
        lambda connection: connection.execute(sa.text("UPDATE scopes SET state = '{}'")).rowcount
    )
    ledger.backend.write(
        lambda connection: connection.execute(sa.text("UPDATE fold SET version = 0")).rowcount
    )
    assert ledger.projection().catch_up() == 5
    plain = replayed(ledger)
    assert saved(ledger) == (plain.runs, plain.scopes)


def test_state_of_a_newer_fold_is_refused(ledger: Ledger) -> None:
    ledger.backend.write(
        lambda connection: connection.execute(sa.text("UPDATE fold SET version = 99")).rowcount
    )
    with pytest.raises(LedgerTooNew, match="upgrade"):
        ledger.projection().catch_up()


def test_a_worker_that_a_newer_program_has_overtaken_stops(ledger: Ledger) -> None:
    state = ledger.projection()
    state.catch_up()
    ledger.append(started())
    ledger.backend.write(
        lambda connection: connection.execute(sa.text("UPDATE fold SET version = 99")).rowcount
    )
    with pytest.raises(LedgerTooNew, match="upgrade"):
        state.catch_up()


def test_a_start_and_a_look_at_a_settled_scope_read_no_more_than_they_need(ledger: Ledger) -> None:
    if ledger.backend.address.dialect == "sqlite":
        ledger.append(started(), *whole_test("s1"))
        ledger.projection().catch_up()
        asked: list[str] = []
        with ledger.backend.engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.set_trace_callback(asked.append)
        state = ledger.projection()
        state.open_scopes()
        assert state.scope("s1", "run-1").settled
        assert state.scopes_of("run-1") == [state.scope("s1", "run-1")]
        plans = "\n".join(
            detail for sql in asked for *_, detail in ledger.backend.scan(f"EXPLAIN QUERY PLAN {sql}", ())
        )
        assert "SCAN runs USING INDEX runs_open" in plans
        assert "SEARCH events USING INDEX events_scope_id" in plans
        assert "SEARCH events USING INDEX events_run_id" in plans
        assert "SCAN events" not in plans
        assert "INTEGER PRIMARY KEY" not in plans


def test_runs_come_newest_first_and_since_a_time(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cleanup_scheduler.ledger.snapshots._PAGE", 2)
    for number in range(5):
        ledger.append(started(f"run-{number}", time=NOON + timedelta(hours=number)))
    state = ledger.projection()
    state.catch_up()
    assert [run.run_id for run in state.all_runs()] == ["run-4", "run-3", "run-2", "run-1", "run-0"]
    recent = state.all_runs(since=NOON + timedelta(hours=3))
    assert [run.run_id for run in recent] == ["run-4", "run-3"]


def test_a_resource_is_found_by_name_and_by_uid(ledger: Ledger) -> None:
    later = msgspec.structs.replace(tracked("s2", "job-1"), time=NOON + timedelta(minutes=1))
    ledger.append(started(), opened("s1"), tracked("s1", "job-1"), opened("s2"), later)
    payload = msgspec.structs.replace(later.payload, uid="uid-7")
    ledger.append(msgspec.structs.replace(tracked("s2"), payload=payload))
    state: Projection = ledger.projection()
    state.catch_up()
    found = state.find_resources("job", "job-1")
    assert [(run.run_id, scope.scope_id) for run, scope, _ in found] == [("run-1", "s2"), ("run-1", "s1")]
    assert [scope.scope_id for _, scope, _ in state.find_resources("", "uid-7")] == ["s2"]
    assert state.find_resources("pods", "job-1") == []
    assert state.find_resources("jobs", "job-1", namespace="elsewhere") == []
    assert len(state.find_resources("jobs", "job-1", namespace="crucible")) == 2


def test_the_attempts_of_a_test_are_found_without_a_walk_over_every_run(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def walked(*_: object) -> NoReturn:
        raise AssertionError("a walk")

    late = msgspec.structs.replace(started("run-2"), time=NOON + timedelta(minutes=1))
    test_id = 't::one["50%_\\ä!"]'
    ledger.append(started(), late, opened("s0"), opened("s2", test_id=test_id), *whole_test("s3"))
    ledger.append(opened("s1", test_id=test_id), opened("s4", run="run-2", test_id=test_id))
    ledger.append(outcome("s1"), opened("s5", test_id='t::one["50xx\\ä!"]'))
    state = ledger.projection()
    state.catch_up()
    found = state.find_scopes(test_id)
    assert [(run.run_id, scope.scope_id) for run, scope in found] == [
        ("run-2", "s4"), ("run-1", "s1"), ("run-1", "s2"),
    ]  # fmt: skip
    assert state.find_scopes("t::one") == []
    monkeypatch.setattr(History, "scopes_of", walked)
    target = resolve_target(state, [test_id])
    assert (target.kind, [scope.scope_id for _, scope in target.scopes]) == ("test", ["s4"])


def test_rows_are_folded_as_events_are() -> None:
    """What a replay does in bulk is what the domain's fold does, with odd rows among them."""
    bad = [("Rained", 1, "2026-01-01T00:00:00Z", "{}"), ("RunFinished", 9, "2026-01-01T00:00:00Z", "{}"),
           ("OutcomeRecorded", 1, "2026-01-01T00:00:00", '{"outcome":"failed"}'),
           ("OutcomeRecorded", 1, "2026-01-01T00:00:00Z", '{"outcome":"odd"}'),
           ("OutcomeRecorded", 1, "2026-01-01T00:00:00+02:00", '{"outcome":"failed"}')]  # fmt: skip
    rows: list[tuple[Any, ...]] = []
    for type_name, version, time, payload in bad:
        rows.append((len(rows) + 1, type_name, version, "run-1", "s1", time, payload))
    plain, bulk = State(), State()
    for position, type_name, version, run_id, scope_id, time, payload in rows:
        row = (position, f"{position:032x}", type_name, version, run_id, scope_id, time, "p", payload)
        fold(plain, to_event(row))
    fold_rows(bulk, rows)
    assert (plain.runs, plain.scopes) == (bulk.runs, bulk.scopes)
    assert plain.scopes["s1"].outcome == "failed"


def test_what_cannot_be_read_is_kept_and_skipped(ledger: Ledger) -> None:
    ledger.append(started(), opened("s1"))
    values = ", ".join(f"'{value}'" for value in ("0" * 32, "Rained", "1", "run-1", "s1", "soon", "x", "{"))
    columns = "event_id, type, version, run_id, scope_id, time, producer, payload"
    extra = ("position, hash, ", "3, 'x', ") if ledger.url.startswith("sqlite") else ("", "")
    statement = sa.text(f"INSERT INTO events ({extra[0]}{columns}) VALUES ({extra[1]}{values})")
    ledger.backend.write(lambda connection: connection.execute(statement).rowcount)
    ledger.append(tracked("s1"))
    state = ledger.projection()
    assert state.catch_up() == 4
    assert len(state.scopes["s1"].resources) == 1
    odd = ledger.read()[2]
    assert odd.payload is None
    assert "soon" in odd.problem
