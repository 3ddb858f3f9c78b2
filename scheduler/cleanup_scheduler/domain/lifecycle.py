"""The fold: what each event does to the state. Deterministic, and tolerant of whatever order producers cause.

An event names a scope, or else a run, and changes nothing else. Nothing here looks at a clock: what is due is
the policy's question, asked with the time in hand.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.occupied import Occupied
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.domain.state import ArchivedLog, Resource, Run, Scope, State, resource_key

_SAID_BY_TESTS: Final = frozenset(e.TEST_EVENTS)


def fold(state: State, event: e.StoredEvent) -> None:
    """Apply one stored event; one that cannot be read only moves the position."""
    if event.payload is not None:
        apply(state, event.run_id, event.scope_id, event.time, event.payload)
    state.position = event.position


def apply(state: State, run_id: str, scope_id: str, at: datetime, payload: e.Event) -> None:
    """The same, of the parts of an event that matter here: a replay makes no object for the rest."""
    if run_id and type(payload) in _SAID_BY_TESTS:
        revive(state.run(run_id))
    if scope_id:
        scope = state.scope(scope_id, run_id)
        handler = _SCOPE_HANDLERS.get(type(payload))
        if handler is not None:
            handler(scope, at, payload)
    elif run_id:
        _fold_run(state.run(run_id), at, payload)


def revive(run: Run) -> None:
    """A run that was declared dead and speaks again is alive until its heartbeat is missed again."""
    run.abandoned_at = None


def _fold_run(run: Run, at: datetime, payload: e.Event) -> None:
    match payload:
        case e.RunStarted():
            run.name, run.mode, run.host, run.pid = payload.name, payload.mode, payload.host, payload.pid
            run.cluster, run.namespace = payload.cluster, payload.namespace
            run.lease_seconds, run.parent_run_id = payload.lease_seconds, payload.parent_run_id
            run.started_at = at
        case e.RunFinished():
            run.finished_at, run.exit_code = at, payload.exit_code
        case e.RunAbandoned():
            run.abandoned_at, run.last_heartbeat = at, payload.last_heartbeat
        case e.HoldRequested():
            run.held_by, run.held_why = payload.who, payload.why
        case e.HoldLifted():
            run.held_by = run.held_why = ""
        case _:
            pass  # every other type names a scope; without one it says nothing about a run


def _opened(scope: Scope, at: datetime, payload: e.ScopeOpened) -> None:
    scope.test_id, scope.attempt, scope.opened_at = payload.test_id, payload.attempt, at
    scope.level, scope.level_source = payload.level, payload.level_source
    scope.forced = scope.forced or payload.forced


def _level(scope: Scope, at: datetime, payload: e.LevelChanged) -> None:
    scope.level, scope.level_source = payload.level, payload.level_source
    scope.forced = scope.forced or payload.forced
    _reopen(scope)
    _reconsider(scope)


def _reopen(scope: Scope) -> None:
    """A test that still speaks has not ended, whatever a pass concluded from its run's silence."""
    if scope.outcome == "unknown":
        scope.outcome = scope.ended_at = None


def _outcome(scope: Scope, at: datetime, payload: e.OutcomeRecorded) -> None:
    scope.outcome, scope.ended_at = payload.outcome, at
    scope.forced = scope.forced or payload.forced
    _reconsider(scope)


def _reconsider(scope: Scope) -> None:
    """What the policy kept or preserved on what was known before is decided anew."""
    for resource in scope.resources.values():
        if resource.status == "preserved" or (
            resource.status == "kept" and resource.rule.startswith("level-")
        ):
            _reset(resource)


def _reset(resource: Resource) -> None:
    resource.status, resource.rule, resource.reason, resource.until = "tracked", "", "", None
    resource.attempts, resource.retry_at = 0, None


