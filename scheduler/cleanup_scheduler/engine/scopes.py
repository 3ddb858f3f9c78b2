"""One scope from claim to conclusion. Each step is committed before the next: any worker can go on with it.

Refuses to act on a plan older than its claim: what was planned before may be done by now.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Final

from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.policy import guard
from cleanup_scheduler.domain.state import Resource
from cleanup_scheduler.engine.api import OutOfReach
from cleanup_scheduler.engine.cleaning import Cleaner
from cleanup_scheduler.engine.looking import Eyes
from cleanup_scheduler.engine.orphans import SWEPT_KINDS, is_root
from cleanup_scheduler.engine.planning import ScopePlan, Target, at_rest
from cleanup_scheduler.engine.preserving import Preserver
from cleanup_scheduler.engine.securing import Securer
from cleanup_scheduler.engine.work import Work, logger
from cleanup_scheduler.errors import ClusterError, UnknownName

_MAX_ROUNDS: Final = 3  # what was below something that is gone now becomes a target of its own

Replan = Callable[[], Awaitable[ScopePlan]]


class ScopeRunner:
    """Works through one scope's plan, and through what the plan says after that."""

    def __init__(self, work: Work, replan: Replan) -> None:
        self.work, self._replan = work, replan

    async def run(self) -> None:
        """Everything that is to be done for the scope now."""
        work, done = self.work, set[tuple[str, str]]()
        await self._find_labelled()
        for _ in range(_MAX_ROUNDS):
            await self._keep(work.plan.keep)
            await Preserver(work, Eyes(work.api)).preserve(work.plan.preserve, work.plan.secure)
            await self._look(work.plan.unseen)
            await Cleaner(work, Eyes(work.api)).clean_all(work.plan.targets)
            done |= {_key(target) for target in work.plan.targets}
            work.plan = await self._replan()
            if not any(_key(target) not in done for target in work.plan.targets):
                break
        await Securer(work).restore(work.plan.restore)
        await self._conclude()

    async def _find_labelled(self) -> None:
        """What carries this scope's label is its own, though nobody tracked it; looked for when it is due."""
        work, plan = self.work, self.work.plan
        due = any(not target.confirm_only for target in plan.targets)
        if not due or plan.scope.applied_at is not None or plan.scope.level == "none":
            return
        found = await asyncio.gather(*(self._labelled(kind) for kind in SWEPT_KINDS))
        orphans = [
            e.OrphanFound(
                resource=seen.ref,
                uid=seen.uid,
                rule="label",
                likely_test=plan.scope.test_id,
                created_at=seen.created_at,
            )
            for seen in itertools.chain.from_iterable(found)
            if plan.scope.find(seen.ref, seen.uid) is None
        ]
        if orphans:
            await work.append(*orphans)
            work.plan = await self._replan()

    async def _labelled(self, kind: str) -> list[ObservedObject]:
        work, scope, namespace = self.work, self.work.plan.scope, self.work.plan.run.namespace
        if not namespace or not work.ledger_id:
            return []
        try:
            found = await work.api.looks.labelled(
                kind, namespace, ledger_id=work.ledger_id, scope_id=scope.scope_id
            )
            return [seen for seen in found if is_root(seen)]
        except OutOfReach:
            raise
        except ClusterError as error:
            logger.warning("could not look for %s with the label of %s: %s", kind, scope.scope_id, error)
            return []

    async def _keep(self, targets: tuple[Target, ...]) -> None:
        work = self.work
        await work.append(
            *(
                e.ResourceKept(
                    resource=t.resource.ref,
                    uid=t.resource.uid,
                    rule=t.decision.rule,
                    reason=t.decision.reason,
                )
                for t in targets
            )
        )
        for t in targets:
            work.note("kept", t.resource.ref, t.resource.uid, t.decision.rule, t.decision.reason)

    async def _look(self, unseen: tuple[Resource, ...]) -> None:
        """Learn the uids of what was just tracked, before names can be used again."""
        eyes = Eyes(self.work.api)
        await eyes.look_ahead([resource.ref for resource in unseen], pods_too=False)
        await asyncio.gather(*(self._look_at(resource, eyes) for resource in unseen))

    async def _look_at(self, resource: Resource, eyes: Eyes) -> None:
        work, plan = self.work, self.work.plan
        try:
            seen = await eyes.see(await work.api.address(resource.ref))
        except OutOfReach:
            raise
        except (ClusterError, UnknownName):
            return  # looked at again when it is due, and then what fails is recorded
        if seen is None or guard(plan.run, plan.scope, resource, seen, work.rules, work.ledger_id):
            return
        opened = plan.scope.opened_at
        if opened is not None and seen.created_at < opened.replace(microsecond=0):
            return  # a namesake from before the test, perhaps, that the test is about to replace
        await work.append(e.ResourceObserved(resource=resource.ref, uid=seen.uid, created_at=seen.created_at))

    async def _conclude(self) -> None:
        """Say that the policy was applied, once, when nothing is on its way any more."""
        work, plan = self.work, self.work.plan
        changed = work.journal.appended > 0 or plan.settle
        if plan.outcome is None or not changed or not at_rest(plan.scope):
            return
        own = [resource.status for resource in plan.scope.own()]
        await work.append(
            e.PolicyApplied(
                level=plan.scope.level,
                outcome=plan.outcome,
                rule=plan.rule,
                gone=own.count("gone"),
                kept=own.count("kept"),
                preserved=own.count("preserved"),
                given_up=own.count("given-up"),
            )
        )
        work.report.applied_scopes.append(plan.scope.scope_id)


def _key(target: Target) -> tuple[str, str]:
    return (str(target.resource.ref), target.resource.uid)
