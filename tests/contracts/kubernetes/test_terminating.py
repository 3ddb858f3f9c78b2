"""Pods that are being ended: SIGTERM, grace, SIGKILL, and what can be read meanwhile."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from tests.contracts.kubernetes.conftest import Template
from tests.contracts.kubernetes.manifests import job, options, pod
from tests.contracts.kubernetes.space import Space, condition_of, eventually
from tests.contracts.kubernetes.wire import Json

pytestmark = pytest.mark.needs("process_pods")

OBEYS = "trap 'echo goodbye; sleep 1; echo gone; exit 0' TERM; echo hello; while :; do sleep 0.1; done"
IGNORES = "trap '' TERM; echo hello; while :; do sleep 0.1; done"


def log_of(space: Space, name: str) -> str:
    reply = space.api.get(space.path("pods", name, "log"), accept="*/*")
    return reply.text if reply.status == 200 else ""


def start(space: Space, name: str, template: Json) -> Json:
    space.create(pod(name, template))
    says_hello(space, name)
    return space.get("pods", name)


def says_hello(space: Space, name: str) -> None:
    eventually(lambda: log_of(space, name) == "hello\n", f"{name} says hello")


def last_states(space: Space, name: str, since: str) -> list[Json]:
    """What was seen of the pod from there until it was gone."""
    seen = []
    with space.api.watch(
        space.path("pods"), resourceVersion=since, fieldSelector=f"metadata.name={name}"
    ) as events:
        for event in events:
            seen.append(event["object"])
            if event["type"] == "DELETED":
                return seen
    raise AssertionError(f"{name} was not gone before the watch ended: {seen[-1:]}")


def exit_codes(states: list[Json]) -> set[int]:
    ended = [state["status"]["containerStatuses"][0]["state"].get("terminated") for state in states]
    return {end["exitCode"] for end in ended if end}


def test_a_pod_that_ignores_sigterm_is_killed_when_its_grace_is_over(space: Space, running: Template) -> None:
    """Not before, and soon after; its exit code is 137 (128 + SIGKILL).

    Source: Kubernetes documentation, Pod Lifecycle, "Termination of Pods".
    """
    stubborn = start(space, "stubborn", running(IGNORES, terminationGracePeriodSeconds=3))
    began = time.monotonic()
    space.delete("pods", "stubborn").ok()
    states = last_states(space, "stubborn", stubborn["metadata"]["resourceVersion"])
    assert 2.5 <= time.monotonic() - began < 20
    assert exit_codes(states) == {137}


def test_a_pod_that_obeys_sigterm_goes_before_its_grace_is_over(space: Space, running: Template) -> None:
    """Its exit code is its own, and the phase says how it ended.

    Source: Kubernetes documentation, Pod Lifecycle, "Termination of Pods"; KEP-3329 (phase of terminated
    pods).
    """
    obedient = start(space, "obedient", running(OBEYS, terminationGracePeriodSeconds=30))
    began = time.monotonic()
    space.delete("pods", "obedient").ok()
    states = last_states(space, "obedient", obedient["metadata"]["resourceVersion"])
    assert time.monotonic() - began < 20
    assert exit_codes(states) == {0}
    assert states[-1]["status"]["phase"] == "Succeeded"


def test_a_log_followed_from_before_the_deletion_has_the_last_words(space: Space, running: Template) -> None:
    """The log of a terminating pod is served until its containers ended, and following gives all of it.

    Source: Kubernetes documentation, Pod Lifecycle, "Termination of Pods"; Logging Architecture.
    """
    start(space, "a", running(OBEYS, terminationGracePeriodSeconds=30))
    with space.api.stream(space.path("pods", "a", "log"), accept="*/*", follow="true") as reply:
        space.delete("pods", "a").ok()
        eventually(lambda: "goodbye" in log_of(space, "a"), "the log of a terminating pod")
        followed = b"".join(reply.stream()).decode()
    assert followed == "hello\ngoodbye\ngone\n"


def test_a_shorter_grace_period_replaces_the_longer_one(space: Space, running: Template) -> None:
    """In the API: a longer one does not. A node that has begun to stop the pod may still take its first time.

    Source: kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg/registry/rest/delete.go, ``BeforeDelete``.
    """
    uid = start(space, "a", running(IGNORES, terminationGracePeriodSeconds=30))["metadata"]["uid"]
    first = space.delete("pods", "a").ok()["metadata"]
    assert first["deletionGracePeriodSeconds"] == 30
    space.delete("pods", "a", options(gracePeriodSeconds=90)).ok()
    assert space.get("pods", "a")["metadata"]["deletionGracePeriodSeconds"] == 30
    second = space.delete("pods", "a", options(gracePeriodSeconds=8, preconditions={"uid": uid})).ok()[
        "metadata"
    ]
    assert second["deletionGracePeriodSeconds"] == 8
    assert datetime.fromisoformat(second["deletionTimestamp"]) < datetime.fromisoformat(
        first["deletionTimestamp"]
    )
    space.delete("pods", "a", options(gracePeriodSeconds=0, preconditions={"uid": uid})).ok()
    assert space.served("pods", "a") is None


def test_a_suspended_job_ends_its_pod_gracefully_and_its_log_can_be_read_to_the_end(
    space: Space, running: Template
) -> None:
    """Suspension itself deletes the pod: whoever wants the whole log follows it from before.

    Source: Kubernetes documentation, Jobs, "Suspending a Job" (SIGTERM, the grace period is honoured);
    KEP-2232.
    """
    space.create(job("work", running(OBEYS, terminationGracePeriodSeconds=30), backoffLimit=0))
    [mine] = space.until_pods_run("work")
    name = mine["metadata"]["name"]
    says_hello(space, name)
    with space.api.stream(space.path("pods", name, "log"), accept="*/*", follow="true") as reply:
        space.patch("jobs", "work", {"spec": {"suspend": True}})
        space.until("pods", name, lambda seen: "deletionTimestamp" in seen["metadata"], "marked for deletion")
        assert "hello" in log_of(space, name)
        assert b"".join(reply.stream()).decode() == "hello\ngoodbye\ngone\n"
    space.until_gone("pods", name)
    suspended = space.until_condition("work", "Suspended")
    assert condition_of(suspended, "Failed") is None
    assert condition_of(suspended, "Complete") is None
    assert not suspended["status"].get("succeeded"), "its exit code 0 is no success of the Job"


def test_a_deleted_pod_of_a_running_job_is_a_failure_even_if_it_ends_well(
    space: Space, running: Template
) -> None:
    """Exit code 0 after SIGTERM is no help: without retries the Job fails, else another pod starts.

    Source: kubernetes/kubernetes, pkg/controller/job/job_controller.go, ``isPodFailed``; KEP-3939 (a
    terminating pod counts as failed unless podReplacementPolicy says otherwise).
    """
    for name, retries in (("last", 0), ("again", 3)):
        space.create(job(name, running(OBEYS), backoffLimit=retries))
    first = {name: space.until_pods_run(name)[0]["metadata"]["name"] for name in ("last", "again")}
    for pod_name in first.values():
        says_hello(space, pod_name)
        space.delete("pods", pod_name).ok()
    failed = condition_of(space.until_condition("last", "Failed"), "Failed")
    assert failed is not None
    assert failed["reason"] == "BackoffLimitExceeded"
    [second] = space.until_pods_run("again")
    assert second["metadata"]["name"] != first["again"]
    for name in ("last", "again"):
        assert not space.get("jobs", name)["status"].get("succeeded")


def test_a_finalizer_on_a_pod_does_not_keep_its_log(space: Space, running: Template) -> None:
    """The node drops the containers of a pod that it ended for its deletion, and their logs with them.

    What the API answers then is 200 with one of two apologies in place of the log. (The log of a pod that had
    finished before it was deleted stays.)

    Source: kubernetes/kubernetes, pkg/kubelet/kubelet.go, ``SyncTerminatedPod``, and
    pkg/kubelet/kuberuntime/kuberuntime_manager.go, ``GetContainerLogs``.
    """
    space.create(pod("held", running(OBEYS), finalizers=["example.com/held"]))
    says_hello(space, "held")
    space.delete("pods", "held").ok()
    lost = eventually(
        lambda: seen if "hello" not in (seen := log_of(space, "held")) else "", "the log is no longer had"
    )
    assert lost.startswith(
        ("unable to retrieve container logs for ", "failed to try resolving symlinks in path ")
    )
    assert space.get("pods", "held")["metadata"]["deletionTimestamp"]
    space.finish("pods", "held")
    space.until_gone("pods", "held")
