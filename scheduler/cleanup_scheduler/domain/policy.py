"""The policy: state + time -> what is due now, what is kept, until when, and by which rule. Pure.

``decide`` speaks of one resource of one scope; ``guard`` looks at the object that answers to its name and
says why it must not be touched. When in doubt both keep, and say why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.resources import PODS, Level, Outcome
from cleanup_scheduler.domain.state import HOLD, Resource, Run, Scope

Action = Literal["wait", "clean", "keep", "preserve", "done"]
WORKLOADS: Final = frozenset(
    {
        "jobs.batch",
        "cronjobs.batch",
        "deployments.apps",
        "statefulsets.apps",
        "replicasets.apps",
        "daemonsets.apps",
    }
)
LEDGER_LABEL: Final = "cleanup-scheduler/ledger"
RUN_LABEL: Final = "cleanup-scheduler/run"
SCOPE_LABEL: Final = "cleanup-scheduler/scope"
AGE_RULE: Final = "orphan-age"
_DELICATE_KINDS: Final = frozenset({"secrets", "persistentvolumeclaims", "namespaces"})
_PRESERVE_ANNOTATIONS: Final = ("cleanup-scheduler/preserve", "preserve", "debug")


class PolicyRules(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that the policy reads. An empty ``allowed_namespaces`` allows all but the protected.

    ``allowed_kinds`` are those, in canonical spelling, that are touched only by somebody's explicit wish.
    """

    preserve_failed: timedelta = timedelta(hours=24)
    orphan_grace: timedelta = timedelta(minutes=10)
    allowed_namespaces: frozenset[str] = frozenset()
    protected_namespaces: frozenset[str] = frozenset({"kube-system", "kube-public", "kube-node-lease"})
    allowed_kinds: frozenset[str] = frozenset()


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """``until`` is when the decision may change by itself; ``level`` is set when the action is ``clean``."""

    action: Action
    rule: str
    reason: str
    until: datetime | None = None
    level: Level = "none"


class Veto(msgspec.Struct, frozen=True, kw_only=True):
    """Why an object must not be touched."""

    rule: str
    reason: str


def effective_outcome(run: Run, scope: Scope) -> Outcome | None:
    """The outcome said, ``unknown`` when the run ended without saying it, None while it may still come."""
    if scope.outcome is None and run.ended:
        return "unknown"
    return scope.outcome


def decide(
    run: Run,
    scope: Scope,
    resource: Resource,
    rules: PolicyRules,
    now: datetime,
    *,
    found: Sequence[Resource] | None = None,
) -> Decision:
    """What is to happen to ``resource`` at ``now`` (UTC).

    ``found`` is what was found through it, for callers that have it at hand; else the scope is searched.
    """
    below = scope.found_through(resource.ref) if found is None else found
    if resource.status == "gone":
        return Decision(action="done", rule=resource.rule, reason=resource.reason)
    held = _hold(run, scope, resource)
    if held is not None:
        return held
    if resource.released_by:
        return _unless_backing_off((resource, *below), now, _released(resource))
    if resource.settled:
        return Decision(action="done", rule=resource.rule, reason=resource.reason)
    if resource.rule == AGE_RULE and not resource.tracked:
        return _unless_backing_off((resource, *below), now, _aged())
    decision = _by_outcome(run, scope, rules, now)
    if decision.action != "clean":
        return decision
    if decision.level == "pods" and resource.ref.kind != PODS and resource.ref.kind not in WORKLOADS:
        return Decision(action="keep", rule="level-pods", reason="level pods frees pods and keeps the rest")
    return _unless_backing_off((resource, *below), now, decision)


def _hold(run: Run, scope: Scope, resource: Resource) -> Decision | None:
    owners = [r for r in scope.own() if r.ref == resource.owner] if resource.owner is not None else []
    for by, why in [(h.held_by, h.held_why) for h in (resource, *owners)] + [
        (scope.held_by, scope.held_why),
        (run.held_by, run.held_why),
    ]:
        if by:
            return Decision(action="keep", rule=HOLD, reason=f"held by {by}" + (f": {why}" if why else ""))
    return None


def _released(resource: Resource) -> Decision:
    return Decision(
        action="clean",
        rule="release",
        reason=f"released by {resource.released_by}",
        level=resource.release_level or "all",
    )


def _aged() -> Decision:
    return Decision(
        action="clean", rule=AGE_RULE, reason="nobody's, and it ended longer ago than age_hours", level="all"
    )


def _by_outcome(run: Run, scope: Scope, rules: PolicyRules, now: datetime) -> Decision:
    outcome = effective_outcome(run, scope)
    if outcome is None:
        return Decision(action="wait", rule="scope-open", reason="its test has not ended")
    if scope.level == "none":
        return Decision(action="keep", rule="level-none", reason="level none cleans nothing")
    if outcome == "unknown":
        return _unknown(run, scope, rules, now)
    if outcome == "failed" and not scope.forced:
        until = (scope.ended_at or now) + rules.preserve_failed
        if now < until:
            reason = "its test failed; kept for somebody to look at"
            return Decision(action="preserve", rule="failed-preserved", reason=reason, until=until)
        return Decision(
            action="clean",
            rule="preserve-expired",
            reason="kept long enough after the failure",
            level=scope.level,
        )
    rule = "failed-forced" if outcome == "failed" else outcome
    return Decision(action="clean", rule=rule, reason=f"its test {outcome}", level=scope.level)