def _tracked(scope: Scope, at: datetime, payload: e.ResourceTracked) -> None:
    """Said again without a uid, it speaks of whatever answers to the name now, so that is looked at anew."""
    _reopen(scope)
    key = resource_key(payload.resource)
    known = scope.resources.get(key)
    if known is not None and known.uid and _belongs_to_the_past(known, payload):
        scope.resources[resource_key(known.ref, known.uid)] = known
        known = Resource(ref=known.ref, held_by=known.held_by, held_why=known.held_why)
    known = known or Resource(ref=payload.resource)
    scope.resources[key] = known
    if known.status in ("kept", "gone"):
        _reset(known)
    known.tracked, known.tracked_at = True, at
    if known.status == "tracked":
        known.secured = known.secured and known.uid == payload.uid
        known.uid = payload.uid
    _adopt(scope, known.ref, known.uid)


def _belongs_to_the_past(known: Resource, payload: e.ResourceTracked) -> bool:
    """The entry is about an object that made way for the one tracked now; it keeps its own entry."""
    return known.status == "gone" or bool(payload.uid and known.uid != payload.uid)


def _observed(scope: Scope, at: datetime, payload: e.ResourceObserved | e.OrphanFound) -> None:
    _adopt(scope, payload.resource, payload.uid)
    resource = _entry(scope, payload)
    resource.uid = payload.uid or resource.uid
    resource.created_at = payload.created_at or resource.created_at
    if isinstance(payload, e.OrphanFound):
        resource.orphan, resource.rule = True, f"orphan-{payload.rule}"
        if scope.opened_at is None and payload.level is not None:
            scope.level, scope.level_source = payload.level, "sweep"
    elif payload.owner is not None and not resource.tracked:
        resource.owner = payload.owner


def _adopt(scope: Scope, ref: ResourceRef, uid: str) -> None:
    """What was found first and tracked later (a journal that was drained late) becomes one entry."""
    named = scope.resources.get(resource_key(ref))
    if named is None or not uid or named.uid not in ("", uid):
        return
    found = scope.resources.pop(resource_key(ref, uid), None)
    if found is not None:
        found.tracked, found.tracked_at = named.tracked, named.tracked_at
        scope.resources[resource_key(ref)] = found


def _entry(scope: Scope, payload: e.ResourceEvent) -> Resource:
    """The entry that the event speaks of; one that nobody tracked is keyed by its uid."""
    found = scope.find(payload.resource, payload.uid)
    if found is None:
        found = Resource(ref=payload.resource, uid=payload.uid, owner=getattr(payload, "owner", None))
        scope.resources[resource_key(payload.resource, payload.uid)] = found
    return found


def _suspended(scope: Scope, at: datetime, payload: e.JobSuspended) -> None:
    _entry(scope, payload).suspended = True


def _archived(scope: Scope, at: datetime, payload: e.LogsArchived) -> None:
    resource = _entry(scope, payload)
    log = ArchivedLog(
        pod=payload.resource.name,
        pod_uid=payload.uid,
        container=payload.container,
        archive_id=payload.archive_id,
        owner=payload.owner.short if payload.owner else "",
        previous=payload.previous,
        size_bytes=payload.size_bytes,
        truncated=payload.truncated,
        missing=payload.missing,
    )
    same = (log.container, log.previous)
    resource.logs = [old for old in resource.logs if (old.container, old.previous) != same]
    resource.logs.append(log)


def _requested(scope: Scope, at: datetime, payload: e.DeletionRequested) -> None:
    resource = _entry(scope, payload)
    resource.status, resource.rule, resource.requested_at = "deleting", payload.rule, at
    resource.uid = payload.uid


def _gone(scope: Scope, at: datetime, payload: e.ResourceGone) -> None:
    resource = _entry(scope, payload)
    resource.status, resource.reason, resource.gone_at = "gone", payload.how, at
    resource.released_by, resource.release_level, resource.retry_at = "", None, None


def _failed(scope: Scope, at: datetime, payload: e.DeletionFailed) -> None:
    resource = _entry(scope, payload)
    resource.status, resource.reason = "failed", payload.error
    resource.attempts, resource.retry_at = payload.attempt, payload.retry_at


