"""Whether a quota's count has caught up with what there is: until then room that is free is refused.

The controller that counts is often behind, by up to minutes. Nothing here concludes from the count that
something is gone; it only compares the count with what the API serves. Refuses to guess about what it cannot
compare: limits, storage, custom counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Final

from cleanup_scheduler.cluster.objects import Objects
from cleanup_scheduler.cluster.together import together
from cleanup_scheduler.cluster.workloads import Quota, quantity, read_pod
from cleanup_scheduler.domain.resources import JOBS, PODS

_ACTIVE: Final = "status.phase!=Succeeded,status.phase!=Failed"  # what has ended takes no room
_COUNTS: Final = {
    "pods": (PODS, _ACTIVE),
    "count/pods": (PODS, ""),
    "count/jobs.batch": (JOBS, ""),
}
_COMPUTE: Final = {
    "cpu": "cpu",
    "requests.cpu": "cpu",
    "memory": "memory",
    "requests.memory": "memory",
}
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 1.0
_GROWTH: Final = 1.5

ReadQuota = Callable[[], Awaitable[Quota]]


class Counting:
    """Compares quotas with the objects of their namespace."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def wait_counted(self, read: ReadQuota, namespace: str, *, timeout_seconds: float) -> bool:
        """Wait until the quota counts no more than there is; False when it still does after the time."""
        deadline, pause = time.monotonic() + timeout_seconds, _FIRST_PAUSE_SECONDS
        while not await self._is_counted(await read(), namespace):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(pause * _GROWTH, _LONGEST_PAUSE_SECONDS)
        return True

    async def _is_counted(self, quota: Quota, namespace: str) -> bool:
        """What is made meanwhile is in both: it was counted when it was admitted."""
        for key, (kind, field_selector) in _COUNTS.items():
            if key in quota.used:
                count = await self._count(kind, namespace, field_selector)
                if quantity(quota.used[key]) > count:
                    return False
        if "pods" in quota.used:
            return True  # counted in one go with what the pods request
        compute = [key for key in _COMPUTE if key in quota.used]
        requested = await self._requested(namespace) if compute else {}
        return all(quantity(quota.used[key]) <= requested[_COMPUTE[key]] for key in compute)

    async def _count(self, kind: str, namespace: str, field_selector: str) -> int:
        found = self._objects.list(kind, namespace, field_selector=field_selector)
        return len([None async for _ in found])

    async def _requested(self, namespace: str) -> dict[str, Decimal]:
        refs = [seen.ref async for seen in self._objects.list(PODS, namespace, field_selector=_ACTIVE)]
        bodies = await together(self._objects.get_body(ref) for ref in refs)
        pods = [read_pod(body, ref) for ref, body in zip(refs, bodies, strict=True) if body is not None]
        return {
            resource: sum((pod.requests[resource] for pod in pods), Decimal(0))
            for resource in ("cpu", "memory")
        }
