"""What the tests of the embedded cluster share: its API, pods that run, and waiting with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psutil
from cleanup_scheduler.testing import EmbeddedCluster

from tests.contracts.kubernetes.wire import Api, Json, Reply

T = TypeVar("T")
NAMESPACE = "crucible"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"


@contextmanager
def api_of(cluster: EmbeddedCluster) -> Iterator[Api]:
    api = Api(cluster.kubeconfig)
    try:
        yield api
    finally:
        api.close()


def eventually(probe: Callable[[], T | None], what: str, *, within_seconds: float = 20) -> T:
    """The first true answer of ``probe``; AssertionError when the time is over."""
    deadline = time.monotonic() + within_seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not within {within_seconds:g} s: {what}"
        time.sleep(0.01)
    return answer


def shell(script: str, **spec: Any) -> Json:
    """The spec of a pod that runs a shell script once."""
    container = {"name": "main", "image": "busybox:test", "command": ["sh", "-c", script]}
    return {"restartPolicy": "Never", "containers": [container], **spec}


def pod(name: str, spec: Json, **metadata: Any) -> Json:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def simulated(name: str, how: str = "complete", **annotations: str) -> Json:
    spec = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]}
    return pod(name, spec, annotations={"cleanup-scheduler.test/simulate": how, **annotations})


def config_map(name: str, **metadata: Any) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}


class World:
    """One cluster and its API."""

    def __init__(self, cluster: EmbeddedCluster, api: Api) -> None:
        self.cluster = cluster
        self.api = api

    def run(self, name: str, spec: Json, **metadata: Any) -> Json:
        """Create a pod and wait until it has ended."""
        self.api.post(PODS, pod(name, spec, **metadata)).ok(201)
        return self.until_phase(name, "Succeeded", "Failed")

    def pod(self, name: str) -> Json:
        return self.api.get(f"{PODS}/{name}").ok(200)

    def until_phase(self, name: str, *phases: str) -> Json:
        def ended() -> Json | None:
            found = self.pod(name)
            return found if found["status"]["phase"] in phases else None

        return eventually(ended, f"pod {name} {' or '.join(phases)}")

    def until_gone(self, path: str) -> None:
        eventually(lambda: self.api.get(path).status == 404, f"{path} gone")

    def log(self, name: str, **query: Any) -> Reply:
        return self.api.get(f"{PODS}/{name}/log", **query)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
