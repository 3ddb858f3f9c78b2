"""Prune removes what is over and nothing else, and what is left still verifies."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.errors import UnknownName
from cleanup_scheduler.ledger import Ledger, housekeeping, open_ledger, verifying
from cleanup_scheduler.ledger.exchange import export, import_lines
from cleanup_scheduler.ledger.housekeeping import Pruned, prune
from cleanup_scheduler.ledger.verifying import verify

from tests.databases import wait_until
from tests.ledger.samples import (
    NOON,
    event,
    finished,
    gone,
    job,
    opened,
    outcome,
    started,
    tracked,
    whole_test,
)
from tests.ledger.test_projection import replayed, saved
from tests.ledger.test_tampering import tamper

OLD = timedelta(days=1)  # the events of samples are from long ago
ANCIENT = timedelta(days=36500)


def fill(ledger: Ledger) -> None:
    """Four runs, mixed: two are over, one is open, one has a dead letter."""
    given_up = e.DeletionGivenUp(resource=job("job-1"), attempts=8, diagnosis="stuck")
    ledger.append(started("over-1"), started("over-2"), started("open"), started("stuck"))
    ledger.append(*whole_test("a", run="over-1"), opened("b", run="open"), *whole_test("c", run="over-2"))
    ledger.append(opened("d", run="stuck"), tracked("d", run="stuck"), outcome("d", run="stuck"))
    ledger.append(event(given_up, run="stuck", scope="d"), finished("over-1"), finished("over-2"))
    ledger.append(finished("stuck"))


def test_finished_runs_go_and_the_rest_still_verifies(ledger: Ledger) -> None:
    fill(ledger)
    log = ledger.archive(b"x", run_id="over-1", scope_id="a")
    head = ledger.head()
    assert prune(ledger, older_than=OLD, dry_run=True) == Pruned(runs=2, events=12, logs=1)
    assert ledger.head() == head
    assert prune(ledger, older_than=OLD) == Pruned(runs=2, events=12, logs=1)
    assert {one.run_id for one in ledger.read()} == {"open", "stuck", ""}
    found = verify(ledger, expected=head)
    assert found.intact
    assert not found.unreadable
    with pytest.raises(UnknownName):
        ledger.archived(log)
    assert prune(ledger, older_than=OLD) == Pruned()


def test_what_a_pruned_run_said_of_another_runs_test_takes_nothing_of_it_along(ledger: Ledger) -> None:
    ledger.append(started("over"), started("open"), opened("b", run="open"), tracked("b", "mine", run="open"))
    ledger.append(tracked("b", "other", run="over"), finished("over"))
    assert prune(ledger, older_than=OLD).runs == 1
    with open_ledger(ledger.url) as again:
        state = again.projection()
        state.catch_up()
        assert [scope.scope_id for _, scope in state.open_scopes()] == ["b"]
        assert [scope.scope_id for _, scope, _ in state.find_resources("jobs", "mine")] == ["b"]


def test_pruning_again_and_again_still_verifies(ledger: Ledger) -> None:
    for number in range(4):
        ledger.append(
            started(f"run-{number}"),
            started(f"open-{number}"),
            *whole_test(f"s{number}", run=f"run-{number}"),
        )
        ledger.append(finished(f"run-{number}"), finished(f"open-{number - 2}"))
        prune(ledger, older_than=OLD)
        assert verify(ledger).intact
    assert {one.run_id for one in ledger.read()} == {"open-2", "open-3", ""}


def test_a_prune_while_the_ledger_is_verified_is_no_tampering(ledger: Ledger) -> None:
    fill(ledger)
    walk = verifying._Walk(ledger, None)
    assert prune(ledger, older_than=OLD).events == 12
    assert walk.run().intact


def test_state_after_a_prune_is_what_a_rebuild_makes(ledger: Ledger) -> None:
    fill(ledger)
    prune(ledger, older_than=OLD)
    ledger.projection().catch_up()
    before = saved(ledger)
    plain = replayed(ledger)
    assert before == (plain.runs, plain.scopes)
    assert set(before[0]) == {"open", "stuck"}


def test_a_removal_that_no_checkpoint_names_is_still_found(ledger: Ledger) -> None:
    fill(ledger)
    prune(ledger, older_than=OLD)
    victim = next(one.position for one in ledger.read() if one.run_id == "stuck")
    tamper(ledger, f"DELETE FROM events WHERE position = {victim}")
    assert not verify(ledger).intact


def test_what_is_recent_or_held_or_open_stays(ledger: Ledger) -> None:
    fill(ledger)
    ledger.append(event(e.HoldRequested(who="eve"), run="over-1"))
    ledger.append(event(e.HoldRequested(who="eve"), run="over-2", scope="c"))
    assert prune(ledger, older_than=OLD) == Pruned()
    assert prune(ledger, older_than=ANCIENT) == Pruned()
    recent = ledger.now()
    ledger.append(event(e.HoldLifted(who="eve"), run="over-1", time=recent))
    assert prune(ledger, older_than=OLD) == Pruned()  # somebody spoke of it just now


def test_a_late_event_of_a_pruned_run_is_not_lost(ledger: Ledger) -> None:
    fill(ledger)
    prune(ledger, older_than=OLD)
    ledger.append(tracked("a", "late", run="over-1"))
    state = ledger.projection()
    state.catch_up()
    assert [scope.scope_id for _, scope in state.open_scopes()] == ["a", "b"]
    assert verify(ledger).intact


def test_a_prune_killed_after_its_checkpoint_is_done_by_the_next(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ledger)
    with monkeypatch.context() as patch:
        patch.setattr(housekeeping, "_delete", lambda *_: (_ for _ in ()).throw(RuntimeError("killed here")))
        with pytest.raises(RuntimeError):
            prune(ledger, older_than=OLD)
    assert verify(ledger).intact
    assert prune(ledger, older_than=OLD).events == 12
    assert verify(ledger).intact


def test_a_pruned_ledger_can_be_moved(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger)
    prune(ledger, older_than=OLD)
    stream = io.BytesIO()
    export(ledger, stream)
    with open_ledger(f"sqlite:///{tmp_path / 'copy.db'}") as copy:
        import_lines(copy, stream.getvalue().splitlines())
        assert verify(copy, expected=ledger.head()).intact
        assert copy.append(opened("goes-on")) == [ledger.head().position + 1]


def test_the_triggers_are_on_again_after_a_prune(ledger: Ledger) -> None:
    from tests.ledger.test_tampering import run

    fill(ledger)
    prune(ledger, older_than=OLD)
    with pytest.raises(Exception, match="append-only"):
        run(ledger, "DELETE FROM events")


def test_old_logs_go_by_age_and_the_oldest_by_size(ledger: Ledger) -> None:
    bodies = [bytes([number]) * 10 for number in range(4)]
    ids = [ledger.archive(body, run_id="r", scope_id="s") for body in bodies]
    assert ledger.prune_archive(older_than=timedelta(days=1)) == 0
    each = len(ledger.backend.scan("SELECT body FROM archive", ())[0][0])
    assert ledger.prune_archive(max_total_bytes=2 * each) == 2
    assert [ledger.archived(one) for one in ids[2:]] == bodies[2:]
    assert prune_at_once(ledger) == 2


def prune_at_once(ledger: Ledger) -> int:
    """Every log that is there now, once the database's clock, which ticks in milliseconds, has gone on."""
    put = ledger.now()
    wait_until(lambda: ledger.now() > put)
    return ledger.prune_archive(older_than=timedelta(seconds=0))


