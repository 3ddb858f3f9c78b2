"""What happened to a resource, event by event, in words; and why it stands where it stands.

Knows every event type: one that has no sentence here would be a hole in the story, and a test looks for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.policy import PolicyRules, effective_outcome
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.domain.state import Resource, Run, Scope
from cleanup_scheduler.reports.model import Explanation, Moment
from cleanup_scheduler.reports.sentences import sentence
from cleanup_scheduler.reports.standing import ScopeView


def timeline(events: Iterable[e.StoredEvent], run: Run, scope: Scope, resource: Resource) -> list[Moment]:
    """The events of the run that bear on ``resource``, oldest first."""
    return [
        Moment(
            position=event.position,
            time=event.time,
            producer=event.producer,
            type=event.type,
            what=sentence(event.payload) if event.payload is not None else f"cannot be read: {event.problem}",
        )
        for event in events
        if event.run_id == run.run_id
        and event.scope_id in ("", scope.scope_id)
        and _concerns(event.payload, resource.ref)
    ]


def _concerns(payload: e.Event | None, ref: ResourceRef) -> bool:
    """Events about the scope or run as a whole bear on each of its resources, and so do those about what
    was found through it."""
    about = getattr(payload, "resource", None)
    return about is None or ref in (about, getattr(payload, "owner", None))


def explain(
    events: Iterable[e.StoredEvent],
    run: Run,
    scope: Scope,
    resource: Resource,
    rules: PolicyRules,
    now: datetime,
) -> Explanation:
    """The story of one resource and the policy's word on it at ``now``."""
    view = ScopeView(run, scope, rules, now)
    _, decision = view.standing(resource)
    report = view.report(resource)
    report.found = [view.report(part) for part in scope.found_through(resource.ref)]
    return Explanation(
        run_id=run.run_id,
        run_name=run.name,
        test_id=scope.test_id,
        outcome=effective_outcome(run, scope),
        level=scope.level,
        level_source=scope.level_source,
        resource=report,
        action=decision.action,
        rule=decision.rule,
        reason=decision.reason,
        until=decision.until,
        timeline=timeline(events, run, scope, resource),
    )
