"""Custom resources: a CustomResourceDefinition that appears makes its kinds served, one that goes takes them
along.
"""

from __future__ import annotations

from cleanup_scheduler.testing.api import Api
from cleanup_scheduler.testing.objects import Object
from cleanup_scheduler.testing.resources import Resource
from cleanup_scheduler.testing.store import Event


class CustomResources:
    """Follows the definitions within the transaction that changes them, so that a kind is served at once."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._definitions = api.registry.by_key("customresourcedefinitions.apiextensions.k8s.io")
        api.store.listen(self._follow)

    def _follow(self, event: Event) -> None:
        if event.stored.resource is not self._definitions:
            return
        if event.previous is not None:
            for resource in _resources(event.previous.decode()):
                self._api.registry.remove(resource)
        if event.type == "DELETED":
            for resource in _resources(event.stored.decode()):
                for instance in self._api.store.within(resource):
                    self._api.store.remove(instance)
            return
        for resource in _resources(event.stored.decode()):
            self._api.registry.add(resource)


def _resources(definition: Object) -> list[Resource]:
    spec = definition["spec"]
    names = spec["names"]
    return [
        Resource(
            group=spec["group"],
            version=version["name"],
            plural=names["plural"],
            kind=names["kind"],
            singular=names.get("singular") or names["kind"].lower(),
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            namespaced=spec.get("scope") != "Cluster",
            has_status="status" in (version.get("subresources") or {}),
            custom=True,
        )
        for version in spec["versions"]
        if version.get("served", True)
    ]