def test_a_log_that_was_pruned_says_when_and_why(ledger: Ledger) -> None:
    first, second = (ledger.archive(b"x", run_id="r", scope_id="s") for _ in range(2))
    assert prune_at_once(ledger) == 2
    today = f"{ledger.now():%Y-%m-%d}"
    with pytest.raises(UnknownName, match=rf"was pruned at {today} .* UTC: it was older than 0 days"):
        ledger.archived(first)
    third = ledger.archive(b"y", run_id="r", scope_id="s")
    assert ledger.prune_archive(max_total_bytes=0) == 1
    with pytest.raises(UnknownName, match=r"pruned at .*: the archive was larger than 0 bytes"):
        ledger.archived(third)
    with pytest.raises(UnknownName, match="older than"):
        ledger.archived(second)  # what went earlier keeps its own reason


def test_a_worker_may_prune_only_logs_that_nobody_needs_any_more(ledger: Ledger) -> None:
    ledger.append(*whole_test("over"), opened("open"), tracked("open"))
    ledger.projection().catch_up()
    logs = {scope: ledger.archive(b"x", run_id="run-1", scope_id=scope) for scope in ("over", "open")}
    assert ledger.prune_archive(max_total_bytes=0, settled_only=True) == 1
    assert ledger.archived(logs["open"]) == b"x"
    with pytest.raises(UnknownName):
        ledger.archived(logs["over"])
    assert ledger.prune_archive(max_total_bytes=0) == 1


def test_the_events_of_the_samples_are_old_enough(ledger: Ledger) -> None:
    assert ledger.now() - NOON > OLD
    assert gone("s").time == NOON
