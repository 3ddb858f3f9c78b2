"""Looking at many objects at once, and waiting until they are gone, at a price that fits their number.

Polls with growing pauses instead of watching: it needs no further right, survives every kind of broken
connection, and what it costs is bounded (a fifth of the time at most goes into looking).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from cleanup_scheduler.cluster.objects import Objects
from cleanup_scheduler.cluster.together import together
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.errors import PermissionMissing

_LOGGER = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 1.0
_GROWTH: Final = 1.5
_PAUSE_PER_LOOK: Final = 4.0
_FEW: Final = 8
# reading one object on its own costs about as much as reading this many in a list
_LISTED_PER_GET: Final = 50
_BODIES_LISTED_PER_GET: Final = 10


class Waiting:
    """Observes many objects."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        # how many objects the last list of a kind and namespace had to go through
        self._list_sizes: dict[tuple[str, str], int] = {}

    async def get_many(self, refs: Sequence[ResourceRef]) -> dict[ResourceRef, ObservedObject]:
        """Those that exist. One by one when few, else by one list for each kind and namespace."""
        groups: dict[tuple[str, str], set[ResourceRef]] = {}
        for ref in refs:
            groups.setdefault((ref.kind, ref.namespace), set()).add(ref)
        parts = await together(self._get_group(group, wanted) for group, wanted in groups.items())
        return {ref: seen for part in parts for ref, seen in part.items()}

    async def _get_group(
        self, group: tuple[str, str], wanted: set[ResourceRef]
    ) -> dict[ResourceRef, ObservedObject]:
        if len(wanted) <= max(_FEW, self._list_sizes.get(group, 0) // _LISTED_PER_GET):
            return await self._one_by_one(wanted)
        try:
            return await self._from_list(group, wanted)
        except PermissionMissing as error:
            _LOGGER.warning("%s; until then %d of them are read one by one", error, len(wanted))
            return await self._one_by_one(wanted)

    async def _one_by_one(self, wanted: Iterable[ResourceRef]) -> dict[ResourceRef, ObservedObject]:
        order = sorted(wanted)
        answers = await together(self._objects.get(ref) for ref in order)
        return {ref: seen for ref, seen in zip(order, answers, strict=True) if seen is not None}

    async def _from_list(
        self, group: tuple[str, str], wanted: set[ResourceRef]
    ) -> dict[ResourceRef, ObservedObject]:
        found, size = {}, 0
        async for seen in self._objects.list(*group):
            size += 1
            if seen.ref in wanted:
                found[seen.ref] = seen
        self._list_sizes[group] = size
        return found

    async def get_bodies(self, refs: Sequence[ResourceRef]) -> dict[ResourceRef, dict[str, Any]]:
        """The same with their whole bodies, which cost more to list."""
        groups: dict[tuple[str, str], set[ResourceRef]] = {}
        for ref in refs:
            groups.setdefault((ref.kind, ref.namespace), set()).add(ref)
        parts = await together(self._get_bodies(group, wanted) for group, wanted in groups.items())
        return {ref: body for part in parts for ref, body in part.items()}

    async def _get_bodies(
        self, group: tuple[str, str], wanted: set[ResourceRef]
    ) -> dict[ResourceRef, dict[str, Any]]:
        if len(wanted) <= max(_FEW, self._list_sizes.get(group, 0) // _BODIES_LISTED_PER_GET):
            order = sorted(wanted)
            answers = await together(self._objects.get_body(ref) for ref in order)
            return {ref: body for ref, body in zip(order, answers, strict=True) if body is not None}
        found, size, names = {}, 0, {ref.name for ref in wanted}
        async for ref, body in self._objects.list_bodies(*group, names):
            size += 1
            if body is not None:
                found[ref] = body
        self._list_sizes[group] = size
        return found

    async def wait_gone(
        self, uids: Mapping[ResourceRef, str], *, timeout_seconds: float
    ) -> dict[ResourceRef, ObservedObject]:
        """Wait until none of these uids is served any more; returns those that still are, as last seen.

        A name that another uid has by now counts as gone. ``timeout_seconds`` 0 looks once.
        """
        deadline = time.monotonic() + timeout_seconds
        pause = _FIRST_PAUSE_SECONDS
        left = dict(uids)
        while left:
            began = time.monotonic()
            seen = await self.get_many(list(left))
            still = {ref: object_ for ref, object_ in seen.items() if object_.uid == left[ref]}
            left = {ref: left[ref] for ref in still}
            now = time.monotonic()
            if not still or now >= deadline:
                return still
            wait = min(_LONGEST_PAUSE_SECONDS, max(pause, _PAUSE_PER_LOOK * (now - began)))
            await asyncio.sleep(min(wait, max(0.0, deadline - now)))
            pause *= _GROWTH
        return {}
