"""Suspending a Job: it keeps its counts and makes no new pods, and its pods go down without being "failed".

The suspension takes the pods down by itself: before it their uids are in the ledger and their logs followed;
their last words are in the ledger before it says that they are gone.
"""

from __future__ import annotations

import asyncio

import msgspec

from cleanup_scheduler.domain.events import JobSuspended
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.engine.api import OutOfReach
from cleanup_scheduler.engine.pods import Pods
from cleanup_scheduler.engine.work import Thing, Work
from cleanup_scheduler.errors import ClusterError


class Suspension:
    """Of one Job."""

    def __init__(self, work: Work, job: Thing) -> None:
        self.work, self.job = work, job

    async def suspend(self, pods: list[ObservedObject]) -> None:
        """Stop the Job and see its pods off; those that stay are left to whoever deletes pods."""
        work, below = self.work, Pods(self.work)
        things = [below.thing(pod, self.job, None) for pod in pods]
        asked = [msgspec.structs.replace(thing, status="deleting") for thing in things]
        async with below.archived(list(zip(things, pods, strict=True))) as events:
            await work.append(*events, *(work.request(thing, by_suspension=True) for thing in things))
            work.check()
            job = self.job
            if not await work.api.call(lambda: work.api.cluster.suspend_job(job.address, job.uid)):
                return  # it had finished meanwhile: its pods are deleted as those of any finished Job
            await work.append(
                JobSuspended(resource=job.ref, uid=job.uid, pod_uids=[thing.uid for thing in things])
            )
            await self._until_gone(asked)
        await asyncio.gather(*(below.try_confirm(thing, timeout_seconds=0) for thing in asked))

    async def _until_gone(self, things: list[Thing]) -> None:
        """Says nothing yet: what cannot be read, or stays, is seen again by the look that confirms."""
        confirmer, seconds = self.work.confirmer, self.work.settings.confirm_seconds
        waits = (confirmer.gone(thing.address, thing.uid, timeout_seconds=seconds) for thing in things)
        for answer in await asyncio.gather(*waits, return_exceptions=True):
            if isinstance(answer, OutOfReach) or not isinstance(answer, ClusterError | ObservedObject | None):
                raise answer
