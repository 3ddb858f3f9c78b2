"""Histories told to a real ledger, and what a command answered."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.resources import Level, Outcome, ResourceRef, make_ref
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger import Ledger

RUN = "0190aaaaaaaa0000aaaaaaaaaaaa0000"
JOB = make_ref("demo", "crucible", "jobs", "evaluation-job-1")
POD = make_ref("demo", "crucible", "pods", "evaluation-job-1-x7k")
TEST = "tests/test_a.py::test_b"
NOW = datetime.now(UTC).replace(microsecond=0)


class Answer(NamedTuple):
    """``raw`` is stdout, byte by byte."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


class Teller:
    """Appends events as tests and workers would."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def say(
        self, payload: e.Event, *, run_id: str = RUN, scope_id: str = "scope", ago_seconds: float = 0
    ) -> Teller:
        at = NOW - timedelta(seconds=ago_seconds)
        event = e.NewEvent(
            event_id=new_id(), time=at, producer="test", payload=payload, run_id=run_id, scope_id=scope_id
        )
        self.ledger.append(event)
        return self

    def run(self, run_id: str = RUN, *, ago_seconds: float = 60) -> Teller:
        started = e.RunStarted(
            name="pytest tests", mode="pytest", cluster="demo", namespace="crucible", host="h", pid=7
        )
        return self.say(started, run_id=run_id, scope_id="", ago_seconds=ago_seconds)

    def scope(
        self,
        *refs: ResourceRef,
        outcome: Outcome | None = None,
        level: Level = "pods",
        test: str = TEST,
        scope_id: str = "scope",
        run_id: str = RUN,
    ) -> Teller:
        """A test that tracked these and, unless it still runs, ended so."""
        self.say(
            e.ScopeOpened(test_id=test, level=level, level_source="option"), scope_id=scope_id, run_id=run_id
        )
        for ref in refs:
            self.say(e.ResourceTracked(resource=ref), scope_id=scope_id, run_id=run_id)
        if outcome:
            self.say(e.OutcomeRecorded(outcome=outcome), scope_id=scope_id, run_id=run_id)
        return self

    def log(
        self, body: bytes, *, pod: ResourceRef = POD, container: str = "main", uid: str = "pod-uid"
    ) -> Teller:
        """A worker found the pod through the Job and archived its log."""
        self.say(e.ResourceObserved(resource=pod, uid=uid, owner=JOB))
        archive_id = self.ledger.archive(body, run_id=RUN, scope_id="scope")
        return self.say(
            e.LogsArchived(resource=pod, uid=uid, owner=JOB, container=container, archive_id=archive_id,
                           size_bytes=len(body))
        )  # fmt: skip

    def gone(self, ref: ResourceRef, uid: str, *, owner: ResourceRef | None = None) -> Teller:
        """A worker deleted it."""
        self.say(e.ResourceObserved(resource=ref, uid=uid, owner=owner))
        self.say(e.DeletionRequested(resource=ref, uid=uid, rule="passed", owner=owner))
        return self.say(e.ResourceGone(resource=ref, uid=uid, how="deleted", owner=owner))

    def given_up(self, ref: ResourceRef = JOB, uid: str = "uid-1") -> Teller:
        """A worker tried in vain."""
        self.say(e.ResourceObserved(resource=ref, uid=uid))
        self.say(e.DeletionRequested(resource=ref, uid=uid, rule="passed"))
        return self.say(
            e.DeletionGivenUp(resource=ref, uid=uid, attempts=8, diagnosis="a finalizer of acme.example")
        )

    def told(self, kind: type[e.Event]) -> list[e.StoredEvent]:
        """What the ledger holds of that type."""
        return [event for event in self.ledger.follow() if isinstance(event.payload, kind)]
