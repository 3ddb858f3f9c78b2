"""What the tests of the domain build their histories with: a hand for events and a time that stands still."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.lifecycle import fold
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.resources import ResourceRef, make_ref
from cleanup_scheduler.domain.state import Resource, Run, Scope, State, resource_key

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
JOB = make_ref("test", "crucible", "jobs", "evaluation-job-1")
POD = make_ref("test", "crucible", "pods", "evaluation-job-1-x7k")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class History:
    """Appends events to a list and folds them as the ledger would give them back."""

    def __init__(self) -> None:
        self.state = State()
        self.events: list[e.StoredEvent] = []

    def say(
        self, payload: e.Event, *, seconds: float = 0, run_id: str = "run", scope_id: str = "scope"
    ) -> History:
        event = e.StoredEvent(
            position=len(self.events) + 1,
            event_id=f"{len(self.events):032x}",
            time=at(seconds),
            producer="test",
            type=type(payload).__name__,
            version=payload.VERSION,
            payload=payload,
            run_id=run_id,
            scope_id=scope_id,
        )
        self.events.append(event)
        fold(self.state, event)
        return self

    def about_run(self, payload: e.Event, *, seconds: float = 0) -> History:
        return self.say(payload, seconds=seconds, scope_id="")

    @property
    def run(self) -> Run:
        return self.state.run("run")

    @property
    def scope(self) -> Scope:
        return self.state.scope("scope", "run")

    def resource(self, ref: ResourceRef = JOB, uid: str = "") -> Resource:
        return self.scope.resources[resource_key(ref, uid)]


def seen(ref: ResourceRef = JOB, uid: str = "uid-a", *, seconds: float = 0, **more: object) -> ObservedObject:
    return ObservedObject(ref=ref, uid=uid, created_at=at(seconds), **more)  # type: ignore[arg-type]
