"""The worker's way to the cluster: so many calls at once, and a word for "the cluster is out of reach".

One object whose calls fail is that object's trouble; a cluster that answers nobody is everybody's. An error
that could mean either is settled by one cheap question to the same API. Once out of reach, every further call
of the pass ends at once, so that nobody spins and no resource's attempts are used up by an outage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn, TypeVar

from cleanup_scheduler.cluster import Cluster
from cleanup_scheduler.domain.resources import PODS, ResourceRef, singular
from cleanup_scheduler.engine.looks import Looks
from cleanup_scheduler.errors import ClusterError, ClusterUnavailable, CredentialsRefused

T = TypeVar("T")
_PROBE_NAME = "cleanup-scheduler-probe"  # any answer will do, 404 above all


class OutOfReach(ClusterUnavailable):
    """The cluster answers nobody; the pass is over."""


class Api:
    """The cluster as the engine uses it. ``down`` is the error that ended this pass's calls, if any."""

    def __init__(self, cluster: Cluster, *, concurrency: int) -> None:
        self.cluster = cluster
        self._slots = asyncio.Semaphore(concurrency)
        self._calm = asyncio.Event()
        self._probing = asyncio.Lock()
        self.answered = 0
        self._kinds: dict[str, str] = {}
        self.looks = Looks(self)
        self.down: OutOfReach | None = None

    @property
    def crowded(self) -> bool:
        """A further call would have to wait its turn."""
        return self._slots.locked()

    async def call(self, call: Callable[[], Awaitable[T]], *, slot: bool = True) -> T:
        """Make one call. ``slot=False`` for those that last (a followed log) and must not hold others up."""
        if not slot:
            return await self._call(call)
        try:
            async with self._slots:
                return await self._call(call)
        finally:
            if not self.crowded:
                self._calm.set()

    async def calm(self, *, timeout_seconds: float) -> None:
        """Wait until the API is no longer crowded, and so long at most."""
        if not self.crowded:
            return
        self._calm.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._calm.wait(), timeout_seconds)

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        if self.down is not None:
            raise self.down
        try:
            result = await call()
        except CredentialsRefused as error:
            self._give_up(error)
        except ClusterUnavailable as error:
            if await self._answers():
                raise
            self._give_up(error)
        self.answered += 1
        return result

    def _give_up(self, error: ClusterError) -> NoReturn:
        after = error.retry_after_seconds if isinstance(error, ClusterUnavailable) else None
        self.down = self.down or OutOfReach(
            f"the cluster {self.cluster.name} is out of reach: {error.message}",
            hint=error.hint,
            status=error.status,
            retry_after_seconds=after,
        )
        raise self.down from error

    async def ask(self) -> None:
        """Find out whether the cluster answers, when there is no other reason to ask; ``down`` tells."""
        try:
            await self._call(lambda: self.cluster.get(self._probe()))
        except OutOfReach:
            return
        except ClusterError:
            self.answered += 1  # a refusal is an answer

    def _probe(self) -> ResourceRef:
        return ResourceRef(self.cluster.name, self.cluster.namespace, PODS, _PROBE_NAME)

    async def _answers(self) -> bool:
        """Whether the cluster answers at all; those who ask at the same time share the question."""
        before = self.answered
        async with self._probing:
            if self.down is not None:
                return False
            if self.answered > before:
                return True
            try:
                await self.cluster.get(self._probe())
            except (ClusterUnavailable, CredentialsRefused):
                return False
            except ClusterError:
                pass  # a refusal is an answer
            self.answered += 1
            return True

    async def address(self, ref: ResourceRef) -> ResourceRef:
        """The address in the API's own spelling of the kind; raises ``UnknownName``."""
        if singular(ref.kind) != ref.kind:
            return ref
        if ref.kind not in self._kinds:
            self._kinds[ref.kind] = await self.call(lambda: self.cluster.resolve_kind(ref.kind))
        return ResourceRef(ref.cluster, ref.namespace, self._kinds[ref.kind], ref.name)

    def retry(self) -> None:
        """A new pass begins: the cluster may be back."""
        self.down = None