def _given_up(scope: Scope, at: datetime, payload: e.DeletionGivenUp) -> None:
    resource = _entry(scope, payload)
    resource.status, resource.reason, resource.attempts = "given-up", payload.diagnosis, payload.attempts
    resource.released_by, resource.release_level, resource.retry_at = "", None, None


def _preserved(scope: Scope, at: datetime, payload: e.ResourcePreserved) -> None:
    resource = _entry(scope, payload)
    resource.status, resource.rule, resource.until = "preserved", payload.rule, payload.until


def _secured(scope: Scope, at: datetime, payload: e.ResourceSecured) -> None:
    resource = _entry(scope, payload)
    resource.ttl_seconds, resource.ttl_uid = payload.ttl_seconds, payload.uid
    if payload.lifting:
        return
    resource.secured, resource.unsafe, resource.secure_at = True, payload.problem, payload.retry_at
    resource.occupied = Occupied(
        running_pods=payload.running_pods,
        cpu_millicores=payload.cpu_millicores,
        memory_bytes=payload.memory_bytes,
        at=at,
    )


def _ttl_restored(scope: Scope, at: datetime, payload: e.TtlRestored) -> None:
    resource = _entry(scope, payload)
    resource.secured, resource.unsafe, resource.secure_at = False, "", None
    resource.ttl_seconds, resource.ttl_uid = None, ""


def _kept(scope: Scope, at: datetime, payload: e.ResourceKept) -> None:
    resource = _entry(scope, payload)
    resource.status, resource.rule, resource.reason = "kept", payload.rule, payload.reason
    resource.released_by, resource.release_level, resource.retry_at = "", None, None


def _applied(scope: Scope, at: datetime, payload: e.PolicyApplied) -> None:
    scope.applied_at = at
    if scope.outcome is None and payload.outcome == "unknown":
        scope.outcome, scope.ended_at = "unknown", at


def _released(scope: Scope, at: datetime, payload: e.ReleaseRequested) -> None:
    for resource in _targets(scope, payload):
        if resource.status == "gone":
            continue
        level = payload.level
        if level is None:
            level = "all" if scope.level == "none" or resource.status == "kept" else scope.level
        _reset(resource)
        resource.released_by, resource.release_level = payload.who, level
        for found in scope.found_through(resource.ref):
            if found.status in ("failed", "given-up"):
                _reset(found)


def _held(scope: Scope, at: datetime, payload: e.HoldRequested) -> None:
    if payload.resource is None:
        scope.held_by, scope.held_why = payload.who, payload.why
    for resource in _targets(scope, payload) if payload.resource else ():
        resource.held_by, resource.held_why = payload.who, payload.why


def _lifted(scope: Scope, at: datetime, payload: e.HoldLifted) -> None:
    if payload.resource is None:
        scope.held_by = scope.held_why = ""
    for resource in _targets(scope, payload) if payload.resource else ():
        resource.held_by = resource.held_why = ""


def _targets(scope: Scope, payload: e.HumanEvent) -> list[Resource]:
    if payload.resource is None:
        return list(scope.own())
    return [r for r in scope.resources.values() if r.ref == payload.resource]


_SCOPE_HANDLERS: Final[dict[type[e.Event], Callable[[Scope, datetime, Any], None]]] = {
    e.ScopeOpened: _opened,
    e.LevelChanged: _level,
    e.OutcomeRecorded: _outcome,
    e.ResourceTracked: _tracked,
    e.ResourceObserved: _observed,
    e.OrphanFound: _observed,
    e.JobSuspended: _suspended,
    e.LogsArchived: _archived,
    e.DeletionRequested: _requested,
    e.ResourceGone: _gone,
    e.DeletionFailed: _failed,
    e.DeletionGivenUp: _given_up,
    e.ResourcePreserved: _preserved,
    e.ResourceSecured: _secured,
    e.TtlRestored: _ttl_restored,
    e.ResourceKept: _kept,
    e.PolicyApplied: _applied,
    e.ReleaseRequested: _released,
    e.HoldRequested: _held,
    e.HoldLifted: _lifted,
}
