"""Where one resource stands now: its stored status, and for what is still open the policy's word on it.

Every resource stands in exactly one place. Refuses to decide: the policy does, with the time passed in.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cleanup_scheduler.domain.policy import Action, Decision, PolicyRules, decide
from cleanup_scheduler.domain.state import Resource, Run, Scope, Status
from cleanup_scheduler.reports.model import ResourceReport, Standing

_BY_ACTION: Final[dict[Action, Standing]] = {
    "wait": "waiting",
    "clean": "due",
    "keep": "kept",
    "preserve": "preserved",
    "done": "kept",
}
_BY_STATUS: Final[dict[Status, Standing]] = {
    "gone": "gone",
    "given-up": "given-up",
    "failed": "failed",
    "deleting": "deleting",
    "kept": "kept",
}
_HOW_GONE: Final = {
    "deleted": "deleted",
    "found-gone": "was gone already when it was looked for",
    "never-seen": "never existed as far as the cluster knows",
}


def standing_of(
    run: Run, scope: Scope, resource: Resource, rules: PolicyRules, now: datetime
) -> tuple[Standing, Decision]:
    """Where it stands, and the decision that holds for it now."""
    decision = decide(run, scope, _speaker(scope, resource), rules, now)
    if resource.status in ("failed", "deleting") or (resource.settled and resource.status != "tracked"):
        return _BY_STATUS[resource.status], decision
    return _BY_ACTION[decision.action], decision


def _speaker(scope: Scope, resource: Resource) -> Resource:
    """Whose decision holds: its own, or its owner's for what was only found through that."""
    if resource.tracked or resource.orphan or resource.owner is None or resource.status != "tracked":
        return resource
    owner = next((r for r in scope.own() if r.ref == resource.owner), None)
    return owner if owner is not None and owner.status != "gone" else resource


def report_resource(
    run: Run, scope: Scope, resource: Resource, rules: PolicyRules, now: datetime
) -> ResourceReport:
    """The resource with its reason in words; ``found`` is left empty."""
    standing, decision = standing_of(run, scope, resource, rules, now)
    rule, reason = _why(resource, standing, decision)
    return ResourceReport(
        ref=resource.ref,
        short=resource.ref.short,
        standing=standing,
        rule=rule,
        reason=reason,
        uid=resource.uid,
        tracked=resource.tracked,
        orphan=resource.orphan,
        until=resource.until if standing == "preserved" and resource.until else _until(standing, decision),
        retry_at=resource.retry_at,
        gone_at=resource.gone_at,
        tracked_at=resource.tracked_at,
        created_at=resource.created_at,
        attempts=resource.attempts,
        suspended=resource.suspended,
        held_by=resource.held_by,
        held_why=resource.held_why,
        released_by=resource.released_by,
        logs=list(resource.logs),
    )


def _until(standing: Standing, decision: Decision) -> datetime | None:
    return decision.until if standing in ("waiting", "preserved") else None


def _why(resource: Resource, standing: Standing, decision: Decision) -> tuple[str, str]:
    match standing:
        case "gone":
            how = _HOW_GONE.get(resource.reason, resource.reason)
            return resource.rule or resource.reason, how
        case "given-up" | "failed" | "deleting":
            return resource.rule, resource.reason
        case "kept" if resource.settled:
            return resource.rule, resource.reason
        case _:
            return decision.rule, decision.reason
