"""Events for tests, made the way producers make them."""

from __future__ import annotations

from datetime import UTC, datetime

from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.resources import Level, Outcome, ResourceRef, make_ref
from cleanup_scheduler.ids import new_id

NOON = datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)


def event(payload: e.Event, *, run: str = "run-1", scope: str = "", time: datetime = NOON) -> e.NewEvent:
    """A new event of any kind."""
    return e.NewEvent(
        event_id=new_id(), time=time, producer="test", payload=payload, run_id=run, scope_id=scope
    )


def job(name: str) -> ResourceRef:
    """The address of a Job."""
    return make_ref("cluster", "crucible", "jobs", name)


def started(run: str = "run-1", *, name: str = "suite", time: datetime = NOON) -> e.NewEvent:
    """A run begins."""
    payload = e.RunStarted(name=name, mode="pytest", cluster="cluster", namespace="crucible")
    return event(payload, run=run, time=time)


def finished(run: str = "run-1") -> e.NewEvent:
    """A run ends."""
    return event(e.RunFinished(), run=run)


def abandoned(run: str = "run-1") -> e.NewEvent:
    """A run was found dead."""
    return event(e.RunAbandoned(last_heartbeat=NOON), run=run)


def opened(
    scope: str, *, run: str = "run-1", level: Level = "pods", test_id: str | None = None
) -> e.NewEvent:
    """A test begins."""
    said = e.ScopeOpened(test_id=test_id or f"test_{scope}", level=level, level_source="test")
    return event(said, run=run, scope=scope)


def tracked(scope: str, name: str = "job-1", *, run: str = "run-1") -> e.NewEvent:
    """A test says that a Job is its own."""
    return event(e.ResourceTracked(resource=job(name)), run=run, scope=scope)


def outcome(scope: str, said: Outcome = "passed", *, run: str = "run-1") -> e.NewEvent:
    """A test ends."""
    return event(e.OutcomeRecorded(outcome=said), run=run, scope=scope)


def gone(scope: str, name: str = "job-1", *, run: str = "run-1") -> e.NewEvent:
    """A worker says that a Job is gone."""
    return event(e.ResourceGone(resource=job(name), how="deleted"), run=run, scope=scope)


def whole_test(scope: str, *, run: str = "run-1", name: str = "job-1") -> list[e.NewEvent]:
    """All events of a test that passed and was cleaned."""
    return [
        opened(scope, run=run),
        tracked(scope, name, run=run),
        outcome(scope, run=run),
        gone(scope, name, run=run),
    ]
