"""Which pods belong to a workload: those whose chain of controllers leads to its uid.

Labels only narrow the search; ownership is decided by uids, so that pods of a namesake, or pods that merely
carry the labels, are never counted. A pod that was orphaned by its Job's deletion has no owner any more but
still says that Job's uid in its ``controller-uid`` label, and counts.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

from cleanup_scheduler.cluster.kinds import PODS, Kind, Kinds
from cleanup_scheduler.cluster.objects import Objects
from cleanup_scheduler.cluster.selectors import selector_of
from cleanup_scheduler.cluster.together import together
from cleanup_scheduler.domain.objects import ObservedObject, Owner
from cleanup_scheduler.domain.resources import JOBS, ResourceRef
from cleanup_scheduler.errors import PermissionMissing, UnknownName

_LOGGER = logging.getLogger(__name__)
# "Well-Known Labels": set on the pods of Jobs since 1.27; the bare one before, and still
_UID_LABELS: Final = ("batch.kubernetes.io/controller-uid", "controller-uid")
_WITH_SELECTOR: Final = frozenset(
    {JOBS, "deployments.apps", "statefulsets.apps", "replicasets.apps", "daemonsets.apps"}
)
# what stands between these workloads and their pods, where Kubernetes' own controllers make it; what stands
# between any other kind and its pods is not known
_BELOW: Final[dict[str, set[str]]] = {
    JOBS: set(),
    "replicasets.apps": set(),
    "statefulsets.apps": set(),
    "daemonsets.apps": set(),
    "deployments.apps": {"replicasets.apps"},
    "cronjobs.batch": {JOBS},
}
_MAX_CHAIN: Final = 8
_FEW: Final = 4


class Owners:
    """Finds pods through owner references and labels."""

    def __init__(self, objects: Objects, kinds: Kinds, cluster: str) -> None:
        self._objects, self._kinds, self._cluster = objects, kinds, cluster

    async def pods_of(self, owners: Sequence[ObservedObject]) -> dict[str, list[ObservedObject]]:
        """The pods of each owner, by the owner's uid. A few owners are asked for by label, many by one list
        of their namespace."""
        found: dict[str, list[ObservedObject]] = {owner.uid: [] for owner in owners}
        for namespace in {owner.ref.namespace for owner in owners}:
            here = [owner for owner in owners if owner.ref.namespace == namespace]
            chains = _Chains(self, namespace, here)
            for pod in await self._candidates(here, namespace):
                for uid in await chains.above(pod):
                    if uid in found:
                        found[uid].append(pod)
        return found

    async def _candidates(self, owners: list[ObservedObject], namespace: str) -> Iterable[ObservedObject]:
        if len(owners) <= _FEW and all(owner.ref.kind in _WITH_SELECTOR for owner in owners):
            lists = await together(self._by_label(owner) for owner in owners)
            return {pod.uid: pod for pods in lists for pod in pods}.values()
        return [pod async for pod in self._objects.list(PODS.canonical, namespace)]

    async def _by_label(self, owner: ObservedObject) -> list[ObservedObject]:
        namespace = owner.ref.namespace
        if owner.ref.kind == JOBS:
            pods = await self._labelled(namespace, f"{_UID_LABELS[0]}={owner.uid}")
            if pods:
                return pods
        body = await self._objects.get_body(owner.ref)
        if body is not None and _uid_of(body) == owner.uid:
            selector = selector_of((body.get("spec") or {}).get("selector") or {}).text
            return await self._labelled(namespace, selector)
        if owner.ref.kind == JOBS:  # it is gone: only the label can still lead to its pods
            return await self._labelled(namespace, f"{_UID_LABELS[1]}={owner.uid}")
        return await self._labelled(namespace, "")

    async def _labelled(self, namespace: str, selector: str) -> list[ObservedObject]:
        return [pod async for pod in self._objects.list(PODS.canonical, namespace, label_selector=selector)]

    async def kind_of(self, owner: Owner) -> Kind | None:
        """The kind of an owner reference; None when the cluster has it no more (its CRD was removed)."""
        try:
            return await self._kinds.of_manifest(owner.api_version, owner.kind)
        except UnknownName:
            return None

    async def look_up(self, owner: Owner, kind: Kind, namespace: str) -> list[Owner]:
        """The owners of an owner; none when it is gone or another object has its name by now."""
        ref = ResourceRef(self._cluster, namespace if kind.namespaced else "", kind.canonical, owner.name)
        seen = await self._objects.get(ref)
        return seen.owners if seen is not None and seen.uid == owner.uid else []

    def all_of(self, kind: Kind, namespace: str) -> AsyncIterator[ObservedObject]:
        """Everything of a kind in the namespace: cheaper than many single look-ups."""
        return self._objects.list(kind.canonical, namespace if kind.namespaced else "")


class _Chains:
    """The controllers above pods of one namespace; each is looked up once, and only where a target can be."""

    def __init__(self, owners: Owners, namespace: str, targets: Sequence[ObservedObject]) -> None:
        self._owners, self._namespace = owners, namespace
        self._target_kinds = {target.uid: target.ref.kind for target in targets}
        self._targets_of = Counter(self._target_kinds.values())
        self._above: dict[str, list[Owner]] = {}
        self._looked_up: Counter[str] = Counter()

    async def above(self, pod: ObservedObject) -> set[str]:
        """The uids of the controllers above the pod, as far up as a target can still be found."""
        if not pod.owners:
            return {pod.labels[label] for label in _UID_LABELS if label in pod.labels}
        uids: set[str] = set()
        level = [owner for owner in pod.owners if owner.controller]
        for _ in range(_MAX_CHAIN):
            level = [owner for owner in level if owner.uid not in uids]
            uids.update(owner.uid for owner in level)
            level = [upper for owner in level for upper in await self._controllers_of(owner, uids)]
            if not level:
                break
        return uids

    async def _controllers_of(self, owner: Owner, found: set[str]) -> list[Owner]:
        kind = await self._owners.kind_of(owner)
        if kind is None or not self._can_be_above(kind, found):
            return []
        if owner.uid not in self._above:
            self._looked_up[kind.canonical] += 1
            if self._looked_up[kind.canonical] == _FEW:
                await self._look_at_all(kind)
        if owner.uid not in self._above:
            self._above[owner.uid] = await self._look_up(owner, kind, found)
        return [upper for upper in self._above[owner.uid] if upper.controller]

    async def _look_at_all(self, kind: Kind) -> None:
        try:
            async for seen in self._owners.all_of(kind, self._namespace):
                self._above[seen.uid] = seen.owners
        except PermissionMissing as error:
            _LOGGER.warning("%s; until then they are read one by one", error)

    async def _look_up(self, owner: Owner, kind: Kind, found: set[str]) -> list[Owner]:
        """What may not be read ends the chain; where a target is regularly above it, that is an error."""
        try:
            return await self._owners.look_up(owner, kind, self._namespace)
        except PermissionMissing:
            left = {target for uid, target in self._target_kinds.items() if uid not in found}
            if any(kind.canonical in _BELOW.get(target, {kind.canonical}) for target in left):
                raise
            return []

    def _can_be_above(self, kind: Kind, found: set[str]) -> bool:
        """A target of the same kind is not above it: no kind controls its own."""
        same = kind.canonical
        others = len(self._target_kinds) - self._targets_of[same]
        return others > sum(self._target_kinds.get(uid, same) != same for uid in found)


def _uid_of(body: Mapping[str, Any]) -> str:
    return str((body.get("metadata") or {}).get("uid", ""))
