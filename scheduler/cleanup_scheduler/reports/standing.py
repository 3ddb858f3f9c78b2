"""Where one resource stands now: its stored status, and for what is still open the policy's word on it.

Every resource stands in exactly one place. Refuses to decide: the policy does, with the time passed in.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cleanup_scheduler.domain.policy import Action, Decision, PolicyRules, decide
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.domain.state import HOLD, Resource, Run, Scope, Status
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


class ScopeView:
    """One scope at one moment; what lies under what is indexed once, however many resources there are."""

    def __init__(self, run: Run, scope: Scope, rules: PolicyRules, now: datetime) -> None:
        self.run, self.scope, self._rules, self._now = run, scope, rules, now
        self._below: dict[ResourceRef, list[Resource]] = {}
        self._owners: dict[ResourceRef, Resource] = {}
        for resource in scope.resources.values():
            if resource.owner is not None:
                self._below.setdefault(resource.owner, []).append(resource)
        for resource in sorted(scope.resources.values(), key=_owner_rank):
            self._owners.setdefault(resource.ref, resource)

    def owner(self, resource: Resource) -> Resource | None:
        """The entry that it was found through; None for what was tracked or swept itself."""
        if resource.tracked or resource.orphan or resource.owner is None:
            return None
        owner = self._owners.get(resource.owner)
        return owner if owner is not resource else None

    def standing(self, resource: Resource) -> tuple[Standing, Decision]:
        """Where it stands, and the decision that holds for it now."""
        speaker = self._speaker(resource)
        found = self._below.get(speaker.ref, ())
        decision = decide(self.run, self.scope, speaker, self._rules, self._now, found=found)
        if resource.status in ("failed", "deleting") or (resource.settled and resource.status != "tracked"):
            return _BY_STATUS[resource.status], decision
        return _BY_ACTION[decision.action], decision

    def _speaker(self, resource: Resource) -> Resource:
        """Whose decision holds: its own, or its owner's for what was only found through that."""
        owner = self.owner(resource)
        if owner is None or owner.status == "gone" or resource.status != "tracked":
            return resource
        return owner

    def report(self, resource: Resource) -> ResourceReport:
        """The resource with its reason in words; ``found`` is left empty."""
        standing, decision = self.standing(resource)
        rule, reason = _why(resource, standing, decision)
        kept = standing == "preserved" or (standing == "kept" and rule == HOLD)
        return ResourceReport(
            ref=resource.ref,
            short=resource.ref.short,
            standing=standing,
            rule=rule,
            reason=reason,
            uid=resource.uid,
            tracked=resource.tracked,
            orphan=resource.orphan,
            until=resource.until
            if standing == "preserved" and resource.until
            else _until(standing, decision),
            retry_at=resource.retry_at,
            gone_at=resource.gone_at,
            tracked_at=resource.tracked_at,
            created_at=resource.created_at,
            attempts=resource.attempts,
            suspended=resource.suspended,
            held_by=resource.held_by,
            held_why=resource.held_why,
            released_by=resource.released_by,
            occupied=resource.occupied if kept else None,
            lifted_ttl_seconds=resource.ttl_seconds if resource.owes_ttl else None,
            unsafe=resource.unsafe if kept else "",
            logs=list(resource.logs),
        )


def _owner_rank(resource: Resource) -> int:
    """Of several entries under one name, what was found belongs to the one that is not gone yet."""
    return (resource.status == "gone") + 2 * (not (resource.tracked or resource.orphan))


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
