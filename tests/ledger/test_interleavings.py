"""G3 and G4: any interleaving of producers, readers, claimers, repeats, late events, restarts and rebuilds,
compared with a model that is a list and the domain's own fold, on both databases.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.lifecycle import fold
from cleanup_scheduler.domain.state import State
from cleanup_scheduler.errors import ClaimLost
from cleanup_scheduler.ledger import Claim, Ledger, Projection, open_ledger, projection, stretching
from cleanup_scheduler.ledger.schema import METADATA
from cleanup_scheduler.ledger.verifying import verify
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy.engine import Connection

from tests.databases import DATABASES, fresh_ledger
from tests.ledger import samples
from tests.ledger.test_projection import saved

RUNS = st.sampled_from(["run-1", "run-2"])
SCOPES = st.sampled_from(["a", "b", "c"])
JOBS = st.sampled_from(["job-1", "job-2"])
WHO = st.integers(0, 2)
MAKERS: list[Callable[[str, str, str], e.NewEvent]] = [
    lambda run, scope, name: samples.started(run),
    lambda run, scope, name: samples.finished(run),
    lambda run, scope, name: samples.opened(scope, run=run),
    lambda run, scope, name: samples.tracked(scope, name, run=run),
    lambda run, scope, name: samples.outcome(scope, "failed", run=run),
    lambda run, scope, name: samples.outcome(scope, run=run),
    lambda run, scope, name: samples.gone(scope, name, run=run),
    lambda run, scope, name: samples.event(e.HoldRequested(who="eve"), run=run, scope=scope),
    lambda run, scope, name: samples.event(e.ReleaseRequested(who="eve"), run=run, scope=scope),
    lambda run, scope, name: samples.abandoned(run),
]
EVENTS = st.builds(lambda make, *at: make(*at), st.sampled_from(MAKERS), RUNS, SCOPES, JOBS)


class Interleavings(RuleBasedStateMachine):
    """Three processes (three open ledgers) share one database."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.ledgers = [open_ledger(self.url) for _ in range(3)]
        wipe(self.ledgers[0])
        self.states = [self.projection(who) for who in range(3)]
        self.model: list[e.NewEvent] = []
        self.unsent: list[e.NewEvent] = []
        self.tokens: dict[str, int] = {}
        self.held: dict[str, Claim] = {}
        self.stale: list[Claim] = []

    def projection(self, who: int) -> Projection:
        """The third one folds stretch by stretch, as several processes do."""
        return self.ledgers[who].projection(several_processes=who == 2)

    def teardown(self) -> None:
        assert verify(self.ledgers[0]).intact
        for ledger in self.ledgers:
            ledger.close()

    @rule(who=WHO, events=st.lists(EVENTS, min_size=1, max_size=3))
    def append(self, who: int, events: list[e.NewEvent]) -> None:
        positions = self.ledgers[who].append(*events)
        start = len(self.model) + 1
        assert positions == list(range(start, start + len(events)))
        self.model += events

    @rule(event=EVENTS)
    def fall_asleep_before_an_append(self, event: e.NewEvent) -> None:
        self.unsent.append(event)

    @rule(who=WHO)
    def wake_up_late_and_append(self, who: int) -> None:
        if self.unsent:
            self.ledgers[who].append(*self.unsent)
            self.model += self.unsent
            self.unsent = []

    @rule(who=WHO, data=st.data())
    def append_again(self, who: int, data: st.DataObject) -> None:
        if self.model:
            place = data.draw(st.integers(0, len(self.model) - 1))
            assert self.ledgers[who].append(self.model[place]) == [place + 1]

    @rule(who=WHO, scope=SCOPES)
    def claim(self, who: int, scope: str) -> None:
        claim = self.ledgers[who].claim(scope, holder=f"w{who}", lease_seconds=600)
        assert (claim is None) == (scope in self.held)
        if claim is not None:
            assert claim.token == self.tokens.get(scope, 0) + 1
            self.tokens[scope], self.held[scope] = claim.token, claim

    @rule(who=WHO, scope=SCOPES)
    def release(self, who: int, scope: str) -> None:
        if scope in self.held:
            self.stale.append(self.held.pop(scope))
            self.ledgers[who].release(self.stale[-1])

    @rule(who=WHO, scope=SCOPES, event=EVENTS)
    def append_under_a_claim(self, who: int, scope: str, event: e.NewEvent) -> None:
        if scope in self.held:
            self.ledgers[who].append(event, claims=[self.held[scope]])
            self.model.append(event)

    @rule(who=WHO, event=EVENTS)
    def append_under_a_stale_claim(self, who: int, event: e.NewEvent) -> None:
        for claim in self.stale:
            with pytest.raises(ClaimLost):
                self.ledgers[who].append(event, claims=[claim])

    @rule(who=WHO)
    def follow_along(self, who: int) -> None:
        state = self.states[who]
        state.catch_up()
        assert state.position == len(self.model)
        expected = self.replayed()
        open_scopes = {id_: scope for id_, scope in expected.scopes.items() if not scope.settled}
        assert {scope.scope_id: scope for _, scope in state.open_scopes()} == open_scopes
        assert all(
            run == expected.runs[run.run_id] for run, _ in state.open_scopes() if run.run_id in expected.runs
        )
        assert {id_: state.scope(id_, "") for id_ in expected.scopes} == expected.scopes
        for run_id in ("run-1", "run-2"):
            theirs = [scope for _, scope in sorted(expected.scopes.items()) if scope.run_id == run_id]
            assert state.scopes_of(run_id) == theirs
        for name in ("job-1", "job-2"):
            has = {
                id_ for id_, s in expected.scopes.items() for r in s.resources.values() if r.ref.name == name
            }
            assert {scope.scope_id for _, scope, _ in state.find_resources("jobs", name)} == has
        open_runs = {id_ for id_, run in expected.runs.items() if not run.ended}
        assert {run.run_id for run in state.open_runs()} == open_runs

    @rule(first=WHO, second=WHO, events=st.lists(EVENTS, min_size=2, max_size=2))
    def take_turns(self, first: int, second: int, events: list[e.NewEvent]) -> None:
        """One folds, the other goes on from there, and the first takes what the other saved."""
        for who, event in zip((first, second), events, strict=True):
            self.append(who, [event])
            self.follow_along(who)
        self.follow_along(first)

    @rule(who=WHO)
    def restart(self, who: int) -> None:
        self.ledgers[who].close()
        self.ledgers[who] = open_ledger(self.url)
        self.states[who] = self.projection(who)

    @rule(who=WHO)
    def rebuild(self, who: int) -> None:
        assert self.ledgers[who].rebuild(several_processes=who == 2) == len(self.model)
        expected = self.replayed()
        assert saved(self.ledgers[who]) == (expected.runs, expected.scopes)

    @rule(who=WHO, after=st.integers(0, 40), limit=st.integers(1, 5))
    def read(self, who: int, after: int, limit: int) -> None:
        found = [one.event_id for one in self.ledgers[who].read(after, limit=limit)]
        assert found == [one.event_id for one in self.model[after : after + limit]]

    @invariant()
    def the_ledger_holds_what_was_said_in_that_order(self) -> None:
        stored = self.ledgers[0].read(limit=100_000)
        assert [(one.event_id, one.payload) for one in stored] == [
            (one.event_id, one.payload) for one in self.model
        ]

    def replayed(self) -> State:
        """The model's state: the domain's fold over the model's list."""
        state = State()
        for position, one in enumerate(self.model, start=1):
            fold(state, stored_as(one, position))
        return state


