"""The official Python client, sync and aio, and kubectl, as whole programs against the same API."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from typing import Any

import pytest

from tests.contracts.kubernetes.conftest import Template
from tests.contracts.kubernetes.manifests import job, pod, quota
from tests.contracts.kubernetes.space import Space, eventually
from tests.contracts.kubernetes.wire import METADATA_LIST
from tests.under_test import ClusterUnderTest

Kubectl = Any


@pytest.fixture
def kubectl(space: Space, cluster_under_test: ClusterUnderTest) -> Kubectl:
    """``kubectl(*arguments)`` in the test's namespace: its output; AssertionError when it fails."""

    def run(*arguments: str) -> str:
        command = [str(cluster_under_test.kubectl), *arguments, "-n", space.namespace]
        environment = {**os.environ, "KUBECONFIG": str(cluster_under_test.kubeconfig)}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=environment, check=False
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    return run


def test_the_official_client_lists_and_deletes_with_a_uid_precondition(
    space: Space, playing: Template
) -> None:
    """Typed models parse what the server says; a mismatch raises its ApiException with status 409.

    Source: kubernetes-client/python, kubernetes/docs/BatchV1Api.md (list_namespaced_job,
    delete_namespaced_job).
    """
    from kubernetes import client, config

    uid = space.create(job("work", playing("run")))["metadata"]["uid"]
    space.until_pods_run("work")
    kubeconfig = str(space.api.kubeconfig)
    with config.new_client_from_config(kubeconfig) as connection:  # type: ignore[no-untyped-call]
        batch, core = client.BatchV1Api(connection), client.CoreV1Api(connection)
        [found] = batch.list_namespaced_job(space.namespace, label_selector="app=contract").items
        assert found.metadata
        assert found.metadata.uid == uid
        [mine] = core.list_namespaced_pod(space.namespace, label_selector="job-name=work").items
        assert mine.status
        assert mine.status.phase == "Running"
        other = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="no-such-uid"))
        with pytest.raises(client.ApiException) as refused:
            batch.delete_namespaced_job("work", space.namespace, body=other)
        assert refused.value.status == 409
        ours = client.V1DeleteOptions(
            preconditions=client.V1Preconditions(uid=uid), propagation_policy="Background"
        )
        batch.delete_namespaced_job("work", space.namespace, body=ours)
    assert space.served("jobs", "work") is None
    eventually(lambda: not space.pods_of("work"), "its pods gone")


def test_the_official_aio_client_reads_metadata_and_deletes_raw(space: Space, playing: Template) -> None:
    """The way that this program uses it: raw JSON, metadata only, a uid precondition in the body.

    Source: kubernetes-client/python, kubernetes.aio (ApiClient.call_api with preloading off).
    """
    uid = space.create(job("work", playing("run"), suspend=True))["metadata"]["uid"]

    async def act() -> tuple[dict[str, Any], int]:
        from kubernetes.aio import client, config

        connecting = config.new_client_from_config(str(space.api.kubeconfig))  # type: ignore[no-untyped-call]
        async with await connecting as connection:
            batch = client.BatchV1Api(connection)
            reply = await batch.list_namespaced_job_without_preload_content(
                space.namespace, _headers={"Accept": METADATA_LIST}
            )
            listed = json.loads(await reply.read())
            guard = client.V1Preconditions(uid=uid)
            options = client.V1DeleteOptions(preconditions=guard, propagation_policy="Background")
            gone = await batch.delete_namespaced_job_without_preload_content(
                "work", space.namespace, body=options
            )
            return listed, gone.status

    listed, status = asyncio.run(act())
    assert listed["kind"] == "PartialObjectMetadataList"
    assert [item["metadata"]["uid"] for item in listed["items"]] == [uid]
    assert status == 200
    assert space.served("jobs", "work") is None


