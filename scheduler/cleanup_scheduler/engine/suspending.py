"""Suspending a Job: it keeps its counts and makes no new pods, and its pods go down without being "failed".

The suspension takes the pods down by itself: before it their uids are in the ledger and their logs followed.
"""

from __future__ import annotations

import asyncio

from cleanup_scheduler.domain.events import JobSuspended
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.engine.pods import Pods
from cleanup_scheduler.engine.work import Thing, Work


class Suspension:
    """Of one Job."""

    def __init__(self, work: Work, job: Thing) -> None:
        self.work, self.job = work, job

    async def suspend(self, pods: list[ObservedObject]) -> None:
        """Stop the Job and see its pods off; those that stay are left to whoever deletes pods."""
        work, below = self.work, Pods(self.work)
        things = [below.thing(pod, self.job, None) for pod in pods]
        async with below.archived(list(zip(things, pods, strict=True))) as events:
            await work.append(*events, *(work.request(thing, by_suspension=True) for thing in things))
            work.check()
            job = self.job
            if not await work.api.call(lambda: work.api.cluster.suspend_job(job.address, job.uid)):
                return  # it had finished meanwhile: its pods are deleted as those of any finished Job
            await work.append(
                JobSuspended(resource=job.ref, uid=job.uid, pod_uids=[thing.uid for thing in things])
            )
            await asyncio.gather(*(below.try_confirm(thing) for thing in map(_as_requested, things)))


def _as_requested(thing: Thing) -> Thing:
    return Thing(
        ref=thing.ref,
        address=thing.address,
        uid=thing.uid,
        rule=thing.rule,
        owner=thing.owner,
        attempts=thing.attempts,
        status="deleting",
    )
