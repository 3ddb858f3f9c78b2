"""What is preserved or held: nothing in the cluster may remove it, and a failed test's logs are kept as soon
as its outcome is known, whatever becomes of its pods later.

Refuses to hold anything up: a log that cannot be read now is read when its pod is cleaned, or missing then.
"""

from __future__ import annotations

import asyncio

from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.policy import guard
from cleanup_scheduler.domain.resources import PODS, ResourceRef
from cleanup_scheduler.engine.api import OutOfReach
from cleanup_scheduler.engine.looking import Eyes, may_own_pods
from cleanup_scheduler.engine.planning import Target
from cleanup_scheduler.engine.securing import Securer
from cleanup_scheduler.engine.work import Work, logger, thing_of
from cleanup_scheduler.errors import ClusterError, UnknownName


class Preserver:
    """For the preserved and held resources of one scope."""

    def __init__(self, work: Work, eyes: Eyes) -> None:
        self.work, self.eyes = work, eyes
        self.securer = Securer(work)

    async def preserve(self, targets: tuple[Target, ...], secure: tuple[Target, ...]) -> None:
        """Say until when; then see to it that it stays, and keep the logs."""
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
        logs = {_key(t) for t in targets} if work.settings.archive_logs else set()
        to_secure = {_key(t) for t in secure}
        looked_at = {_key(t): t for t in (*targets, *secure) if _key(t) in logs | to_secure}
        await self.eyes.look_ahead(t.resource.ref for t in looked_at.values())
        await asyncio.gather(
            *(self._look_after(t, secure=key in to_secure, logs=key in logs) for key, t in looked_at.items())
        )

    async def _look_after(self, target: Target, *, secure: bool, logs: bool) -> None:
        try:
            await self._try_to_look_after(target, secure=secure, logs=logs)
        except OutOfReach:
            raise
        except (ClusterError, UnknownName) as error:
            ref = target.resource.ref
            logger.warning("%s, which is preserved, could not be looked after yet: %s", ref, error)
            if secure and not error.retryable:
                await self.securer.not_ours(target.resource, str(error))

    async def _try_to_look_after(self, target: Target, *, secure: bool, logs: bool) -> None:
        work, resource = self.work, target.resource
        address = await work.api.address(resource.ref)
        seen = await self.eyes.see(address)
        if seen is None or (resource.uid and seen.uid != resource.uid):
            await self._not_there(target, secure=secure)
            return
        veto = guard(work.plan.run, work.plan.scope, resource, seen, work.rules, work.ledger_id)
        if veto is not None:
            if secure:
                await self.securer.not_ours(resource, veto.reason)
            return
        if not resource.uid:
            await work.append(
                e.ResourceObserved(resource=resource.ref, uid=seen.uid, created_at=seen.created_at)
            )
        kind = resource.ref.kind
        pods = [seen] if kind == PODS else await self.eyes.pods_of(seen) if may_own_pods(kind) else []
        todo = [self.securer.secure(resource, address, seen, pods)] if secure else []
        if logs:
            todo += [self._keep_log(target, pod) for pod in pods]
        for result in await asyncio.gather(*todo, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _not_there(self, target: Target, *, secure: bool) -> None:
        """Somebody else deleted what we had seen; what nobody saw may still come."""
        if target.resource.uid:
            await self.work.gone(thing_of(target.resource, target.decision), "found-gone")
        elif secure:
            await self.securer.not_ours(target.resource, "nothing had that name when it was looked for")

    async def _keep_log(self, target: Target, pod: ObservedObject) -> None:
        owner = target.resource.ref
        if owner.kind == PODS:
            archived = await self.work.keeper.archive(pod, target.resource.owner)
            await self.work.append(*archived.events)
            return
        seen = e.ResourceObserved(resource=pod.ref, uid=pod.uid, created_at=pod.created_at, owner=owner)
        archived = await self.work.keeper.archive(pod, owner)
        await self.work.append(seen, *archived.events)


def _key(target: Target) -> tuple[ResourceRef, str]:
    return (target.resource.ref, target.resource.uid)