@pytest.mark.needs("kubectl")
def test_kubectl_shows_the_quota_as_the_document_asks_for_it(
    space: Space, kubectl: Kubectl, playing: Template
) -> None:
    """Source: Kubernetes documentation, kubectl get; the mission document, "Troubleshooting" (get
    resourcequota).
    """
    space.create(quota("evaluation-quota", pods="3"))
    space.until(
        "resourcequotas", "evaluation-quota", lambda seen: seen.get("status", {}).get("used"), "counted"
    )
    space.create(pod("a", playing("run")))
    heading, row = kubectl("get", "resourcequota", "evaluation-quota").splitlines()
    assert heading.split()[0] == "NAME"
    assert row.startswith("evaluation-quota")
    assert "pods: 1/3" in row


@pytest.mark.needs("kubectl")
def test_kubectl_deletes_pods_and_jobs_by_label_and_waits_until_they_are_gone(
    space: Space, kubectl: Kubectl, playing: Template
) -> None:
    """kubectl deletes Jobs in the background, not with the API's default.

    Source: Kubernetes documentation, kubectl delete (--cascade=background by default, --wait=true by
    default).
    """
    evaluation = {"app": "evaluation"}
    for name in ("a", "b"):
        space.create(pod(name, playing("run", terminationGracePeriodSeconds=1), labels=evaluation))
    space.create(pod("other", playing("run")))
    space.create(job("work", playing("complete"), labels=evaluation))
    space.create(job("named", playing("complete")))
    space.until_condition("work", "Complete")
    space.until_condition("named", "Complete")
    said = kubectl("delete", "pods", "-l", "app=evaluation")
    assert 'pod "a" deleted' in said
    assert 'pod "b" deleted' in said
    assert set(space.names("pods", labelSelector="!job-name")) == {"other"}
    assert 'job.batch "work" deleted' in kubectl("delete", "jobs", "-l", "app=evaluation")
    assert 'job.batch "named" deleted' in kubectl("delete", "job", "named")
    assert space.names("jobs") == []
    eventually(lambda: space.names("pods") == ["other"], "the pods of the deleted jobs gone")


@pytest.mark.needs("kubectl", "process_pods")
def test_kubectl_reads_the_log_of_a_job(space: Space, kubectl: Kubectl, running: Template) -> None:
    """And has nothing to read once the Job's pods are gone.

    Source: Kubernetes documentation, kubectl logs; the mission document, "Debugging Failed Tests" (logs
    job/…).
    """
    space.create(job("evaluation-job-1", running("echo the answer is 42")))
    space.until_condition("evaluation-job-1", "Complete")
    assert kubectl("logs", "job/evaluation-job-1") == "the answer is 42\n"
    [mine] = space.names("pods")
    assert kubectl("logs", mine, "--tail=1") == "the answer is 42\n"
    kubectl("delete", "pods", "-l", "job-name=evaluation-job-1")
    with pytest.raises(AssertionError, match=r"(?i)timed out|no pods|not found"):
        kubectl("logs", "job/evaluation-job-1", "--pod-running-timeout=1s")


@pytest.mark.needs("kubectl")
def test_kubectl_prints_objects_as_tables_and_as_json(
    space: Space, kubectl: Kubectl, playing: Template
) -> None:
    """Source: Kubernetes documentation, Kubernetes API Concepts, "Receiving resources as Tables"; kubectl
    get.
    """
    space.create(job("work", playing("complete")))
    space.create(pod("a", playing("run")))
    space.until_condition("work", "Complete")
    space.until_phase("a", "Running")
    heading, row = kubectl("get", "jobs").splitlines()
    assert heading.split()[:3] == ["NAME", "STATUS", "COMPLETIONS"]
    assert row.split()[:3] == ["work", "Complete", "1/1"]
    assert kubectl("get", "pod", "a", "--no-headers").split()[:3] == ["a", "1/1", "Running"]
    found = json.loads(kubectl("get", "job", "work", "-o", "json"))
    assert (found["kind"], found["status"]["succeeded"]) == ("Job", 1)
    assert kubectl("get", "pods", "-l", "job-name=work", "-o", "name").startswith("pod/work-")
