"""Looks at what a scope's names point to: once for many where that is cheaper, one by one where something odd
among many would hide the rest.

Refuses to remember: what was looked up ahead is handed out once, then the cluster is asked again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.policy import WORKLOADS
from cleanup_scheduler.domain.resources import ResourceRef, singular
from cleanup_scheduler.engine.api import Api, OutOfReach
from cleanup_scheduler.errors import ClusterError

_MANY: Final = 2


def may_own_pods(kind: str) -> bool:
    """The workloads that Kubernetes brings, and whatever we do not know."""
    return kind in WORKLOADS or singular(kind) == kind


class Eyes:
    """What one scope's cleaning sees of the cluster."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._ahead: dict[ResourceRef, ObservedObject | None] = {}
        self._pods_ahead: dict[str, list[ObservedObject]] = {}

    async def look_ahead(self, refs: Iterable[ResourceRef], *, pods_too: bool = True) -> None:
        """One look for all whose kind needs no discovery; when it fails each is looked at on its own."""
        known = [ref for ref in refs if singular(ref.kind) != ref.kind]
        if len(known) < _MANY:
            return
        try:
            seen = await self._api.looks.at(known)
            self._ahead = {ref: seen.get(ref) for ref in known}
            mine = [seen[ref] for ref in known if ref in seen] if pods_too else []
            owners = [owner for owner in mine if owner.ref.kind in WORKLOADS]
            if owners:
                pods = await self._api.looks.pods_of(owners)
                self._pods_ahead = {owner.uid: pods[owner.uid] for owner in owners}
        except OutOfReach:
            raise
        except ClusterError:
            self._ahead, self._pods_ahead = {}, {}

    async def see(self, address: ResourceRef) -> ObservedObject | None:
        """Who answers to the name; None when nobody does."""
        if address in self._ahead:
            return self._ahead.pop(address)
        return (await self._api.looks.at([address])).get(address)

    async def pods_of(self, owner: ObservedObject, *, afresh: bool = False) -> list[ObservedObject]:
        """The pods below it; ``afresh`` asks again after something was changed."""
        ahead = self._pods_ahead.pop(owner.uid, None)
        if ahead is not None and not afresh:
            return ahead
        return (await self._api.looks.pods_of([owner]))[owner.uid]
