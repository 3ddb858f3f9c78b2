"""What is preserved or held must not go by itself, and must be as it was once nobody keeps it any more.

A Job's ``ttlSecondsAfterFinished`` is lifted: the cluster would delete it while somebody looks. Its value is
committed to the ledger before the change, so that a worker that dies in between has lost nothing; it is put
back when the Job stays and nobody keeps it. Every change names the uid and the version that was read:
neither a namesake nor what somebody else set meanwhile is overwritten. Refuses to put back what would remove
an object that by now carries the wish to be preserved.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from cleanup_scheduler.cluster import JobStatus, PodStatus
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.occupied import Occupied
from cleanup_scheduler.domain.policy import guard
from cleanup_scheduler.domain.resources import JOBS, ResourceRef
from cleanup_scheduler.domain.state import Resource
from cleanup_scheduler.engine.api import OutOfReach
from cleanup_scheduler.engine.planning import Target
from cleanup_scheduler.engine.work import Work, logger
from cleanup_scheduler.errors import ClusterError, Conflict, PermissionMissing, UnknownName

_TRY_AGAIN: Final = timedelta(minutes=10)
_TRIES: Final = 5  # the Job controller writes to a Job that runs all the time


class Securer:
    """For the preserved and held resources of one scope, and for those that are so no more."""

    def __init__(self, work: Work) -> None:
        self.work = work

    # ---- while it is kept for somebody -------------------------------------------------------------------

    async def secure(
        self, resource: Resource, address: ResourceRef, seen: ObservedObject, pods: list[ObservedObject]
    ) -> None:
        """Lift the TTL and record what the thing occupies. What may pass is raised and tried again later."""
        before = resource.ttl_seconds if resource.ttl_uid == seen.uid else None
        problem, retry_at = "", None
        try:
            if resource.ref.kind == JOBS:
                before, problem = await self._lift(resource, address, seen.uid, before)
        except ClusterError as error:
            if isinstance(error, OutOfReach) or error.retryable:
                raise
            problem = f"its ttlSecondsAfterFinished could not be lifted: {error}"
            if isinstance(error, PermissionMissing):  # a person's to give
                retry_at = self.work.clock.now() + _TRY_AGAIN
        occupied = await self._occupied(pods)
        await self.work.append(
            e.ResourceSecured(
                resource=resource.ref,
                uid=seen.uid,
                ttl_seconds=before,
                problem=problem,
                retry_at=retry_at,
                running_pods=occupied.running_pods,
                cpu_millicores=occupied.cpu_millicores,
                memory_bytes=occupied.memory_bytes,
            )
        )
        if problem:
            logger.warning("%s is to be preserved, but %s", resource.ref, problem)

    async def not_ours(self, resource: Resource, problem: str) -> None:
        """Say once that nothing could be done, and why."""
        await self.work.append(
            e.ResourceSecured(
                resource=resource.ref, uid=resource.uid, ttl_seconds=resource.ttl_seconds, problem=problem
            )
        )

    async def _lift(
        self, resource: Resource, address: ResourceRef, uid: str, before: int | None
    ) -> tuple[int | None, str]:
        """What it had (None: nothing), and what is wrong all the same."""
        for attempt in range(1, _TRIES + 1):
            job = await self._job(address, uid)
            if job is None or job.deleting:
                return before, "the cluster was deleting it already"
            ttl_seconds = job.ttl_seconds_after_finished
            if ttl_seconds is None:
                return before, ""
            if ttl_seconds != before:
                before = ttl_seconds
                await self.work.append(
                    e.ResourceSecured(resource=resource.ref, uid=uid, ttl_seconds=before, lifting=True)
                )
            try:
                await self._set(job, address, None)
            except Conflict:
                if attempt == _TRIES:
                    raise
            else:
                return before, ""
        raise AssertionError("the last attempt returns or raises")

    async def _occupied(self, pods: list[ObservedObject]) -> Occupied:
        api = self.work.api
        statuses = await asyncio.gather(
            *(api.call(lambda pod=pod: api.cluster.pod_status(pod.ref)) for pod in pods)  # type: ignore[misc]
        )
        return _occupied_by([status for status in statuses if status is not None and not status.finished])

    # ---- when nobody keeps it any more -------------------------------------------------------------------

    async def restore(self, targets: tuple[Target, ...]) -> None:
        """Put back what was lifted."""
        await asyncio.gather(*(self._try_restore(target.resource) for target in targets))

    async def _try_restore(self, resource: Resource) -> None:
        problem = ""
        try:
            problem = await self._restore(resource)
        except OutOfReach:
            raise
        except (ClusterError, UnknownName) as error:
            if error.retryable:
                logger.warning("the TTL of %s is not put back yet: %s", resource.ref, error)
                return
            problem = str(error)
        await self.work.append(
            e.TtlRestored(
                resource=resource.ref,
                uid=resource.uid,
                ttl_seconds=resource.ttl_seconds or 0,
                problem=problem,
            )
        )
        if problem:
            logger.info("the TTL of %s is not put back: %s", resource.ref, problem)

    async def _restore(self, resource: Resource) -> str:
        """Why it was not put back; empty when it was."""
        work, plan = self.work, self.work.plan
        address = await work.api.address(resource.ref)
        for attempt in range(1, _TRIES + 1):
            seen = await work.api.call(lambda: work.api.cluster.get(address))
            if seen is None or seen.uid != resource.ttl_uid:
                return "the Job is gone"
            veto = guard(plan.run, plan.scope, resource, seen, work.rules, work.ledger_id)
            if veto is not None:
                return veto.reason
            job = await self._job(address, resource.ttl_uid)
            if job is None or job.deleting:
                return "the Job is gone"
            if job.ttl_seconds_after_finished is not None:
                is_ours = job.ttl_seconds_after_finished == resource.ttl_seconds
                return "" if is_ours else f"somebody set it to {job.ttl_seconds_after_finished} meanwhile"
            try:
                await self._set(job, address, resource.ttl_seconds)
            except Conflict:
                if attempt == _TRIES:
                    raise
            else:
                return ""
        raise AssertionError("the last attempt returns or raises")

    # ---- the Job -----------------------------------------------------------------------------------------

    async def _job(self, address: ResourceRef, uid: str) -> JobStatus | None:
        job = await self.work.api.call(lambda: self.work.api.cluster.job_status(address))
        return job if job is not None and job.uid == uid else None

    async def _set(self, job: JobStatus, address: ResourceRef, ttl_seconds: int | None) -> None:
        self.work.check()
        await self.work.api.call(
            lambda: self.work.api.cluster.set_job_ttl(
                address, job.uid, ttl_seconds, resource_version=job.resource_version
            )
        )


def _occupied_by(pods: list[PodStatus]) -> Occupied:
    return Occupied(
        running_pods=len(pods),
        cpu_millicores=int(sum(pod.requests.get("cpu", 0) for pod in pods) * 1000),
        memory_bytes=int(sum(pod.requests.get("memory", 0) for pod in pods)),
    )
