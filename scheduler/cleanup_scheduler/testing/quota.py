"""Resource quotas: refuses what would exceed one, and keeps ``status.used`` in step with what is there.

Usage is counted here and not read back from the status, so two creations in one instant cannot both slip in.
Unlike a real cluster's, the numbers do not lag; scopes and priority classes are not known.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal

from cleanup_scheduler.testing.objects import Object, metadata
from cleanup_scheduler.testing.quantities import format_quantity, parse_quantity
from cleanup_scheduler.testing.resources import Registry, Resource
from cleanup_scheduler.testing.statuses import ApiError, forbidden
from cleanup_scheduler.testing.store import Event, Store, Stored

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_COUNTED_PLAINLY = frozenset(
    {
        "configmaps",
        "secrets",
        "services",
        "persistentvolumeclaims",
        "resourcequotas",
        "replicationcontrollers",
    }
)


def pod_requests(spec: Object) -> dict[str, Decimal]:
    """``requests.cpu`` … ``limits.memory`` of a pod: the sum of its containers, or its largest init
    container.
    """
    total: dict[str, Decimal] = {}
    for container in spec.get("containers") or ():
        for name, amount in _container_amounts(container):
            total[name] = total.get(name, Decimal(0)) + amount
    for container in spec.get("initContainers") or ():
        for name, amount in _container_amounts(container):
            total[name] = max(total.get(name, Decimal(0)), amount)
    return total


def _container_amounts(container: Object) -> list[tuple[str, Decimal]]:
    resources = container.get("resources") or {}
    return [
        (f"{side}.{name}", parse_quantity(amount))
        for side in ("requests", "limits")
        for name, amount in (resources.get(side) or {}).items()
    ]


def usage_of(resource: Resource, obj: Object) -> dict[str, Decimal]:
    """What one object takes of every quota resource it counts for."""
    one = Decimal(1)
    if resource.key != "pods":
        usage = {f"count/{resource.key}": one}
        if resource.key in _COUNTED_PLAINLY:
            usage[resource.key] = one
        return usage
    usage = {"count/pods": one}
    if (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return usage  # a finished pod holds no CPU, memory or place
    amounts = pod_requests(obj.get("spec") or {})
    usage |= {"pods": one} | amounts
    usage |= {name: amounts[f"requests.{name}"] for name in _COMPUTE if f"requests.{name}" in amounts}
    return usage


class Quotas:
    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._quota_resource = registry.by_key("resourcequotas")
        self._used: dict[str, dict[str, Decimal]] = {}
        self._taken: dict[str, dict[str, Decimal]] = {}
        self._dirty: set[str] = set()
        store.listen(self._follow)

    def admit(self, resource: Resource, obj: Object) -> None:
        """Raise 403 when a quota of the object's namespace would be exceeded."""
        namespace = metadata(obj).get("namespace", "")
        quotas = self._store.within(self._quota_resource, namespace) if namespace else []
        if not quotas:
            return
        try:
            wanted = usage_of(resource, obj)
        except ValueError as error:
            raise ApiError(400, "BadRequest", str(error)) from error
        used = self._used_in(namespace)
        for quota in quotas:
            self._admit_one(quota, resource, obj, wanted, used)

    def _admit_one(
        self,
        quota: Stored,
        resource: Resource,
        obj: Object,
        wanted: dict[str, Decimal],
        used: dict[str, Decimal],
    ) -> None:
        name = metadata(obj)["name"]
        hard = {
            key: parse_quantity(text)
            for key, text in (quota.decode().get("spec", {}).get("hard") or {}).items()
        }
        if resource.key == "pods" and (missing := _unspecified(obj, hard)):
            raise forbidden("pods", "", name, f"failed quota: {quota.name}: must specify {missing}")
        over = sorted(
            key for key in hard if wanted.get(key) and used.get(key, Decimal(0)) + wanted[key] > hard[key]
        )
        if over:
            told = (
                f"exceeded quota: {quota.name}, requested: {_told(over, wanted)}, "
                f"used: {_told(over, used)}, limited: {_told(over, hard)}"
            )
            raise forbidden(resource.plural, resource.group, name, told)

    def _used_in(self, namespace: str) -> dict[str, Decimal]:
        """The namespace's usage: counted once when its first quota appears, then kept by :meth:`_follow`."""
        if namespace not in self._used:
            self._used[namespace] = {}
            for table in self._store.tables():
                for stored in list(table.objects.values()):
                    if stored.namespace == namespace:
                        self._take(stored)
        return self._used[namespace]

    def _take(self, stored: Stored) -> None:
        try:
            usage = usage_of(stored.resource, stored.decode() if stored.resource.key == "pods" else {})
        except ValueError:
            usage = {
                f"count/{stored.resource.key}": Decimal(1)
            }  # stored before there was a quota to refuse it
        self._taken[stored.uid] = usage
        self._add(stored.namespace, usage, 1)

    def _add(self, namespace: str, usage: dict[str, Decimal], sign: int) -> None:
        used = self._used[namespace]
        for key, amount in usage.items():
            used[key] = used.get(key, Decimal(0)) + sign * amount

    def _follow(self, event: Event) -> None:
        namespace = event.stored.namespace
        if event.stored.resource is self._quota_resource:
            self._used_in(namespace)
            if event.type == "MODIFIED" and event.previous and _hard(event.previous) == _hard(event.stored):
                return
        if namespace not in self._used:
            return
        if event.stored.uid in self._taken:
            self._add(namespace, self._taken.pop(event.stored.uid), -1)
        if event.type != "DELETED":
            self._take(event.stored)
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._write_statuses)
        self._dirty.add(namespace)

    def _write_statuses(self) -> None:
        dirty, self._dirty = self._dirty, set()
        for namespace in dirty:
            for quota in self._store.within(self._quota_resource, namespace):
                obj = quota.decode()
                hard = (obj.get("spec") or {}).get("hard") or {}
                used = self._used[namespace]
                obj["status"] = {"hard": hard, "used": {key: _written(key, used.get(key)) for key in hard}}
                self._store.replace(quota, obj)


def _hard(quota: Stored) -> object:
    return (quota.decode().get("spec") or {}).get("hard")


def _written(key: str, amount: Decimal | None) -> str:
    return format_quantity(amount or Decimal(0), binary="memory" in key or "storage" in key)


def _told(keys: list[str], amounts: dict[str, Decimal]) -> str:
    return ",".join(f"{key}={_written(key, amounts.get(key))}" for key in keys)


def _unspecified(pod: Object, hard: dict[str, Decimal]) -> str:
    """As Kubernetes tells it: ``limits.cpu for: main; requests.memory for: main``."""
    missing = []
    for key in sorted(hard):
        side, _, name = key.rpartition(".")
        if (side or "requests") not in ("requests", "limits") or name not in _COMPUTE:
            continue
        without = [
            container["name"]
            for container in (pod.get("spec") or {}).get("containers") or ()
            if name not in ((container.get("resources") or {}).get(side or "requests") or {})
        ]
        if without:
            missing.append(f"{key} for: {','.join(without)}")
    return "; ".join(missing)