def _unknown(run: Run, scope: Scope, rules: PolicyRules, now: datetime) -> Decision:
    last_sign = run.last_heartbeat or run.finished_at or run.abandoned_at or now
    until = last_sign + rules.orphan_grace
    if now < until:
        return Decision(
            action="wait",
            rule="orphan-grace",
            reason="its run died; waiting in case it comes back",
            until=until,
        )
    return Decision(
        action="clean", rule="run-abandoned", reason="its run died before it could say", level=scope.level
    )


def _unless_backing_off(resources: Iterable[Resource], now: datetime, decision: Decision) -> Decision:
    """A failed attempt at the resource, or at something found through it, waits for its next time."""
    waits = [
        (r.retry_at, r.reason)
        for r in resources
        if r.status == "failed" and r.retry_at is not None and r.retry_at > now
    ]
    if not waits:
        return decision
    until, why = max(waits)
    return Decision(action="wait", rule="backoff", reason=f"the last attempt failed: {why}", until=until)


def scope_ended_at(run: Run, scope: Scope) -> datetime | None:
    """When nothing more could be created on the scope's behalf; None while that is still possible."""
    if scope.outcome not in (None, "unknown"):
        return scope.ended_at
    ends = (scope.ended_at, run.finished_at, run.died_at)
    return min((end for end in ends if end is not None), default=None)


def guard(
    run: Run, scope: Scope, resource: Resource, seen: ObservedObject, rules: PolicyRules, ledger_id: str
) -> Veto | None:
    """Why ``seen`` must not be touched although ``resource`` is due; None when it may be.

    What was found through an owner (a Job's replaced pod) may be younger than the scope: its owner is not.
    And a uid recorded while its test ran is older than the test's end, whatever two hosts' clocks say. What a
    sweep found may have been made by what a test left running, as long as its run lived.
    """
    return (
        _namespace_veto(seen, rules)
        or _kind_veto(seen, rules)
        or annotation_veto(seen)
        or _identity_veto(resource, seen)
        or _ledger_veto(seen, ledger_id)
        or (None if _known_to_be_in_time(resource, seen) else _time_veto(run, scope, resource, seen))
    )


def _known_to_be_in_time(resource: Resource, seen: ObservedObject) -> bool:
    return resource.owner is not None or (resource.tracked and resource.uid == seen.uid)


def _namespace_veto(seen: ObservedObject, rules: PolicyRules) -> Veto | None:
    namespace = seen.ref.namespace
    if namespace in rules.protected_namespaces:
        return Veto(rule="protected-namespace", reason=f"namespace {namespace} is protected")
    if rules.allowed_namespaces and namespace not in rules.allowed_namespaces:
        return Veto(
            rule="namespace-not-allowed", reason=f"namespace {namespace} is not among the allowed ones"
        )
    return None


def _kind_veto(seen: ObservedObject, rules: PolicyRules) -> Veto | None:
    """What holds data or belongs to everybody is deleted only where the configuration names its kind."""
    kind = seen.ref.kind
    if kind in rules.allowed_kinds or (kind not in _DELICATE_KINDS and seen.ref.namespace):
        return None
    return Veto(rule="kind-not-allowed", reason=f"{kind} are deleted only when allowed_kinds names them")


def annotation_veto(seen: ObservedObject) -> Veto | None:
    """Somebody wrote on it that it is to stay."""
    for name in _PRESERVE_ANNOTATIONS:
        if seen.annotations.get(name) == "true":
            return Veto(rule="protected-annotation", reason=f'it carries the annotation {name}: "true"')
    return None


def _identity_veto(resource: Resource, seen: ObservedObject) -> Veto | None:
    if resource.uid and resource.uid != seen.uid:
        return Veto(
            rule="another-uid",
            reason=f"the name now belongs to uid {seen.uid}; what was tracked is {resource.uid}",
        )
    return None


def _ledger_veto(seen: ObservedObject, ledger_id: str) -> Veto | None:
    label = seen.labels.get(LEDGER_LABEL, "")
    if label and label != ledger_id:
        return Veto(rule="other-ledger", reason=f"it belongs to the ledger {label}")
    return None


def _time_veto(run: Run, scope: Scope, resource: Resource, seen: ObservedObject) -> Veto | None:
    whose, ended = "its test", scope_ended_at(run, scope)
    if resource.orphan and resource.uid == seen.uid:
        whose, ended = "its run", run.over_at
    if ended is None or seen.created_at <= ended:
        return None
    return Veto(
        rule="created-after-scope",
        reason=f"it was created at {seen.created_at:%H:%M:%S}, after {whose}'s end at {ended:%H:%M:%S}",
    )


def next_due(run: Run, scope: Scope, rules: PolicyRules, now: datetime) -> datetime | None:
    """The earliest moment at which something of the scope may become due by itself; None when never."""
    untils = (
        now if (decision := decide(run, scope, resource, rules, now)).action == "clean" else decision.until
        for resource in scope.resources.values()
        if not resource.settled
    )
    return min((until for until in untils if until is not None), default=None)
