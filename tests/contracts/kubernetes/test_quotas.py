"""Resource quotas: what is refused, how the Job controller takes it, and when the room is free again."""

from __future__ import annotations

from collections.abc import Callable

from tests.contracts.kubernetes.conftest import Template
from tests.contracts.kubernetes.manifests import job, pod, quota
from tests.contracts.kubernetes.space import Space, condition_of, eventually
from tests.contracts.kubernetes.wire import Json

NAME = "evaluation-quota"


def set_quota(space: Space, **hard: str) -> None:
    """A quota counts only once the quota controller has written its status."""
    space.create(quota(NAME, **hard))
    space.until("resourcequotas", NAME, lambda seen: seen.get("status", {}).get("used"), "counted")


def until_used(space: Space, key: str, amount: str) -> Json:
    return space.until("resourcequotas", NAME, used(key, amount), f"used {key}={amount}")


def used(key: str, amount: str) -> Callable[[Json], bool]:
    return lambda seen: seen["status"]["used"].get(key) == amount


def test_a_pod_over_the_quota_is_forbidden_in_words_that_name_the_quota(
    space: Space, playing: Template
) -> None:
    """Source: Kubernetes documentation, Resource Quotas, "How Kubernetes ResourceQuotas work" (403 with
    the constraint);
    kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go,
    ``checkRequest``.
    """
    set_quota(space, pods="1")
    space.create(pod("a", playing("run")))
    status = space.post(pod("b", playing("run"))).refused(403, "Forbidden")
    assert status["message"] == (
        f'pods "b" is forbidden: exceeded quota: {NAME}, requested: pods=1, used: pods=1, limited: pods=1'
    )
    assert status["details"] == {"name": "b", "kind": "pods"}
    assert space.get("resourcequotas", NAME)["status"] == {"hard": {"pods": "1"}, "used": {"pods": "1"}}


def test_a_deleted_pod_frees_its_place_in_the_quota(space: Space, playing: Template) -> None:
    """Not with the answer to the DELETE but when the pod is gone and the controller has counted again.

    Source: Kubernetes documentation, Resource Quotas; kubernetes/kubernetes,
    pkg/controller/resourcequota/resource_quota_controller.go.
    """
    set_quota(space, pods="1")
    space.create(pod("a", playing("run", terminationGracePeriodSeconds=1)))
    space.until_phase("a", "Running")
    space.delete("pods", "a").ok()
    space.until_gone("pods", "a")
    until_used(space, "pods", "0")
    space.create(pod("b", playing("run")))


def test_a_finished_pod_counts_as_an_object_but_takes_no_place_of_a_pod(
    space: Space, playing: Template
) -> None:
    """``pods`` counts those that are not in a terminal phase, ``count/pods`` counts all that exist.

    Source: Kubernetes documentation, Resource Quotas, "Object count quota" (pods: non-terminal state).
    """
    set_quota(space, pods="2", **{"count/pods": "5"})
    space.create(pod("a", playing("complete")))
    space.until_phase("a", "Succeeded")
    until_used(space, "pods", "0")
    assert space.get("resourcequotas", NAME)["status"]["used"] == {"pods": "0", "count/pods": "1"}
    space.delete("pods", "a").ok(200)
    until_used(space, "count/pods", "0")


def test_a_job_without_room_says_so_in_an_event_and_waits(space: Space, playing: Template) -> None:
    """The Job is neither failed nor active; the Job controller tries again.

    Source: kubernetes/kubernetes, pkg/controller/controller_utils.go, ``FailedCreatePodReason``.
    """
    set_quota(space, pods="0")
    made = space.create(job("work", playing("run")))
    uid = made["metadata"]["uid"]

    def refusals() -> list[Json]:
        return space.items("events", fieldSelector=f"involvedObject.uid={uid},reason=FailedCreate")

    [event, *_] = eventually(refusals, "a FailedCreate event")
    assert event["type"] == "Warning"
    assert event["involvedObject"]["kind"] == "Job"
    assert (
        f"is forbidden: exceeded quota: {NAME}, requested: pods=1, used: pods=0, limited: pods=0"
        in event["message"]
    )
    assert event["message"].startswith('Error creating: pods "work-')
    waiting = space.get("jobs", "work")
    assert not waiting["status"].get("active")
    assert condition_of(waiting, "Failed") is None
    space.patch("resourcequotas", NAME, {"spec": {"hard": {"pods": "1"}}})
    space.until_pods_run("work")


def test_jobs_themselves_can_be_limited(space: Space, playing: Template) -> None:
    """A test's own submission is then refused, and a deleted Job makes room.

    Source: Kubernetes documentation, Resource Quotas, "Object count quota" (count/<resource>.<group>).
    """
    set_quota(space, count_jobs_batch="1")
    space.create(job("first", playing("run"), suspend=True))
    status = space.post(job("second", playing("run"), suspend=True)).refused(403, "Forbidden")
    assert status["message"] == (
        f'jobs.batch "second" is forbidden: exceeded quota: {NAME}, '
        "requested: count/jobs.batch=1, used: count/jobs.batch=1, limited: count/jobs.batch=1"
    )
    space.delete("jobs", "first", propagationPolicy="Background").ok(200)
    until_used(space, "count/jobs.batch", "0")
    space.create(job("second", playing("run"), suspend=True))


def test_requests_are_added_up_and_pods_that_name_none_are_refused(space: Space, playing: Template) -> None:
    """Source: Kubernetes documentation, Resource Quotas, "Compute resource quota", "Requests compared to
    limits".
    """
    set_quota(space, requests_cpu="1")
    status = space.post(pod("vague", playing("run"))).refused(403, "Forbidden")
    assert "must specify requests.cpu for: main" in status["message"]

    def asking(name: str, cpu: str) -> Json:
        template = playing("run")
        template["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
        return pod(name, template)

    space.create(asking("a", "700m"))
    refused = space.post(asking("b", "0.5")).refused(403, "Forbidden")
    assert (
        "requested: requests.cpu=500m, used: requests.cpu=700m, limited: requests.cpu=1" in refused["message"]
    )
    space.create(asking("c", "300m"))
    until_used(space, "requests.cpu", "1")
