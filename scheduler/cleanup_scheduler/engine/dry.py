"""A pass that only looks: what would be deleted or kept, and why. Appends and changes nothing."""

from __future__ import annotations

from collections.abc import Callable

from cleanup_scheduler.domain.policy import PolicyRules, Veto, guard
from cleanup_scheduler.domain.state import Resource
from cleanup_scheduler.engine.api import Api, OutOfReach
from cleanup_scheduler.engine.planning import ScopePlan, Target
from cleanup_scheduler.engine.report import Item, PassReport, What
from cleanup_scheduler.errors import ClusterError, UnknownName


class DryRun:
    """Looks at what plans name, and writes into the report what a real pass would do with it."""

    def __init__(
        self,
        api: Api,
        rules: PolicyRules,
        ledger_id: str,
        shared_with: Callable[[str, Resource, str], Veto | None],
        report: PassReport,
    ) -> None:
        self._api, self._rules, self._ledger_id = api, rules, ledger_id
        self._shared_with, self._report = shared_with, report

    async def look(self, plan: ScopePlan) -> None:
        """One scope."""
        for target in plan.keep:
            self._note(plan, target, "kept", target.decision.rule, target.decision.reason)
        for target in plan.preserve:
            self._note(plan, target, "preserved", target.decision.rule, target.decision.reason)
        for target in plan.targets:
            try:
                await self._look_at(plan, target)
            except OutOfReach:
                raise
            except (ClusterError, UnknownName) as error:
                self._note(plan, target, "failed", "", str(error))

    async def _look_at(self, plan: ScopePlan, target: Target) -> None:
        resource = target.resource
        address = await self._api.address(resource.ref)
        seen = await self._api.call(lambda: self._api.cluster.get(address))
        if seen is None or (resource.uid and resource.uid != seen.uid):
            self._note(plan, target, "gone", target.decision.rule, "it is not there any more")
            return
        veto = guard(plan.run, plan.scope, resource, seen, self._rules, self._ledger_id)
        shared = self._shared_with(plan.scope.scope_id, resource, seen.uid)
        if veto is not None:
            self._note(plan, target, "kept", veto.rule, veto.reason)
        elif shared is not None:
            self._note(plan, target, "waiting", shared.rule, shared.reason)
        else:
            level = target.decision.level
            reason = f"{target.decision.reason}; at level {level}"
            self._note(plan, target, "would-delete", target.decision.rule, reason, seen.uid)

    def _note(
        self, plan: ScopePlan, target: Target, what: What, rule: str, reason: str, uid: str = ""
    ) -> None:
        self._report.items.append(
            Item(
                what=what,
                ref=target.resource.ref,
                uid=uid or target.resource.uid,
                run_id=plan.scope.run_id,
                scope_id=plan.scope.scope_id,
                test_id=plan.scope.test_id,
                rule=rule,
                reason=reason,
                until=target.decision.until,
            )
        )
