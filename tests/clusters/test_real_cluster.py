"""What tests may rely on of the cluster that ``make cluster`` starts, beyond what the contract suite says."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.audit import AuditLog, by_service_account, compare
from tests.clusters.node_pods import real_node_pod_template
from tests.clusters.real import RealCluster
from tests.contracts.kubernetes.space import eventually
from tests.contracts.kubernetes.wire import Api, Json
from tools.cluster.facts import REAL_NODE_LABEL, SIMULATE_ANNOTATION, TERMINATE_ANNOTATION

PLAYED: Json = {"spec": {"containers": [{"name": "main", "image": "played"}]}}


def create_pod(api: Api, namespace: str, name: str, template: Json, **annotations: str) -> Json:
    metadata = {"name": name, "annotations": annotations}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    return api.post(f"/api/v1/namespaces/{namespace}/pods", manifest).ok(201)


def pod(api: Api, namespace: str, name: str) -> Json:
    return api.get(f"/api/v1/namespaces/{namespace}/pods/{name}").ok(200)


def until_phase(api: Api, namespace: str, name: str, *phases: str) -> Json:
    def look() -> Json | None:
        seen = pod(api, namespace, name)
        return seen if seen["status"].get("phase") in phases else None

    found = eventually(look, f"{name} is {' or '.join(phases)}")
    assert found is not None
    return found


def log_of(api: Api, namespace: str, name: str) -> str:
    return api.get(f"/api/v1/namespaces/{namespace}/pods/{name}/log", accept="*/*").text


def test_a_pod_that_asks_for_nothing_is_only_played(real: RealCluster, api: Api, namespace: str) -> None:
    if real.audit_log is None:
        pytest.skip("needs a cluster of ours: other clusters have no played nodes")
    create_pod(api, namespace, "plain", PLAYED)
    seen = until_phase(api, namespace, "plain", "Running")
    assert seen["spec"]["nodeName"].startswith("played-")
    assert "only played" in log_of(api, namespace, "plain")


@pytest.mark.parametrize(
    ("behaviour", "phase"), [("complete", "Succeeded"), ("fail", "Failed"), ("run", "Running")]
)
def test_an_annotation_says_how_a_played_pod_behaves(
    real: RealCluster, api: Api, namespace: str, behaviour: str, phase: str
) -> None:
    if real.audit_log is None:
        pytest.skip("needs a cluster of ours: other clusters have no played nodes")
    create_pod(api, namespace, behaviour, PLAYED, **{SIMULATE_ANNOTATION: behaviour})
    until_phase(api, namespace, behaviour, phase)


def test_a_played_pod_can_be_slow_to_terminate(real: RealCluster, api: Api, namespace: str) -> None:
    if real.audit_log is None:
        pytest.skip("needs a cluster of ours: other clusters have no played nodes")
    create_pod(api, namespace, "slow", PLAYED, **{TERMINATE_ANNOTATION: "2s"})
    until_phase(api, namespace, "slow", "Running")
    began = time.monotonic()
    path = f"/api/v1/namespaces/{namespace}/pods/slow"
    api.delete(path).ok(200)
    assert "deletionTimestamp" in api.get(path).ok(200)["metadata"]
    eventually(lambda: api.get(path).status == 404, "slow is gone")
    assert time.monotonic() - began >= 1.5


def server_of(real: RealCluster) -> str:
    api = Api(real.kubeconfig)
    api.close()
    return str(api.server)


def python_pod(real: RealCluster, script: str, *, service_account: str = "default", **folders: Any) -> Json:
    template = real_node_pod_template(server_of(real), **folders)
    template["spec"]["serviceAccountName"] = service_account
    template["spec"]["containers"][0]["args"] = ["-c", script]
    return template


SEES_ITSELF = """
import sys
import kubernetes
kubernetes.config.load_incluster_config()
namespace = open("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read()
for pod in kubernetes.client.CoreV1Api().list_namespaced_pod(namespace).items:
    print("sees", pod.metadata.name, "with", sys.executable)
"""


def test_the_environments_python_runs_in_a_pod_and_reaches_the_api(
    real_node: RealCluster, api: Api, namespace: str
) -> None:
    allow(api, namespace, "view")
    template = python_pod(real_node, SEES_ITSELF)
    create_pod(api, namespace, "suite", template)
    seen = until_phase(api, namespace, "suite", "Succeeded", "Failed")
    assert seen["spec"]["nodeSelector"] == {REAL_NODE_LABEL: "true"}
    assert log_of(api, namespace, "suite") == f"sees suite with {sys.executable}\n"


def test_a_writable_folder_outlives_its_pod_and_the_checkout_cannot_be_written(
    real_node: RealCluster, api: Api, namespace: str, tmp_path: Path
) -> None:
    script = (
        f"open('{tmp_path}/kept', 'w').write('by a pod')\n"
        "try:\n    open('never', 'w')\nexcept OSError as error:\n    print(error.strerror)"
    )
    create_pod(api, namespace, "writer", python_pod(real_node, script, writable=[tmp_path]))
    until_phase(api, namespace, "writer", "Succeeded", "Failed")
    assert log_of(api, namespace, "writer") == "Read-only file system\n"
    assert (tmp_path / "kept").read_text() == "by a pod"


def test_sigterm_reaches_the_process_and_sigkill_comes_when_the_grace_is_over(
    real_node: RealCluster, api: Api, namespace: str, tmp_path: Path
) -> None:
    script = (
        "import signal, time\n"
        f"heard = open('{tmp_path}/heard', 'w', buffering=1)\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('SIGTERM', time.time(), file=heard))\n"
        "print('ready', flush=True)\n"
        "while True:\n    time.sleep(0.1); print('alive', time.time(), file=heard)"
    )
    template = python_pod(real_node, script, writable=[tmp_path])
    template["spec"]["terminationGracePeriodSeconds"] = 3
    create_pod(api, namespace, "deaf", template)
    eventually(lambda: log_of(api, namespace, "deaf") == "ready\n", "deaf is ready")
    path = f"/api/v1/namespaces/{namespace}/pods/deaf"
    api.delete(path).ok(200)
    eventually(lambda: api.get(path).status == 404, "deaf is gone")
    heard = [line.split() for line in (tmp_path / "heard").read_text().splitlines()]
    (asked,) = (float(when) for what, when in heard if what == "SIGTERM")
    last = float(heard[-1][1])
    assert 2.5 <= last - asked < 10


def allow(api: Api, namespace: str, role: str) -> None:
    """The namespace's default service account may do what this cluster role may, in the namespace."""
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
    api.post(path, binding).ok(201)


def test_the_audit_log_tells_who_deleted_what_with_which_uid(
    real: RealCluster, api: Api, namespace: str
) -> None:
    if real.audit_log is None:
        pytest.skip("needs an audit log: CLEANUP_SCHEDULER_TEST_AUDIT_LOG names it")
    log, pods = AuditLog(real.audit_log), f"/api/v1/namespaces/{namespace}/pods"
    mark = log.mark()
    allow(api, namespace, "edit")
    uids = {name: create_pod(api, namespace, name, PLAYED)["metadata"]["uid"] for name in ("guarded", "not")}
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    token = api.post(
        account, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    ).ok(201)
    other = Api(real.kubeconfig, token=token["status"]["token"])
    other.delete(f"{pods}/guarded", {"preconditions": {"uid": uids["guarded"]}}).ok(200)
    other.delete(f"{pods}/not").ok(200)
    other.close()
    log.catch_up(lambda name: api.delete(f"/api/v1/namespaces/{namespace}/configmaps/{name}"))

    seen = log.deletes(mark, where=by_service_account(namespace, "default"))
    found = [
        (delete.resource, delete.name, delete.asked_uid, delete.object_uid, delete.code) for delete in seen
    ]
    assert found == [
        ("pods", "guarded", uids["guarded"], uids["guarded"], 200),
        ("pods", "not", "", uids["not"], 200),
    ]
    compared = compare(seen, {uids["guarded"], "requested-but-never-sent"})
    assert (compared.unguarded, compared.unrequested) == ([seen[1]], [])
    assert compared.never_sent == {"requested-but-never-sent"}
