"""The kinds that the embedded cluster serves, as data; custom kinds are added and removed while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cleanup_scheduler.testing.statuses import qualified

DEFAULT_FIELDS = ("metadata.name", "metadata.namespace")
ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind at one version, and how the API treats it."""

    group: str
    version: str
    plural: str
    kind: str
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    has_status: bool = False
    fields: tuple[str, ...] = DEFAULT_FIELDS
    orphans_by_default: bool = False
    returns_deleted: bool = False
    custom: bool = False
    extra_subresources: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """``plural.group``: the same for all versions, hence the name of the storage."""
        return qualified(self.plural, self.group)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def subresources(self) -> tuple[str, ...]:
        return (("status",) if self.has_status else ()) + self.extra_subresources


def _core(plural: str, kind: str, *short: str, **options: object) -> Resource:
    return Resource("", "v1", plural, kind, kind.lower(), short, **options)  # type: ignore[arg-type]


def _grouped(group: str, plural: str, kind: str, *short: str, **options: object) -> Resource:
    return Resource(group, "v1", plural, kind, kind.lower(), short, **options)  # type: ignore[arg-type]


_ALL = ("all",)
_POD_FIELDS = (
    *DEFAULT_FIELDS,
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
)
_EVENT_FIELDS = (
    *DEFAULT_FIELDS,
    *(
        f"involvedObject.{name}"
        for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    ),
    "reason",
    "reportingComponent",
    "source",
    "type",
)

BUILT_IN = (
    _core(
        "namespaces",
        "Namespace",
        "ns",
        namespaced=False,
        has_status=True,
        fields=("metadata.name", "status.phase"),
        returns_deleted=True,
        extra_subresources=("finalize",),
    ),
    _core("nodes", "Node", "no", namespaced=False, has_status=True),
    _core(
        "pods",
        "Pod",
        "po",
        categories=_ALL,
        has_status=True,
        fields=_POD_FIELDS,
        returns_deleted=True,
        extra_subresources=("log",),
    ),
    _core("configmaps", "ConfigMap", "cm"),
    _core("secrets", "Secret", fields=(*DEFAULT_FIELDS, "type")),
    _core("services", "Service", "svc", categories=_ALL, has_status=True, returns_deleted=True),
    _core("serviceaccounts", "ServiceAccount", "sa", returns_deleted=True),
    _core("persistentvolumeclaims", "PersistentVolumeClaim", "pvc", has_status=True, returns_deleted=True),
    _core("events", "Event", "ev", fields=_EVENT_FIELDS),
    _core("resourcequotas", "ResourceQuota", "quota", has_status=True, returns_deleted=True),
    _grouped(
        "batch",
        "jobs",
        "Job",
        categories=_ALL,
        has_status=True,
        fields=(*DEFAULT_FIELDS, "status.successful"),
        orphans_by_default=True,
    ),
    _grouped("batch", "cronjobs", "CronJob", "cj", categories=_ALL, has_status=True),
    _grouped("apps", "deployments", "Deployment", "deploy", categories=_ALL, has_status=True),
    _grouped("apps", "replicasets", "ReplicaSet", "rs", categories=_ALL, has_status=True),
    _grouped("apps", "statefulsets", "StatefulSet", "sts", categories=_ALL, has_status=True),
    _grouped("apps", "daemonsets", "DaemonSet", "ds", categories=_ALL, has_status=True),
    _grouped(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "crd",
        "crds",
        namespaced=False,
        has_status=True,
    ),
)


class Registry:
    """Which resources exist now. Preferred versions come first in the order of registration."""

    def __init__(self) -> None:
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        for resource in BUILT_IN:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        self._by_path[resource.group, resource.version, resource.plural] = resource

    def remove(self, resource: Resource) -> None:
        self._by_path.pop((resource.group, resource.version, resource.plural), None)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_path.get((group, version, plural))

    def by_key(self, key: str) -> Resource:
        """The resource stored as ``plural.group``. KeyError when there is none."""
        for resource in self._by_path.values():
            if resource.key == key:
                return resource
        raise KeyError(key)

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        group, _, version = api_version.rpartition("/")
        for resource in self._by_path.values():
            if resource.kind == kind and resource.group == group and resource.version == version:
                return resource
        return None

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._by_path.values()))

    def groups(self) -> dict[str, dict[str, list[Resource]]]:
        """Group -> version -> resources, in the order of registration."""
        found: dict[str, dict[str, list[Resource]]] = {}
        for resource in self._by_path.values():
            found.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
        return found
