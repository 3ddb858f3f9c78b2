"""Looks at the cluster for all scopes of a worker: what they want to see at the same moment is one list.

A look answers only those who asked before it began. Refuses to remember anything longer than that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from cleanup_scheduler.cluster import JobStatus, PodStatus
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.policy import LEDGER_LABEL, SCOPE_LABEL
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.engine.batching import Batches
from cleanup_scheduler.errors import ClusterError

if TYPE_CHECKING:
    from cleanup_scheduler.engine.api import Api

_MAX_OBJECTS: Final = 10_000
_MAX_SCOPES_IN_A_SELECTOR: Final = 50

Seen = Mapping[ResourceRef, ObservedObject]


class _Label(msgspec.Struct, frozen=True):
    kind: str
    namespace: str
    ledger_id: str
    scope_id: str


class Looks:
    """Shared by all scopes of a worker. Raises what the cluster's calls raise; an odd object, or a namespace
    that may not be read, spoils only the look of who asked for it."""

    def __init__(self, api: Api) -> None:
        self._api = api
        alone = (ClusterError,)
        self._objects = Batches(self._see, max_weight=_MAX_OBJECTS, weight=len, each_alone=alone)
        self._pods = Batches(self._see_pods, max_weight=_MAX_OBJECTS, weight=len, each_alone=alone)
        self._statuses = Batches(self._see_statuses, each_alone=alone)
        self._job_statuses = Batches(self._see_job_statuses, each_alone=alone)
        self._labels = Batches(self._see_labelled, max_weight=_MAX_OBJECTS, each_alone=alone)

    async def at(self, refs: Collection[ResourceRef]) -> Seen:
        """Those of them that exist (and perhaps others)."""
        return await self._objects.ask(refs)

    async def pods_of(self, owners: Collection[ObservedObject]) -> Mapping[str, list[ObservedObject]]:
        """The pods below each workload, by its uid (and perhaps others')."""
        return await self._pods.ask(owners)

    async def status_of(self, pod: ResourceRef) -> PodStatus | None:
        """How the pod and its containers stand; None when nothing has that name."""
        return await self._statuses.ask(pod)

    async def status_of_job(self, job: ResourceRef) -> JobStatus | None:
        """How the Job stands; None when nothing has that name."""
        return await self._job_statuses.ask(job)

    async def labelled(
        self, kind: str, namespace: str, *, ledger_id: str, scope_id: str
    ) -> list[ObservedObject]:
        """What carries the label of that scope."""
        return await self._labels.ask(_Label(kind, namespace, ledger_id, scope_id))

    # ---- one call each -----------------------------------------------------------------------------------

    async def _see(self, asks: Sequence[Collection[ResourceRef]]) -> Sequence[Seen]:
        refs = {ref for ask in asks for ref in ask}
        seen = await self._api.call(lambda: self._api.cluster.get_many(list(refs)))
        return [seen] * len(asks)

    async def _see_pods(
        self, asks: Sequence[Collection[ObservedObject]]
    ) -> Sequence[Mapping[str, list[ObservedObject]]]:
        owners = {owner.uid: owner for ask in asks for owner in ask}
        found = await self._api.call(lambda: self._api.cluster.pods_of_many(list(owners.values())))
        return [found] * len(asks)

    async def _see_statuses(self, pods: Sequence[ResourceRef]) -> Sequence[PodStatus | None]:
        found = await self._api.call(lambda: self._api.cluster.pod_statuses(pods))
        return [found.get(pod) for pod in pods]

    async def _see_job_statuses(self, jobs: Sequence[ResourceRef]) -> Sequence[JobStatus | None]:
        found = await self._api.call(lambda: self._api.cluster.job_statuses(jobs))
        return [found.get(job) for job in jobs]

    async def _see_labelled(self, asks: Sequence[_Label]) -> Sequence[list[ObservedObject]]:
        lists = {(ask.kind, ask.namespace, ask.ledger_id): set[str]() for ask in asks}
        for ask in asks:
            lists[ask.kind, ask.namespace, ask.ledger_id].add(ask.scope_id)
        found: dict[tuple[str, str], list[ObservedObject]] = {}
        for (kind, namespace, ledger_id), scope_ids in lists.items():
            for seen in await self._of_scopes(kind, namespace, ledger_id, scope_ids):
                found.setdefault((kind, seen.labels[SCOPE_LABEL]), []).append(seen)
        return [
            [seen for seen in found.get((ask.kind, ask.scope_id), ()) if seen.ref.namespace == ask.namespace]
            for ask in asks
        ]

    async def _of_scopes(
        self, kind: str, namespace: str, ledger_id: str, scope_ids: Collection[str]
    ) -> list[ObservedObject]:
        """Of a few scopes by their labels, of many by the ledger's."""
        scope = SCOPE_LABEL
        if len(scope_ids) == 1:
            scope = f"{SCOPE_LABEL}={next(iter(scope_ids))}"
        elif len(scope_ids) <= _MAX_SCOPES_IN_A_SELECTOR:
            scope = f"{SCOPE_LABEL} in ({','.join(sorted(scope_ids))})"

        async def look() -> list[ObservedObject]:
            selector = f"{LEDGER_LABEL}={ledger_id},{scope}"
            listed = self._api.cluster.list(kind, namespace, label_selector=selector)
            return [seen async for seen in listed if seen.labels[SCOPE_LABEL] in scope_ids]

        return await self._api.call(look)
