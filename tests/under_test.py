"""The cluster that the tests run against, what it can do, and how a pod gets to run there.

Tests name behaviours (``@pytest.mark.needs("process_pods")``), never a cluster. What a real cluster has is
found out by asking it; it refuses to guess that from a name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tools.cluster.facts import Facts

Json = dict[str, Any]

CHOICE = "CLEANUP_SCHEDULER_TEST_CLUSTER"
KUBECONFIG = "CLEANUP_SCHEDULER_TEST_KUBECONFIG"
AUDIT_LOG = "CLEANUP_SCHEDULER_TEST_AUDIT_LOG"  # of the cluster that the former names
NO_REAL_CLUSTER = f"no real cluster runs: `make cluster` starts one, or {KUBECONFIG} names yours"
NO_KUBECTL = "there is no kubectl on PATH, and `make cluster` has built none"
BEHAVIOURS = {
    "process_pods": "pods whose commands truly run, with logs and signals",
    "lost_logs": "a node that keeps only the last dead container of a pod, as a kubelet does",
    "apps": "Deployments and ReplicaSets with their controllers",
    "rbac": "users with fewer rights: service account tokens, Roles",
    "admission": "admission policies and webhooks",
    "field_managers": "fields whose manager the API remembers",
    "short_history": "a way to expire continue tokens and watch positions at once",
    "kubectl": "a kubectl program",
}


@dataclass(frozen=True, kw_only=True)
class PodRecipe:
    """What must be added to a pod so that it lands where its command runs, or where its states are played."""

    image: str
    container: Json = field(default_factory=dict)
    spec: Json = field(default_factory=dict)
    behaviour_annotation: str = ""

    def template(self, command: list[str], behaviour: str = "", **spec: Any) -> Json:
        main = {"name": "main", "image": self.image, "command": command, **self.container}
        chosen = {self.behaviour_annotation: behaviour} if behaviour and self.behaviour_annotation else {}
        pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, **self.spec, **spec}
        return {"metadata": {"annotations": chosen}, "spec": {**pod, "containers": [main]}}


@dataclass(frozen=True, kw_only=True)
class ClusterUnderTest:
    """A cluster that answers at ``kubeconfig``; ``lacks`` gives the reason for each missing behaviour."""

    name: str
    kubeconfig: Path
    lacks: Mapping[str, str]
    processes: PodRecipe | None
    simulated: PodRecipe | None
    expire_history: Callable[[], None]
    # the requests to delete so far, as events of ``audit.k8s.io/v1``
    audit: Callable[[], list[Json]] | None = None
    kubectl: Path | None = None

    def process_template(self, script: str, **spec: Any) -> Json:
        """A pod template whose one container ``main`` runs this shell script."""
        assert self.processes, "the test must say that it needs process_pods"
        return self.processes.template(["sh", "-c", script], **spec)

    def simulated_template(self, behaviour: str, **spec: Any) -> Json:
        """A pod template that goes through the states of one that completes, runs on (``run``) or fails."""
        scripts = {"complete": "exit 0", "run": "exec sleep 3600", "fail": "exit 1"}
        recipe = self.simulated or self.processes
        assert recipe, "the cluster has no node at all"
        return recipe.template(["sh", "-c", scripts[behaviour]], behaviour, **spec)


def require(cluster: ClusterUnderTest, *needs: str) -> None:
    """Skip, with the reason, when the cluster lacks one of these behaviours."""
    for need in needs:
        assert need in BEHAVIOURS, f"unknown need {need!r}: one of {', '.join(BEHAVIOURS)}"
        if need in cluster.lacks:
            pytest.skip(f"needs {need}: {cluster.lacks[need]}")


def check_choice() -> str:
    """``embedded`` or ``real``, as the environment says. Raises UsageError when there is no such cluster."""
    choice = os.environ.get(CHOICE, "embedded")
    if choice not in ("embedded", "real"):
        raise pytest.UsageError(f"{CHOICE}={choice}: it must be 'embedded' or 'real'")
    if choice == "real":
        find_real_cluster()
    return choice


@contextmanager
def cluster_under_test() -> Iterator[ClusterUnderTest]:
    """The cluster that the environment chooses; ``embedded`` when it chooses none."""
    if check_choice() == "real":
        yield real_cluster()
    else:
        with embedded_cluster() as cluster:
            yield cluster


@contextmanager
def embedded_cluster() -> Iterator[ClusterUnderTest]:
    """Our own server in this process; its pods are processes of this machine."""
    from cleanup_scheduler.testing import EmbeddedCluster

    kubectl = find_kubectl()
    with EmbeddedCluster() as cluster:
        yield ClusterUnderTest(
            name="embedded",
            kubeconfig=cluster.kubeconfig,
            lacks={
                "lost_logs": "the embedded cluster forgets no log of a pod that is not deleted",
                "apps": "the embedded cluster stores Deployments but has no controller for them",
                "field_managers": "the embedded cluster does not remember who wrote a field",
                "rbac": "the embedded cluster knows one user",
                "admission": "the embedded cluster calls no policies and webhooks",
                **({} if kubectl else {"kubectl": NO_KUBECTL}),
            },
            processes=PodRecipe(image="busybox:test"),
            simulated=PodRecipe(image="busybox:test", behaviour_annotation=BEHAVIOUR_ANNOTATION),
            expire_history=cluster.expire_history,
            audit=lambda: [record.event() for record in cluster.deletes()],
            kubectl=kubectl,
        )


def find_real_cluster() -> tuple[Path, Facts | None]:
    """The kubeconfig that the environment names, else that of ``make cluster``; facts only of the latter."""
    from tools.cluster import facts, places

    ours = facts.load(places.places())
    if named := os.environ.get(KUBECONFIG, ""):
        return Path(named), ours if ours and ours.kubeconfig == Path(named) else None
    if ours is None:
        raise pytest.UsageError(NO_REAL_CLUSTER)
    return ours.kubeconfig, ours


def real_cluster() -> ClusterUnderTest:
    """Asks the cluster what it has."""
    from tests.contracts.kubernetes.wire import Api

    kubeconfig, known = find_real_cluster()
    api = Api(kubeconfig)
    nodes = api.get("/api/v1/nodes").ok(200)["items"]
    api.close()
    fake = [node for node in nodes if node["metadata"].get("annotations", {}).get(KWOK_MARK) == "fake"]
    real = [node for node in nodes if node not in fake]
    kubectl = known.kubectl if known else find_kubectl()
    lacks = {
        "process_pods": "" if real else (known.no_real_node_because if known else "its nodes are all played"),
        "lost_logs": "" if real else "none of its nodes has a kubelet",
        "short_history": "" if known else "its etcd is out of reach",
        "kubectl": "" if kubectl else NO_KUBECTL,
    }
    return ClusterUnderTest(
        name="real",
        kubeconfig=kubeconfig,
        lacks={need: reason for need, reason in lacks.items() if reason},
        processes=recipe_for_node(real[0]) if real else None,
        simulated=RECIPE_FOR_KWOK if fake else None,
        expire_history=(lambda: compact(known.etcd)) if known else cannot_expire,
        audit=audit_reader(str(known.audit_log) if known else os.environ.get(AUDIT_LOG, ""), kubeconfig),
        kubectl=kubectl,
    )


def cannot_expire() -> None:
    pytest.fail("the test must say that it needs short_history")


def audit_reader(file: str, kubeconfig: Path) -> Callable[[], list[Json]] | None:
    """Reads the deletes of this session out of an API server's audit log, each line once: it grows long.
    Everything answered so far is among them. None when the cluster does not show us its log.
    """
    from tests.clusters.audit import AuditLog, Follower
    from tests.contracts.kubernetes.wire import Api

    if not file:
        return None
    log = AuditLog(Path(file))
    follower = Follower(log)

    def read() -> list[Json]:
        api = Api(kubeconfig)
        log.catch_up(lambda name: api.delete(f"/api/v1/namespaces/default/configmaps/{name}"))
        api.close()
        return follower.deletes()

    return read


KWOK_MARK = "kwok.x-k8s.io/node"
BEHAVIOUR_ANNOTATION = "cleanup-scheduler.test/simulate"
RECIPE_FOR_KWOK = PodRecipe(
    image="simulated",
    spec={"nodeSelector": {"type": "kwok"}, "tolerations": [{"operator": "Exists"}]},
    behaviour_annotation=BEHAVIOUR_ANNOTATION,
)


def recipe_for_node(node: Json) -> PodRecipe:
    """Onto this very node, with our own image when it has that, else with a public one."""
    images = [name for image in node["status"].get("images", []) for name in image.get("names", [])]
    ours = next((name for name in images if name.endswith("busybox:test")), "")
    return PodRecipe(
        image=ours or os.environ.get("CLEANUP_SCHEDULER_TEST_IMAGE", "busybox:stable"),
        container={"imagePullPolicy": "Never" if ours else "IfNotPresent"},
        spec={
            "nodeSelector": {"kubernetes.io/hostname": node["metadata"]["labels"]["kubernetes.io/hostname"]},
            "tolerations": [{"operator": "Exists"}],
            "automountServiceAccountToken": False,
        },
    )


def compact(etcd: str) -> None:
    """Make the API server forget every state but the present one, as it does by itself every five minutes."""
    import urllib3

    head = urllib3.request("POST", f"{etcd}/v3/kv/range", json={"key": "AA=="}).json()["header"]["revision"]
    done = urllib3.request("POST", f"{etcd}/v3/kv/compaction", json={"revision": head, "physical": True})
    assert done.status == 200, done.data


def find_kubectl() -> Path | None:
    """The one on PATH, else the one that ``make cluster`` built."""
    from tools.cluster.places import cache_folder
    from tools.cluster.programs import KUBERNETES, Shelf

    on_path = shutil.which("kubectl")
    return Path(on_path) if on_path else Shelf(cache_folder()).find(KUBERNETES, "kubectl")
