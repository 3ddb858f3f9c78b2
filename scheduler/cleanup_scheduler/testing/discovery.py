"""What the server says it serves: ``/api``, ``/apis``, ``/version``, aggregated discovery, and the little of
OpenAPI that makes kubectl leave validation to the server. Schemas are not published.
"""

from __future__ import annotations

import itertools
from typing import Any

from cleanup_scheduler.testing.objects import Object
from cleanup_scheduler.testing.resources import ALL_VERBS, Registry, Resource
from cleanup_scheduler.testing.statuses import no_such_path

_VERSION: Object = {
    "major": "1",
    "minor": "37",
    "gitVersion": "v1.37.2+embedded",
    "gitCommit": "0" * 40,
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "cpython",
    "platform": "linux/amd64",
}
AGGREGATED = "apidiscovery.k8s.io"


def document(registry: Registry, path: list[str], *, aggregated: bool) -> Object:
    """The discovery document at a path. Raises 404 when there is none."""
    match path:
        case ["version"]:
            return _VERSION
        case ["api"] if aggregated:
            return _aggregated(registry, core=True)
        case ["apis"] if aggregated:
            return _aggregated(registry, core=False)
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            groups = [_group(name, list(versions)) for name, versions in registry.groups().items() if name]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case ["api", version]:
            return _resource_list(registry, "", version)
        case ["apis", group] if group in registry.groups():
            return {"kind": "APIGroup", "apiVersion": "v1"} | _group(group, list(registry.groups()[group]))
        case ["apis", group, version]:
            return _resource_list(registry, group, version)
        case ["openapi", "v3"]:
            return _openapi_index(registry)
        case ["openapi", "v3", *rest]:
            return _openapi(registry, rest)
        case ["openapi", "v2"]:
            return {"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.37.2"}, "paths": {}}
    raise no_such_path()


def _group(name: str, versions: list[str]) -> Object:
    entries = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def _resource_list(registry: Registry, group: str, version: str) -> Object:
    resources = registry.groups().get(group, {}).get(version)
    if not resources:
        raise no_such_path()
    entries = itertools.chain.from_iterable(_entries(resource) for resource in resources)
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": resources[0].api_version,
        "resources": list(entries),
    }


def _entries(resource: Resource) -> list[Object]:
    main: Object = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(ALL_VERBS),
    }
    if resource.short_names:
        main["shortNames"] = list(resource.short_names)
    if resource.categories:
        main["categories"] = list(resource.categories)
    subresources: list[Object] = [
        {
            "name": f"{resource.plural}/{subresource}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": _subresource_verbs(subresource),
        }
        for subresource in resource.subresources
    ]
    return [main, *subresources]


def _subresource_verbs(subresource: str) -> list[str]:
    return {"log": ["get"], "finalize": ["update"]}.get(subresource, ["get", "patch", "update"])


def _aggregated(registry: Registry, *, core: bool) -> Object:
    groups = [(name, versions) for name, versions in registry.groups().items() if (name == "") is core]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": name or None, "creationTimestamp": None},
                "versions": [
                    {
                        "version": version,
                        "freshness": "Current",
                        "resources": [_discovered(r) for r in resources],
                    }
                    for version, resources in versions.items()
                ],
            }
            for name, versions in groups
        ],
    }


def _discovered(resource: Resource) -> Object:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    found: Object = {
        "resource": resource.plural,
        "responseKind": kind,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(ALL_VERBS),
    }
    if resource.short_names:
        found["shortNames"] = list(resource.short_names)
    if resource.categories:
        found["categories"] = list(resource.categories)
    if resource.subresources:
        found["subresources"] = [
            {"subresource": name, "responseKind": kind, "verbs": _subresource_verbs(name)}
            for name in resource.subresources
        ]
    return found


def _prefix(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _openapi_index(registry: Registry) -> Object:
    prefixes = [
        _prefix(group, version) for group, versions in registry.groups().items() for version in versions
    ]
    return {"paths": {prefix: {"serverRelativeURL": f"/openapi/v3/{prefix}"} for prefix in prefixes}}


def _openapi(registry: Registry, rest: list[str]) -> Object:
    """One PATCH per kind, with the parameter by which kubectl learns that the server validates fields."""
    group, version = ("", rest[1]) if rest[0] == "api" else (rest[1], rest[2])
    resources = registry.groups().get(group, {}).get(version)
    if not resources:
        raise no_such_path()
    paths: dict[str, Any] = {}
    for resource in resources:
        scope = "namespaces/{namespace}/" if resource.namespaced else ""
        path = f"/{_prefix(group, version)}/{scope}{resource.plural}/{{name}}"
        kind = {"group": group, "kind": resource.kind, "version": version}
        parameters = [
            {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
            for name in ("dryRun", "fieldManager", "fieldValidation")
        ]
        operation = {"x-kubernetes-group-version-kind": kind, "x-kubernetes-action": "patch"}
        paths[path] = {
            "patch": operation | {"parameters": parameters, "responses": {"200": {"description": "OK"}}}
        }
    info = {"title": "Kubernetes", "version": "v1.37.2"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}