def stored_as(one: e.NewEvent, position: int) -> e.StoredEvent:
    """The event as the ledger would hand it out."""
    return e.StoredEvent(
        position=position, event_id=one.event_id, time=one.time, producer=one.producer, type=one.type,
        version=1, payload=one.payload, run_id=one.run_id, scope_id=one.scope_id,
    )  # fmt: skip


def wipe(ledger: Ledger) -> None:
    """Begin anew in the same database: making one takes longer than an example."""

    def work(connection: Connection) -> None:
        with ledger.backend.events_unlocked(connection):
            for name in METADATA.tables.keys() - {"meta", "fold"}:
                connection.execute(sa.text(f"DELETE FROM {name}"))
        connection.execute(sa.text("UPDATE fold SET position = 0"))
        if connection.dialect.name == "sqlite":
            connection.execute(sa.text("DELETE FROM sqlite_sequence"))

    ledger.backend.write(work)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", DATABASES)
def test_any_interleaving_ends_as_the_model_says(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretching, "STRETCH", 2)
    monkeypatch.setattr(projection, "_WORTH_PROCESSES", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url = stack.enter_context(fresh_ledger(database, Path(folder)))
        machine: Any = type(f"On{database}", (Interleavings,), {"url": url})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=20,
                stateful_step_count=20,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
