"""Empties a namespace that is being deleted, and removes it when nothing is left in it."""

from __future__ import annotations

from cleanup_scheduler.testing.api import Api
from cleanup_scheduler.testing.audit import controller
from cleanup_scheduler.testing.background import Queue
from cleanup_scheduler.testing.deletion import DeleteOptions
from cleanup_scheduler.testing.objects import Object, finalizers, metadata, set_condition
from cleanup_scheduler.testing.store import Event, Stored

_NAMESPACES = controller("namespace-controller")


class NamespaceController:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._namespaces = api.registry.by_key("namespaces")
        self._queue = Queue(self._look, "namespace controller")
        self._terminating: set[str] = set()
        api.store.listen(self._follow)

    async def stop(self) -> None:
        await self._queue.stop()

    def _follow(self, event: Event) -> None:
        if event.stored.resource is self._namespaces:
            self._queue.add(event.stored.name)
        elif event.stored.namespace in self._terminating:
            self._queue.add(event.stored.namespace)

    def _look(self, name: str) -> None:
        stored = self._api.store.get(self._namespaces, "", name)
        if stored is None:
            self._terminating.discard(name)
            return
        namespace = stored.decode()
        if "deletionTimestamp" not in metadata(namespace):
            self._furnish(name)
            return
        self._terminating.add(name)
        left = self._empty(name)
        if left:
            self._tell_what_is_left(stored, namespace, left)
        elif (namespace.get("spec") or {}).get("finalizers"):
            namespace["spec"]["finalizers"] = []
            self._finish(self._api.store.replace(stored, namespace), namespace)
        else:
            self._finish(stored, namespace)

    def _furnish(self, name: str) -> None:
        """What every namespace has from its beginning, and gets again with its next change."""
        for key, object_name in (("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")):
            resource = self._api.registry.by_key(key)
            if self._api.store.get(resource, name, object_name) is None:
                self._api.create(resource, name, {"metadata": {"name": object_name}})

    def _empty(self, name: str) -> list[Stored]:
        """Delete everything in the namespace that is not being deleted yet. Returns what is still there."""
        for resource in self._api.registry:
            if not resource.namespaced:
                continue
            found = self._api.store.within(resource, name)
            fresh = [stored for stored in found if b'"deletionTimestamp"' not in stored.metadata_json]
            if fresh:
                options = DeleteOptions(propagation="Background")
                self._api.delete_collection(resource, fresh, name, options, _NAMESPACES)
        return [
            stored
            for resource in self._api.registry
            if resource.namespaced
            for stored in self._api.store.within(resource, name)
        ]

    def _tell_what_is_left(self, stored: Stored, namespace: Object, left: list[Stored]) -> None:
        kinds: dict[str, int] = {}
        held: dict[str, int] = {}
        for remaining in left:
            kinds[remaining.resource.key] = kinds.get(remaining.resource.key, 0) + 1
            for finalizer in finalizers(remaining.decode()):
                held[finalizer] = held.get(finalizer, 0) + 1
        status = namespace.setdefault("status", {})
        told = ", ".join(f"{key} has {count} resource instances" for key, count in sorted(kinds.items()))
        message = f"Some resources are remaining: {told}"
        set_condition(
            status, "NamespaceContentRemaining", "True", reason="SomeResourcesRemain", message=message
        )
        if held:
            told = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(held.items()))
            message = f"Some content in the namespace has finalizers remaining: {told}"
            reason = "SomeFinalizersRemain"
            set_condition(status, "NamespaceFinalizersRemaining", "True", reason=reason, message=message)
        self._api.store.replace(stored, namespace)

    def _finish(self, stored: Stored, namespace: Object) -> None:
        if not finalizers(namespace):
            self._terminating.discard(stored.name)
            self._api.store.remove(stored)
