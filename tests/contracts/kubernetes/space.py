"""One namespace of one test, with the few verbs that the tests speak, and waiting with a deadline.

It refuses to sleep blindly: every wait names the condition that it waits for, and says what it saw last
when it gives up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tests.contracts.kubernetes.wire import MERGE, Api, Json, Reply

T = TypeVar("T")

GROUPS = {
    "jobs": "/apis/batch/v1",
    "cronjobs": "/apis/batch/v1",
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "roles": "/apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
}
PATIENCE_SECONDS = 40.0


def eventually(probe: Callable[[], T | None], what: str, *, within_seconds: float = PATIENCE_SECONDS) -> T:
    """The first true answer of ``probe``; AssertionError with the last answer when the time is over."""
    deadline = time.monotonic() + within_seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not within {within_seconds:g} s: {what}; last seen: {answer!r}"
        time.sleep(0.05)
    return answer


class Space:
    """Paths and verbs inside one namespace."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace

    def path(self, kind: str, name: str = "", sub: str = "") -> str:
        parts = (GROUPS.get(kind, "/api/v1"), "namespaces", self.namespace, kind, name, sub)
        return "/".join(part for part in parts if part)

    def post(self, manifest: Mapping[str, Any], **query: Any) -> Reply:
        return self.api.post(self.path(manifest["kind"].lower() + "s"), manifest, **query)

    def create(self, manifest: Mapping[str, Any], **query: Any) -> Json:
        return self.post(manifest, **query).ok(201)

    def get(self, kind: str, name: str) -> Json:
        return self.api.get(self.path(kind, name)).ok(200)

    def patch(self, kind: str, name: str, change: object, content_type: str = MERGE) -> Json:
        return self.api.patch(self.path(kind, name), change, content_type).ok(200)

    def delete(self, kind: str, name: str, body: Mapping[str, Any] | None = None, **query: Any) -> Reply:
        return self.api.delete(self.path(kind, name), body, **query)

    def items(self, kind: str, **query: Any) -> list[Json]:
        found: list[Json] = self.api.get(self.path(kind), **query).ok(200)["items"] or []
        return found

    def names(self, kind: str, **query: Any) -> list[str]:
        return [item["metadata"]["name"] for item in self.items(kind, **query)]

    def pods_of(self, job: str) -> list[Json]:
        return self.items("pods", labelSelector=f"batch.kubernetes.io/job-name={job}")

    def served(self, kind: str, name: str) -> Json | None:
        reply = self.api.get(self.path(kind, name))
        return None if reply.status == 404 else reply.ok(200)

    def until(self, kind: str, name: str, holds: Callable[[Json], object], what: str) -> Json:
        """The object, once ``holds`` is true of it."""

        def look() -> tuple[bool, Json]:
            seen = self.get(kind, name)
            return bool(holds(seen)), seen

        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (answer := look())[0]:
            assert time.monotonic() < deadline, f"{kind}/{name} never {what}: {answer[1].get('status')}"
            time.sleep(0.05)
        return answer[1]

    def until_gone(self, kind: str, *names: str, within_seconds: float = PATIENCE_SECONDS) -> None:
        for name in names:
            eventually(
                lambda name=name: self.served(kind, name) is None,  # type: ignore[misc]
                f"{kind}/{name} gone",
                within_seconds=within_seconds,
            )

    def until_phase(self, name: str, phase: str) -> Json:
        return self.until("pods", name, lambda pod: pod["status"].get("phase") == phase, phase)

    def until_condition(self, job: str, condition: str) -> Json:
        """The Job, once it has this condition with status True."""
        return self.until("jobs", job, lambda seen: condition_of(seen, condition), condition)

    def until_pods_run(self, job: str, count: int = 1) -> list[Json]:
        """The Job's running pods, once there are this many that are not being deleted."""

        def running() -> list[Json]:
            pods = [pod for pod in self.pods_of(job) if pod["status"].get("phase") == "Running"]
            alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
            return alive if len(alive) == count else []

        return eventually(running, f"{count} running pods of job {job}")

    def finish(self, kind: str, name: str) -> None:
        """Take all finalizers off, as whoever set them would do in the end."""
        self.patch(kind, name, {"metadata": {"finalizers": None}})


def condition_of(found: Json, condition: str) -> Json | None:
    """The condition of this type, if its status is True."""
    conditions = found.get("status", {}).get("conditions") or []
    return next((c for c in conditions if (c["type"], c["status"]) == (condition, "True")), None)
