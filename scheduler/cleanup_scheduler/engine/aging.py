"""The age rule: what ended long ago, matches ``age_selector`` and belongs to nobody. Off by default.

No dead run speaks for it, so more is asked of the object itself: it has ended, and longer ago than
``age_hours``; no run that may still claim it was alive when it was created, and none of those that were is
held; it carries no ledger's label and no wish to be preserved. Refuses to take the time of creation for the
time of the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from cleanup_scheduler.domain.events import OrphanFound
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.policy import annotation_veto
from cleanup_scheduler.domain.resources import PODS
from cleanup_scheduler.domain.state import Run, Scope
from cleanup_scheduler.engine.api import Api
from cleanup_scheduler.engine.orphans import Orphan, labels_of, was_open
from cleanup_scheduler.settings import Settings


class AgeRule:
    """For one sweep."""

    def __init__(self, api: Api, settings: Settings, now: datetime) -> None:
        self._api = api
        self.selector = settings.age_selector
        self._before = now - timedelta(hours=settings.age_hours)

    def may_match(self, seen: ObservedObject) -> bool:
        """As far as its metadata tell: whoever ended by then was created by then."""
        return (
            seen.created_at < self._before and not labels_of(seen).ledger_id and annotation_veto(seen) is None
        )

    async def ended_long_ago(self, seen: ObservedObject) -> bool:
        """What its status says; one that is another by now is not ours to judge."""
        ended_at: datetime | None = None
        if seen.ref.kind == PODS:
            pod = await self._api.call(lambda: self._api.cluster.pod_status(seen.ref))
            if pod is not None and pod.uid == seen.uid and pod.finished:
                ended_at = pod.finished_at or seen.created_at
        else:
            job = await self._api.call(lambda: self._api.cluster.job_status(seen.ref))
            if job is not None and job.uid == seen.uid and job.finished:
                ended_at = job.finished_at
        return ended_at is not None and ended_at < self._before


def spoken_for(alive: Iterable[Run]) -> bool:
    """Whether one of the runs that lived when something was created still speaks for it."""
    return any(run.over_at is None or run.held_by for run in alive)


def aged(seen: ObservedObject, run_id: str, scopes: Iterable[tuple[Run, Scope]]) -> Orphan | None:
    """Put it into a scope of its own run. None when a test of its time is held."""
    likely = [scope for run, scope in scopes if was_open(run, scope, seen.created_at)]
    if any(scope.held_by for scope in likely):
        return None
    event = OrphanFound(
        resource=seen.ref,
        uid=seen.uid,
        rule="age",
        likely_test=" or ".join(dict.fromkeys(scope.test_id for scope in likely if scope.test_id)),
        level="all",
        created_at=seen.created_at,
    )
    return Orphan(seen=seen, run_id=run_id, scope_id=f"{run_id}-orphans", event=event)
