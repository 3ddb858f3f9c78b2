"""Pods: their logs into the archive, then a delete with their uid, then the API's word that they are gone.

A pod that fails does so on its own: what else is below the same owner goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cleanup_scheduler.domain.events import LogsArchived
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.state import Resource
from cleanup_scheduler.engine.api import OutOfReach
from cleanup_scheduler.engine.logs import PATIENT_ATTEMPTS, Archived, Following
from cleanup_scheduler.engine.work import Thing, Work
from cleanup_scheduler.errors import ClusterError


class Pods:
    """Acts on the pods of one scope."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._followed: dict[str, tuple[Thing, ObservedObject, Following]] = {}  # by uid, to the last words

    @staticmethod
    def thing(pod: ObservedObject, owner: Thing, known: Resource | None) -> Thing:
        """A pod found below ``owner``."""
        return Thing(
            ref=pod.ref,
            address=pod.ref,
            uid=pod.uid,
            rule=owner.rule,
            owner=owner.ref,
            attempts=known.attempts if known else 0,
            status=known.status if known else "tracked",
        )

    async def try_delete(self, thing: Thing, seen: ObservedObject) -> bool:
        """:meth:`delete`, with a failure recorded. True once it is gone, or given up."""
        try:
            return await self.delete(thing, seen)
        except OutOfReach:
            raise
        except ClusterError as error:
            await self.work.fail(thing, error)
            return False

    async def delete(self, thing: Thing, seen: ObservedObject) -> bool:
        """Archive, request, delete, confirm; True once it is gone."""
        if thing.status == "deleting" and seen.deletion_timestamp is not None:
            return await self.work.confirm(thing)
        async with self.archived([(thing, seen)]) as events:
            await self.work.append(*events, *(() if seen.deletion_timestamp else (self.work.request(thing),)))
            return await self.end(thing, seen)

    async def end(self, thing: Thing, seen: ObservedObject, *, delete: bool = True) -> bool:
        """The delete itself, unless somebody's was accepted before, and its confirmation."""
        work = self.work
        if delete and await self._stands(thing, seen):
            work.check()
            await work.api.call(lambda: work.api.cluster.delete(thing.address, thing.uid))
        if thing.uid not in self._followed:
            return await work.confirm(thing)
        seconds = work.settings.confirm_seconds
        await work.confirmer.gone(thing.address, thing.uid, timeout_seconds=seconds)
        await self._keep_last_words(thing.uid)  # before the ledger says "gone": nobody comes back after that
        return await work.confirm(thing, timeout_seconds=0)

    async def _stands(self, thing: Thing, seen: ObservedObject) -> bool:
        """Nobody has asked for its deletion. Where much goes on, that is asked again, for many in one look:
        the garbage collector may have gone after the pods of Jobs that were deleted meanwhile."""
        if not self.work.api.crowded or seen.deletion_timestamp is not None:
            return seen.deletion_timestamp is None
        now = (await self.work.api.looks.at([thing.address])).get(thing.address)
        return now is not None and now.uid == thing.uid and now.deletion_timestamp is None

    async def try_end(self, thing: Thing, seen: ObservedObject, *, delete: bool) -> bool:
        """:meth:`end`, with a failure recorded."""
        try:
            return await self.end(thing, seen, delete=delete)
        except OutOfReach:
            raise
        except ClusterError as error:
            await self.work.fail(thing, error)
            return False

    async def try_confirm(self, thing: Thing, *, timeout_seconds: float | None = None) -> bool:
        """Whether what was known and is not listed any more is gone."""
        how = "deleted" if thing.status == "deleting" else "found-gone"
        try:
            return await self.work.confirm(thing, how=how, timeout_seconds=timeout_seconds)
        except OutOfReach:
            raise
        except ClusterError as error:
            await self.work.fail(thing, error)
            return False

    @asynccontextmanager
    async def archived(self, pods: list[tuple[Thing, ObservedObject]]) -> AsyncIterator[list[LogsArchived]]:
        """What there is now is kept, to be committed with the request; what still comes, at the end."""
        kept = await asyncio.gather(*(self.archive(thing, pod) for thing, pod in pods))
        followed = {
            thing.uid: (thing, pod, self.work.keeper.follow(pod, archived.running))
            for (thing, pod), archived in zip(pods, kept, strict=True)
            if archived.running
        }
        self._followed.update(followed)
        try:
            yield [event for archived in kept for event in archived.events]
            for uid in followed:
                await self._keep_last_words(uid)
        finally:
            for uid, (_, _, following) in followed.items():
                self._followed.pop(uid, None)
                following.stop()

    async def archive(self, thing: Thing, pod: ObservedObject) -> Archived:
        """Keep what there is; early attempts wait for a log that may be had later."""
        return await self.work.keeper.archive(pod, thing.owner, patient=thing.attempts < PATIENT_ATTEMPTS)

    async def _keep_last_words(self, uid: str) -> None:
        """The rest of a log, once its container has ended (or as far as it came); once."""
        if uid not in self._followed:
            return
        thing, pod, following = self._followed.pop(uid)
        kept = await self.work.keeper.keep_followed(pod, thing.owner, following, ended=True)
        await self.work.append(*kept)
