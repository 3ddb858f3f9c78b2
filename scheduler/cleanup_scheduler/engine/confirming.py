"""Waits until uids are served no more, for everybody who waits at once: one look answers all of them.

Refuses to conclude anything from an accepted delete: only the API's word that the uid is not there counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.engine.api import Api, OutOfReach
from cleanup_scheduler.errors import ClusterError

_FIRST_PAUSE_SECONDS: Final = 0.03
_LONGEST_PAUSE_SECONDS: Final = 1.0
_GROWTH: Final = 1.5
_PAUSE_PER_LOOK: Final = 4.0  # a fifth of the time at most goes into looking ...
_PAUSE_PER_LOOK_WHEN_IDLE: Final = 1.0  # ... or half of it, when there is nothing else to ask the API

Seen = ObservedObject | None


class _Waiter(msgspec.Struct):
    ref: ResourceRef
    uid: str
    deadline: float
    future: asyncio.Future[Seen]

    def settle(self, answer: Seen | ClusterError) -> None:
        if self.future.done():
            return
        if isinstance(answer, ClusterError):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


class Confirmer:
    """Shared by all scopes of a worker."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._waiters: list[_Waiter] = []
        self._looking: asyncio.Task[None] | None = None
        self._pause = _FIRST_PAUSE_SECONDS
        self._answered_in = 0.0  # seconds, without the wait for its turn
        self._hurried = False

    async def gone(self, ref: ResourceRef, uid: str, *, timeout_seconds: float) -> Seen:
        """None once the uid is gone; the object as last seen when it is still there after the time-out."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (0.0 if self._hurried else timeout_seconds)
        waiter = _Waiter(ref, uid, deadline, loop.create_future())
        self._waiters.append(waiter)
        self._pause = _FIRST_PAUSE_SECONDS
        if self._looking is None or self._looking.done():
            self._looking = loop.create_task(self._look_until_all_are_answered())
        return await waiter.future

    def hurry(self) -> None:
        """From now on one look answers: what is still there then is confirmed by whoever comes later."""
        self._hurried = True
        now = asyncio.get_running_loop().time()
        for waiter in self._waiters:
            waiter.deadline = min(waiter.deadline, now)

    async def _look_until_all_are_answered(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiters:
            began = loop.time()
            await self._look()
            self._waiters = [waiter for waiter in self._waiters if not waiter.future.done()]
            if not self._waiters:
                return
            await self._rest(loop.time() - began)

    async def _rest(self, look_seconds: float) -> None:
        """Let the API get on with what is asked of it; not for longer than it has something to do."""
        now = asyncio.get_running_loop().time
        latest = min(now() + _LONGEST_PAUSE_SECONDS, *(waiter.deadline for waiter in self._waiters))
        least = now() + max(self._pause, _PAUSE_PER_LOOK_WHEN_IDLE * self._answered_in)
        most = now() + max(self._pause, _PAUSE_PER_LOOK * look_seconds)
        self._pause *= _GROWTH
        await asyncio.sleep(max(0.0, min(least, latest) - now()))
        await self._api.calm(timeout_seconds=max(0.0, min(most, latest) - now()))

    async def _look(self) -> None:
        waiters = list(self._waiters)
        refs = sorted({waiter.ref for waiter in waiters})
        try:
            seen = await self._api.call(lambda: self._get_many(refs))
        except OutOfReach as error:
            _settle_all(waiters, error)
        except ClusterError:
            await asyncio.gather(*(self._look_at_one(waiter) for waiter in waiters))
        else:
            for waiter in waiters:
                self._answer(waiter, seen.get(waiter.ref))

    async def _get_many(self, refs: Sequence[ResourceRef]) -> Mapping[ResourceRef, ObservedObject]:
        began = time.perf_counter()
        seen = await self._api.cluster.get_many(refs)
        self._answered_in = time.perf_counter() - began
        return seen

    async def _look_at_one(self, waiter: _Waiter) -> None:
        """Something among many cannot be read: the others get their answer all the same."""
        try:
            self._answer(waiter, await self._api.call(lambda: self._api.cluster.get(waiter.ref)))
        except ClusterError as error:
            waiter.settle(error)

    def _answer(self, waiter: _Waiter, seen: Seen) -> None:
        if seen is None or seen.uid != waiter.uid:
            waiter.settle(None)
        elif asyncio.get_running_loop().time() >= waiter.deadline:
            waiter.settle(seen)


def _settle_all(waiters: list[_Waiter], error: ClusterError) -> None:
    for waiter in waiters:
        waiter.settle(error)
