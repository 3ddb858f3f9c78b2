"""The shipped rights on a cluster that heeds them, and a witness that sees which of them are used.

Every request of the worker passes a proxy of ours: what was asked of the API, and what it answered, is the
truth here, reads included (an audit log has the changes only).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml
from cleanup_scheduler.cluster import connect

from tests.contracts.kubernetes.wire import Api
from tests.engine.world import World
from tests.faults.proxy import FaultProxy, Seen

Json = dict[str, Any]
FILE = Path(__file__).parents[2] / "deploy" / "rbac.yaml"
NAME = "cleanup-scheduler"
GROUP = "rbac.authorization.k8s.io"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource, as RBAC counts them."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


def documents() -> list[Json]:
    """What the file holds."""
    return list(yaml.safe_load_all(FILE.read_text(encoding="utf-8")))


def one(kind: str, name: str) -> Json:
    """The document of that kind and name."""
    [found] = [d for d in documents() if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return found


def rights_of(role: Json) -> list[Right]:
    """Every right that its rules give, in their order."""
    return [
        Right(group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def without(role: Json, missing: Right | None) -> Json:
    """The role with one right less."""
    rules = [
        {"apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb]}
        for right in rights_of(role)
        if right != missing
    ]
    return {**role, "rules": rules}


def asked(seen: Seen) -> Right | None:
    """The right that a request needs; None for the API's discovery."""
    parts = seen.path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1] if len(parts) > 1 else "", parts[3:])
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    if not rest:
        return None
    resource, name, sub = (*rest, "", "")[:3]
    if seen.method == "GET":
        verb = "get" if name else "watch" if seen.query.get("watch") else "list"
    elif seen.method == "DELETE":
        verb = "delete" if name else "deletecollection"
    else:
        verb = _VERBS[seen.method]
    return Right(group, f"{resource}/{sub}" if sub else resource, verb)


class Granted:
    """The worker of a world as the service account of the shipped file; its rights can be changed."""

    def __init__(self, w: World, proxy: FaultProxy, token: str) -> None:
        self.w, self.proxy = w, proxy
        self.admin = Api(w.under_test.kubeconfig)
        self.account = Api(w.under_test.kubeconfig, token=token)

    @property
    def used(self) -> set[Right]:
        """Every right that a request of the worker needed."""
        return {right for seen in self.proxy.seen if (right := asked(seen)) is not None}

    @property
    def refused(self) -> list[str]:
        """What was asked for in vain."""
        return [f"{seen.method} {seen.path}" for seen in self.proxy.seen if seen.status == 403]

    def change(self, role: Json, right: Right, *, allowed: bool) -> None:
        """Put the role in the place of its namesake; returns when the API heeds it."""
        path = f"/apis/{GROUP}/v1/namespaces/{self.w.namespace}/roles/{role['metadata']['name']}"
        self.admin.put(path, moved(role, self.w.namespace)).ok(200)
        until_heeded(self.account, self.w.namespace, right, allowed=allowed)

    def close(self) -> None:
        self.admin.close()
        self.account.close()


def until_heeded(account: Api, namespace: str, right: Right, *, allowed: bool) -> None:
    """Changes of RBAC reach the API server's authorizer a moment later."""
    resource, _, sub = right.resource.partition("/")
    wanted = {"namespace": namespace, "verb": right.verb, "group": right.group, "resource": resource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {**wanted, "subresource": sub}},
    }
    deadline = time.monotonic() + 20
    while True:
        answer = account.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review).ok(201)
        if bool(answer["status"]["allowed"]) == allowed:
            return
        assert time.monotonic() < deadline, f"the API does not heed it: {right}, allowed={allowed}"
        time.sleep(0.01)


def moved(document: Json, namespace: str) -> Json:
    """The document with this namespace in the place of the one that the file names."""
    text = yaml.safe_dump(document)
    found: Json = yaml.safe_load(text.replace("namespace: crucible", f"namespace: {namespace}"))
    return found


async def apply(w: World, wanted: Iterable[Json]) -> None:
    for document in wanted:
        await w.cluster.create(moved(document, w.namespace))


def token_of(w: World, namespace: str) -> str:
    """A token of the shipped service account, as its pod would get one."""
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 600},
    }
    admin = Api(w.under_test.kubeconfig)
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{NAME}/token"
    token: str = admin.post(path, request).ok(201)["status"]["token"]
    admin.close()
    return token


@asynccontextmanager
async def granted(w: World, folder: Path, *roles: str, **settings: Any) -> AsyncIterator[Granted]:
    """The shipped service account with these shipped Roles; until the end the world's worker is it."""
    bound = [document for name in roles for document in (one("Role", name), one("RoleBinding", name))]
    await apply(w, [one("ServiceAccount", NAME), *bound])
    async with as_service_account(w, folder, **settings) as rights:
        for name in roles:
            until_heeded(rights.account, w.namespace, rights_of(one("Role", name))[-1], allowed=True)
        yield rights


@asynccontextmanager
async def as_service_account(w: World, folder: Path, **settings: Any) -> AsyncIterator[Granted]:
    """The world's worker with a token of the service account, through the proxy that sees what it asks."""
    token = token_of(w, w.namespace)
    kubeconfig = yaml.safe_load(w.under_test.kubeconfig.read_text())
    users = [{"name": user["name"], "user": {"token": token}} for user in kubeconfig["users"]]
    for entry in kubeconfig["contexts"]:
        entry["context"]["namespace"] = w.namespace
    for entry in kubeconfig["clusters"]:
        if authority := entry["cluster"].get("certificate-authority"):
            entry["cluster"]["certificate-authority"] = str(w.under_test.kubeconfig.parent / authority)
    file = folder / "account"
    file.write_text(yaml.safe_dump({**kubeconfig, "users": users}))
    async with FaultProxy(file, folder) as proxy:
        changes = {"kubeconfig": str(proxy.kubeconfig), "cluster": w.cluster.name, **settings}
        async with connect(msgspec.structs.replace(w.settings, **changes)) as cluster:
            w.worker_cluster = cluster
            w.worker = w.another_worker(**changes)
            rights = Granted(w, proxy, token)
            try:
                yield rights
            finally:
                w.worker_cluster = w.cluster
                rights.close()
