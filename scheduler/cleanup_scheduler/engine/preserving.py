"""A failed test's logs are kept as soon as its outcome is known, whatever becomes of its pods later.

Refuses to hold anything up: a log that cannot be read now is read when its pod is cleaned, or missing then.
"""

from __future__ import annotations

import asyncio

from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.policy import guard
from cleanup_scheduler.domain.resources import PODS
from cleanup_scheduler.engine.api import OutOfReach
from cleanup_scheduler.engine.looking import Eyes, may_own_pods
from cleanup_scheduler.engine.planning import Target
from cleanup_scheduler.engine.work import Work, logger
from cleanup_scheduler.errors import ClusterError, UnknownName


class Preserver:
    """For the preserved resources of one scope."""

    def __init__(self, work: Work, eyes: Eyes) -> None:
        self.work, self.eyes = work, eyes

    async def preserve(self, targets: tuple[Target, ...]) -> None:
        """Say until when, then keep the logs."""
        work = self.work
        said = [(t, t.decision.until or work.clock.now()) for t in targets]
        await work.append(
            *(
                e.ResourcePreserved(
                    resource=t.resource.ref, uid=t.resource.uid, until=until, rule=t.decision.rule
                )
                for t, until in said
            )
        )
        for t, until in said:
            work.note("preserved", t.resource.ref, t.resource.uid, t.decision.rule, t.decision.reason, until)
        if work.settings.archive_logs:
            await self.eyes.look_ahead(t.resource.ref for t in targets)
            await asyncio.gather(*map(self._keep_logs, targets))

    async def _keep_logs(self, target: Target) -> None:
        work, resource = self.work, target.resource
        try:
            seen = await self.eyes.see(await work.api.address(resource.ref))
            if seen is None or guard(
                work.plan.run, work.plan.scope, resource, seen, work.rules, work.ledger_id
            ):
                return
            if not resource.uid:
                await work.append(
                    e.ResourceObserved(resource=resource.ref, uid=seen.uid, created_at=seen.created_at)
                )
            if resource.ref.kind == PODS:
                await work.append(*(await work.keeper.archive(seen, resource.owner)).events)
            elif may_own_pods(resource.ref.kind):
                pods = await self.eyes.pods_of(seen)
                await asyncio.gather(*(self._keep_log_below(target, pod) for pod in pods))
        except OutOfReach:
            raise
        except (ClusterError, UnknownName) as error:
            logger.warning(
                "the logs of %s, which is preserved, could not be kept yet: %s", resource.ref, error
            )

    async def _keep_log_below(self, target: Target, pod: ObservedObject) -> None:
        owner = target.resource.ref
        seen = e.ResourceObserved(resource=pod.ref, uid=pod.uid, created_at=pod.created_at, owner=owner)
        archived = await self.work.keeper.archive(pod, owner)
        await self.work.append(seen, *archived.events)
