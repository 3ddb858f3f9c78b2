"""The garbage collector: what the propagation policies promise about dependents, by owner references and
uids.

An owner counts as present when its uid is served in the dependent's namespace or cluster-wide.
"""

from __future__ import annotations

from cleanup_scheduler.testing.api import Api
from cleanup_scheduler.testing.audit import controller
from cleanup_scheduler.testing.background import Queue
from cleanup_scheduler.testing.deletion import FOREGROUND_FINALIZER, ORPHAN_FINALIZER, DeleteOptions
from cleanup_scheduler.testing.objects import Object, finalizers, metadata, owner_references, set_finalizers
from cleanup_scheduler.testing.statuses import ApiError
from cleanup_scheduler.testing.store import Event, Stored

_COLLECTOR = controller("generic-garbage-collector")


class GarbageCollector:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._queue = Queue(self._look, "garbage collector")
        api.store.listen(self._follow)

    async def stop(self) -> None:
        await self._queue.stop()

    def _follow(self, event: Event) -> None:
        stored = event.stored
        if event.type == "DELETED":
            for dependent in self._api.store.dependents(stored.uid):
                self._queue.add(dependent.uid)
            for owner in stored.owner_uids:
                self._queue.add(owner)  # one that waits for its dependents may go on
        elif stored.owner_uids or b'"deletionTimestamp"' in stored.metadata_json:
            self._queue.add(stored.uid)

    def _look(self, uid: str) -> None:
        stored = self._api.store.by_uid(uid)
        if stored is None:
            return
        obj = stored.decode()
        if "deletionTimestamp" in metadata(obj):
            if ORPHAN_FINALIZER in finalizers(obj):
                self._orphan(stored)
                return
            if FOREGROUND_FINALIZER in finalizers(obj):
                self._delete_dependents_first(stored)
                return
        if stored.owner_uids:
            self._collect(stored, obj)

    def _orphan(self, owner: Stored) -> None:
        for dependent in self._api.store.dependents(owner.uid):
            self._api.modify(dependent, lambda obj: _drop_owners(obj, {owner.uid}))
        self._remove_finalizer(owner.uid, ORPHAN_FINALIZER)

    def _delete_dependents_first(self, owner: Stored) -> None:
        dependents = self._api.store.dependents(owner.uid)
        blocking = [dependent for dependent in dependents if _blocks(dependent.decode(), owner.uid)]
        if not blocking:
            self._remove_finalizer(owner.uid, FOREGROUND_FINALIZER)
        for dependent in blocking:
            self._queue.add(dependent.uid)

    def _collect(self, stored: Stored, obj: Object) -> None:
        """Delete an object whose owners are all gone or wait for it; drop those owners when others remain."""
        if "deletionTimestamp" in metadata(obj):
            return
        owners = {uid: self._owner(uid, stored.namespace) for uid in stored.owner_uids}
        waiting = {uid for uid, owner in owners.items() if owner is not None and _waits_for_dependents(owner)}
        absent = {uid for uid, owner in owners.items() if owner is None}
        if len(waiting) + len(absent) < len(owners):
            if waiting or absent:
                self._api.modify(stored, lambda fresh: _drop_owners(fresh, waiting | absent))
            return
        policy = "Background"
        if waiting and self._api.store.dependents(stored.uid):
            policy = "Foreground"
        elif ORPHAN_FINALIZER in finalizers(obj):
            policy = "Orphan"
        elif FOREGROUND_FINALIZER in finalizers(obj):
            policy = "Foreground"
        self._delete(stored, policy)

    def _owner(self, uid: str, namespace: str) -> Stored | None:
        owner = self._api.store.by_uid(uid)
        return owner if owner is not None and owner.namespace in ("", namespace) else None

    def _delete(self, stored: Stored, policy: str) -> None:
        options = DeleteOptions(propagation=policy, uid=stored.uid)
        try:
            self._api.delete(stored.resource, stored.namespace, stored.name, options, _COLLECTOR)
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    def _remove_finalizer(self, uid: str, name: str) -> None:
        stored = self._api.store.by_uid(uid)
        if stored is not None:
            self._api.modify(
                stored, lambda obj: set_finalizers(obj, [n for n in finalizers(obj) if n != name])
            )


def _waits_for_dependents(owner: Stored) -> bool:
    obj = owner.decode()
    return "deletionTimestamp" in metadata(obj) and FOREGROUND_FINALIZER in finalizers(obj)


def _blocks(obj: Object, owner_uid: str) -> bool:
    return any(ref["uid"] == owner_uid and ref.get("blockOwnerDeletion") for ref in owner_references(obj))


def _drop_owners(obj: Object, uids: set[str]) -> None:
    kept = [ref for ref in owner_references(obj) if ref["uid"] not in uids]
    if kept:
        metadata(obj)["ownerReferences"] = kept
    else:
        metadata(obj).pop("ownerReferences", None)
