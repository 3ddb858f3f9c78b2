"""What there is to do for a scope, decided on the state of one moment and copied out of it.

Pure: state and time in, a plan out. Acting happens elsewhere and later, on copies, so that a replay which
goes on meanwhile changes nothing under anybody's hands. What a plan does not name is not touched.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, TypeVar

import msgspec

from cleanup_scheduler.domain.policy import (
    AGE_RULE,
    WORKLOADS,
    Decision,
    PolicyRules,
    decide,
    effective_outcome,
)
from cleanup_scheduler.domain.resources import PODS, Outcome, ResourceRef
from cleanup_scheduler.domain.state import HOLD, Resource, Run, Scope, resource_key

FINAL: Final = frozenset({"gone", "kept", "preserved", "given-up"})
StateStruct = TypeVar("StateStruct", Run, Scope, Resource)


def copy(struct: StateStruct) -> StateStruct:
    """A copy that a replay going on meanwhile does not change."""
    return msgspec.structs.replace(struct)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A resource to act on, and what was found through it. ``decision`` is clean, or why only to look."""

    resource: Resource
    decision: Decision
    found: tuple[Resource, ...] = ()

    @property
    def confirm_only(self) -> bool:
        """Its deletion was requested; since then it may no longer be asked for again (a hold, say)."""
        return self.decision.action != "clean"


class ScopePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done for one scope now.

    ``secure``: preserved or held, and nobody has seen to it yet that the cluster does not remove it.
    ``restore``: neither any more, and what was lifted for that is owed.
    """

    run: Run
    scope: Scope
    outcome: Outcome | None
    targets: tuple[Target, ...] = ()
    keep: tuple[Target, ...] = ()
    preserve: tuple[Target, ...] = ()
    secure: tuple[Target, ...] = ()
    restore: tuple[Target, ...] = ()
    unseen: tuple[Resource, ...] = ()
    settle: bool = False
    rule: str = ""

    @property
    def idle(self) -> bool:
        """Nothing is to be done."""
        return not (
            self.targets
            or self.keep
            or self.preserve
            or self.secure
            or self.restore
            or self.unseen
            or self.settle
        )

    @property
    def signature(self) -> int:
        """The same as long as there is the same to be done."""
        targets = (*self.targets, *self.keep, *self.preserve, *self.secure, *self.restore)
        said = tuple((t.resource.ref, t.resource.uid, t.resource.status, t.decision) for t in targets)
        return hash((said, tuple(resource.ref for resource in self.unseen), self.settle))

    @property
    def deletions(self) -> int:
        """How many resources this plan would newly ask the API to delete."""
        return sum(
            not target.confirm_only and target.resource.status != "deleting" for target in self.targets
        )


def plan_scope(run: Run, scope: Scope, rules: PolicyRules, now: datetime, *, cluster: str) -> ScopePlan:
    """The plan of one scope, for the worker that serves ``cluster``."""
    outcome = effective_outcome(run, scope)
    found = found_by_owner(scope)
    draft = _Draft(now)
    for resource in scope.resources.values():
        if resource.ref.cluster != cluster or (resource.settled and not resource.owes_ttl):
            continue
        if _belongs_to_its_owner(scope, resource):
            continue
        children = found.get(resource.ref, [])
        decision = decide(run, scope, resource, rules, now, found=children)
        target = Target(resource=copy(resource), decision=decision, found=tuple(map(copy, children)))
        draft.add(target, ended=outcome is not None)
    return ScopePlan(
        run=copy(run),
        scope=copy(scope),
        outcome=outcome,
        targets=tuple(draft.targets),
        keep=tuple(draft.keep),
        preserve=tuple(draft.preserve),
        secure=tuple(draft.secure),
        restore=tuple(draft.restore),
        unseen=tuple(draft.unseen),
        settle=scope.outcome is None and outcome is not None and at_rest(scope),
        rule=_rule(scope, outcome),
    )


class _Draft:
    """A plan in the making."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.targets: list[Target] = []
        self.keep: list[Target] = []
        self.preserve: list[Target] = []
        self.secure: list[Target] = []
        self.restore: list[Target] = []
        self.unseen: list[Resource] = []

    def add(self, target: Target, *, ended: bool) -> None:
        resource, decision = target.resource, target.decision
        if _wants_securing(resource, decision, self.now):
            self.secure.append(target)
        elif resource.owes_ttl and _is_let_go(decision):
            self.restore.append(target)
        if resource.settled:
            return
        if decision.action == "clean" or resource.status == "deleting":
            self.targets.append(target)
        elif decision.action == "keep" and ended:
            if (resource.status, resource.rule) != ("kept", decision.rule):
                self.keep.append(target)
        elif decision.action == "preserve":
            if (resource.status, resource.until) != ("preserved", decision.until):
                self.preserve.append(target)
        elif resource.tracked and not resource.uid and resource.status == "tracked":
            self.unseen.append(resource)


def _wants_securing(resource: Resource, decision: Decision, now: datetime) -> bool:
    """A Job, pod or workload that is to stay for somebody, as long as nobody has seen to it."""
    is_seen_to = resource.secured and (resource.secure_at is None or now < resource.secure_at)
    if is_seen_to or resource.status == "deleting" or _is_found(resource):
        return False
    to_stay = decision.action == "preserve" or decision.rule == HOLD
    return to_stay and (resource.ref.kind == PODS or resource.ref.kind in WORKLOADS)


def _is_let_go(decision: Decision) -> bool:
    """It stays in the cluster and nobody asks for that any more. What is due is cleaned first."""
    if decision.rule == HOLD or decision.action in ("clean", "preserve"):
        return False
    return decision.rule != "backoff"


def _rule(scope: Scope, outcome: Outcome | None) -> str:
    """By which rule the scope as a whole is treated; its resources may have their own."""
    if scope.level == "none":
        return "level-none"
    if any(resource.rule == AGE_RULE for resource in scope.own()):
        return AGE_RULE
    if any(resource.status == "preserved" for resource in scope.resources.values()):
        return "failed-preserved"
    if outcome == "failed":
        return "failed-forced" if scope.forced else "preserve-expired"
    return "run-abandoned" if outcome == "unknown" else outcome or ""


def found_by_owner(scope: Scope) -> dict[ResourceRef, list[Resource]]:
    """What was found through each resource of the scope."""
    found: dict[ResourceRef, list[Resource]] = {}
    for resource in scope.resources.values():
        if resource.owner is not None:
            found.setdefault(resource.owner, []).append(resource)
    return found


def at_rest(scope: Scope) -> bool:
    """Everything of its own is gone, kept, preserved or given up, and nothing below it is being deleted."""
    return all(
        resource.status not in ("deleting", "failed") if _is_found(resource) else resource.status in FINAL
        for resource in scope.resources.values()
    )


def _is_found(resource: Resource) -> bool:
    return resource.owner is not None and not resource.tracked


def _belongs_to_its_owner(scope: Scope, resource: Resource) -> bool:
    """What was found through something that is still worked on is worked on together with it."""
    if not _is_found(resource) or resource.owner is None:
        return False
    owner = scope.resources.get(resource_key(resource.owner))
    if owner is None:  # an orphan, then, keyed by its uid
        owner = next((r for r in scope.own() if r.ref == resource.owner), None)
    return owner is not None and not owner.settled
