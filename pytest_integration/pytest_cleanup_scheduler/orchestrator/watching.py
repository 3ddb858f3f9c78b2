"""Follows one suite's Job from its creation to its pod's exit code, handing on its output as it comes.

Reads only, except for :func:`stop`, which suspends the Job. Says what holds a pod up, and when it vanished.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.errors import ClusterUnavailable, Conflict, NotFound, Refused

if TYPE_CHECKING:
    from cleanup_scheduler.cluster import Cluster, PodStatus

_PAUSE_SECONDS: Final = 0.2
_PATIENCE_SECONDS: Final = 10.0  # with a pod that does not start, before anything is said about it
_CANNOT_START: Final = frozenset(
    {"ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "CreateContainerConfigError"}
)
_NO_POD: Final = "it has no pod yet (is a quota full? `kubectl describe job` says why)"


class SuiteEnd(NamedTuple):
    """How a suite ended. Without an exit code ``problem`` says what happened to its pod."""

    exit_code: int | None = None
    problem: str = ""


class Follower:
    """One suite's Job; ``show`` gets its output, ``tell`` sentences about it."""

    def __init__(
        self,
        cluster: Cluster,
        job: ObservedObject,
        show: Callable[[bytes], None],
        tell: Callable[[str], None],
    ) -> None:
        self._cluster, self._job = cluster, job
        self._show, self._tell = show, tell
        self._shown_bytes = 0
        self._said = self._seen_pod = ""

    async def follow(self, timeout_seconds: float) -> SuiteEnd:
        """Until its pod has ended, at most ``timeout_seconds``; raises what the cluster answers."""
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._follow(timeout_seconds)
        except TimeoutError:
            return SuiteEnd(problem=f"it did not end within {timeout_seconds:g} s and was stopped")

    async def _follow(self, timeout_seconds: float) -> SuiteEnd:
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            job = await self._cluster.job_status(self._job.ref)
            pods = await self._cluster.pods_of(self._job)
            status = await self._cluster.pod_status(pods[0].ref) if pods else None
            if status is not None:
                end = await self._follow_pod(pods[0], status, timeout_seconds)
                if end is not None:
                    return end
                self._maybe_say(held_up_by(status), loop.time() - started)
            elif job is None or job.uid != self._job.uid:
                return SuiteEnd(problem="its Job was deleted while it ran")
            elif self._seen_pod:
                return SuiteEnd(problem=f"its pod {self._seen_pod} vanished while it ran")
            elif job.finished:
                return SuiteEnd(problem=f"it never had a pod: {job.reason} {job.message}".strip())
            else:
                self._maybe_say(_NO_POD, loop.time() - started)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _follow_pod(
        self, pod: ObservedObject, status: PodStatus, timeout_seconds: float
    ) -> SuiteEnd | None:
        """Show its output as long as there is some; its end, or None when it goes on."""
        self._seen_pod = pod.ref.name
        main = [container for container in status.containers if container.role == "main"]
        if any(container.has_log for container in main):
            await self._stream(pod, main[0].name, timeout_seconds)
            status = await self._cluster.pod_status(pod.ref) or status
        if status.finished:
            return _ended(status)
        held_up = held_up_by(status)
        if held_up.split(":")[0] in _CANNOT_START:
            return SuiteEnd(problem=f"its pod cannot start: {held_up}")
        return None

    async def _stream(self, pod: ObservedObject, container: str, timeout_seconds: float) -> None:
        """The output until the container ends; what was shown before a break is not shown again."""
        position = 0
        try:
            stream = self._cluster.stream_logs(pod.ref, container, timeout_seconds=timeout_seconds)
            async for chunk in stream:
                fresh = chunk[max(0, self._shown_bytes - position) :]
                position += len(chunk)
                if fresh:
                    self._show(fresh)
                    self._shown_bytes += len(fresh)
        except (ClusterUnavailable, NotFound, Refused) as error:
            self._maybe_say(f"its output broke off: {error.message}", _PATIENCE_SECONDS)

    def _maybe_say(self, text: str, seconds: float) -> None:
        if text and text != self._said and seconds >= _PATIENCE_SECONDS:
            self._said = text
            self._tell(f"waiting: {text}")


def _ended(status: PodStatus) -> SuiteEnd:
    if status.exit_code is None:
        why = f"{status.reason} {status.message}".strip() or status.phase
        return SuiteEnd(problem=f"its pod ended without an exit code: {why}")
    return SuiteEnd(exit_code=status.exit_code)


def held_up_by(status: PodStatus) -> str:
    """Why a pod has not started, in its node's or scheduler's words; empty when nothing holds it up."""
    waiting = [c.reason for c in status.containers if c.state == "waiting" and c.reason]
    if waiting and waiting[0] not in ("ContainerCreating", "PodInitializing"):
        return f"{waiting[0]}: {status.message}" if status.message else waiting[0]
    return f"{status.reason}: {status.message}" if status.phase == "Pending" and status.reason else ""


async def stop(cluster: Cluster, job: ObservedObject) -> None:
    """Stop a suite that shall run no longer; its Job stays."""
    try:
        await cluster.suspend_job(job.ref, job.uid)
    except (NotFound, Conflict):
        return  # it is gone already, or somebody else has its name
