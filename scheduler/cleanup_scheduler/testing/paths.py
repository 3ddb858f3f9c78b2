"""Takes a request's path apart: which resource, namespace, object and subresource it names."""

from __future__ import annotations

from dataclasses import dataclass

from cleanup_scheduler.testing.resources import Registry, Resource


@dataclass(frozen=True, slots=True)
class Target:
    resource: Resource
    namespace: str
    name: str
    subresource: str


_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def parse_path(registry: Registry, parts: list[str]) -> Target | None:
    """What ``/api/v1/…`` or ``/apis/GROUP/VERSION/…`` names; None when it is no resource that is served."""
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces" and registry.find(group, version, rest[2]):
        namespace, rest = rest[1], rest[2:]
    resource = registry.find(group, version, rest[0])
    if resource is None or len(rest) > 3 or (namespace and not resource.namespaced):
        return None
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and subresource not in resource.subresources:
        return None
    return Target(resource, namespace, name, subresource)


def verb_of(method: str, target: Target | None, *, watch: bool) -> str:
    """Kubernetes' word for a request; empty when there is none."""
    if target is None or method not in _VERBS:
        return ""
    if method == "GET" and not target.name:
        return "watch" if watch else "list"
    if method == "DELETE" and not target.name:
        return "deletecollection"
    return _VERBS[method]
