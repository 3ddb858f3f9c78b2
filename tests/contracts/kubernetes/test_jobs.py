"""What the Job controller does with pods that finish, fail, are deleted, and with Jobs that are suspended."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.kubernetes.conftest import Template
from tests.contracts.kubernetes.manifests import job, options
from tests.contracts.kubernetes.space import Space, condition_of, eventually
from tests.contracts.kubernetes.wire import STRATEGIC, Json

TRACKING = "batch.kubernetes.io/job-tracking"


def suspend(space: Space, name: str, *, uid: str | None = None) -> Json:
    change: dict[str, Any] = {"spec": {"suspend": True}}
    if uid:
        change["metadata"] = {"uid": uid}
    return space.patch("jobs", name, change)


def counts(found: Json) -> tuple[int, int, int]:
    """(active, succeeded, failed): the server leaves zeros out."""
    status = found["status"]
    return status.get("active", 0), status.get("succeeded", 0), status.get("failed", 0)


def another_job_ran(space: Space, playing: Template) -> None:
    """The controller has worked since: a Job made later is complete."""
    space.create(job("later", playing("complete")))
    space.until_condition("later", "Complete")


def test_the_pods_of_a_job_point_at_it_in_four_ways(space: Space, playing: Template) -> None:
    """Both label forms for name and uid, and an owner reference that is controller and blocks the
    owner's deletion.

    Source: Kubernetes documentation, Well-Known Labels, "batch.kubernetes.io/job-name",
    "batch.kubernetes.io/controller-uid",
    "job-name (deprecated)", "controller-uid (deprecated)"; Jobs, "Job tracking with finalizers".
    """
    uid = space.create(job("work", playing("run")))["metadata"]["uid"]
    [mine] = space.until_pods_run("work")
    labels = mine["metadata"]["labels"]
    assert (labels["job-name"], labels["controller-uid"]) == ("work", uid)
    assert (labels["batch.kubernetes.io/job-name"], labels["batch.kubernetes.io/controller-uid"]) == (
        "work",
        uid,
    )
    assert mine["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": "work",
            "uid": uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    assert mine["metadata"]["finalizers"] == [TRACKING]
    assert mine["metadata"]["generateName"] == "work-"
    assert mine["metadata"]["name"].startswith("work-")
    selector = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert space.get("jobs", "work")["spec"]["selector"] == selector


def test_a_job_whose_pod_succeeds_is_complete_and_keeps_the_pod(space: Space, playing: Template) -> None:
    """The tracking finalizer is off the pod once the Job has counted it.

    Source: Kubernetes documentation, Jobs, "Job termination and cleanup"; KEP-2307 Job tracking without
    lingering Pods.
    """
    space.create(job("work", playing("complete")))
    done = space.until_condition("work", "Complete")
    assert counts(done) == (0, 1, 0)
    assert done["status"]["startTime"] <= done["status"]["completionTime"]
    assert condition_of(done, "Failed") is None
    [mine] = space.pods_of("work")
    assert mine["status"]["phase"] == "Succeeded"
    assert "finalizers" not in mine["metadata"]


def test_a_job_without_retries_fails_with_its_first_failed_pod_and_keeps_it(
    space: Space, playing: Template
) -> None:
    """Source: Kubernetes documentation, Jobs, "Pod backoff failure policy"."""
    space.create(job("work", playing("fail"), backoffLimit=0))
    failed = condition_of(failed_job := space.until_condition("work", "Failed"), "Failed")
    assert failed is not None
    assert failed["reason"] == "BackoffLimitExceeded"
    assert counts(failed_job) == (0, 0, 1)
    assert "completionTime" not in failed_job["status"]
    assert [seen["status"]["phase"] for seen in space.pods_of("work")] == ["Failed"]


def test_a_deleted_pod_of_a_running_job_is_replaced_while_retries_are_left(
    space: Space, playing: Template
) -> None:
    """Deleting pods of a running Job frees nothing: the controller starts another one.

    Source: Kubernetes documentation, Jobs (overview: "start a new Pod if the first Pod fails or is deleted");
    KEP-3939 Allow replacement of Pods in a Job when fully terminating.
    """
    space.create(job("work", playing("run"), backoffLimit=3))
    [first] = space.until_pods_run("work")
    space.delete("pods", first["metadata"]["name"]).ok()
    space.until_gone("pods", first["metadata"]["name"])
    [second] = space.until_pods_run("work")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert condition_of(space.get("jobs", "work"), "Failed") is None


def test_a_deleted_pod_of_a_running_job_fails_the_job_when_no_retry_is_left(
    space: Space, playing: Template
) -> None:
    """Cleaning the pods of a running Job without suspending it first falsifies its result.

    Source: kubernetes/kubernetes, pkg/controller/job/job_controller.go, ``isPodFailed`` (deleted pods
    count as failures).
    """
    space.create(job("work", playing("run"), backoffLimit=0))
    [mine] = space.until_pods_run("work")
    space.delete("pods", mine["metadata"]["name"]).ok()
    failed = condition_of(space.until_condition("work", "Failed"), "Failed")
    assert failed is not None
    assert failed["reason"] == "BackoffLimitExceeded"
    space.until_gone("pods", mine["metadata"]["name"])
    assert space.pods_of("work") == []


@pytest.mark.parametrize("retries", [0, 3])
def test_suspending_a_job_takes_its_pods_and_leaves_the_job_unfinished(
    space: Space, playing: Template, retries: int
) -> None:
    """Its pods are deleted, none is started, and it is Suspended, not Failed, even without retries.

    Source: Kubernetes documentation, Jobs, "Suspending a Job"; KEP-2232 Suspend Jobs.
    """
    uid = space.create(job("work", playing("run"), backoffLimit=retries))["metadata"]["uid"]
    [mine] = space.until_pods_run("work")
    suspend(space, "work", uid=uid)
    space.until_gone("pods", mine["metadata"]["name"])
    suspended = space.until_condition("work", "Suspended")
    assert suspended["metadata"]["uid"] == uid
    assert suspended["status"]["conditions"][0]["reason"] == "JobSuspended"
    another_job_ran(space, playing)
    settled = space.until(
        "jobs", "work", lambda seen: not seen["status"].get("terminating"), "without terminating pods"
    )
    assert condition_of(settled, "Failed") is None
    assert condition_of(settled, "Complete") is None
    assert counts(settled)[0] == 0
    assert "startTime" not in settled["status"]
    assert space.pods_of("work") == []


def test_suspending_keeps_what_the_job_has_counted_and_its_finished_pods(
    space: Space, playing: Template
) -> None:
    """Only pods that still run are deleted; those that succeeded stay, with their count.

    Source: Kubernetes documentation, Jobs, "Suspending a Job" ("any running Pods that don't have a
    status of Completed").
    """
    space.create(job("work", playing("complete"), completions=3, parallelism=1))
    space.until("jobs", "work", lambda seen: counts(seen)[1] >= 1, "counted a success")
    suspend(space, "work")
    suspended = space.until("jobs", "work", settled, "either complete or suspended with no pod left to count")
    finished = [seen for seen in space.pods_of("work") if seen["status"]["phase"] == "Succeeded"]
    assert len(finished) == counts(suspended)[1] >= 1
    assert counts(suspended)[2] == 0


def settled(found: Json) -> bool:
    if condition_of(found, "Complete"):
        return True
    uncounted = found["status"].get("uncountedTerminatedPods") or {}
    busy = found["status"].get("terminating") or counts(found)[0] or any(uncounted.values())
    return bool(condition_of(found, "Suspended")) and not busy


def test_a_suspended_job_that_is_resumed_starts_new_pods(space: Space, playing: Template) -> None:
    """Source: Kubernetes documentation, Jobs, "Suspending a Job" (resume resets startTime, events Suspended
    and Resumed).
    """
    space.create(job("work", playing("complete"), suspend=True))
    space.until_condition("work", "Suspended")
    assert space.pods_of("work") == []
    space.patch("jobs", "work", {"spec": {"suspend": False}}, STRATEGIC)
    done = space.until_condition("work", "Complete")
    assert condition_of(done, "Suspended") is None
    assert done["status"]["startTime"]
    reasons = {event["reason"] for event in events_of(space, done)}
    assert {"Suspended", "SuccessfulCreate", "Resumed"} <= reasons


def test_deleting_the_pods_of_a_finished_job_changes_nothing_about_it(
    space: Space, playing: Template
) -> None:
    """The counts and the condition stay, and no pod comes back: level ``pods`` rests on it.

    Source: KEP-2307 Job tracking without lingering Pods (a counted pod may go).
    """
    space.create(job("good", playing("complete")))
    space.create(job("bad", playing("fail"), backoffLimit=0))
    before = [space.until_condition("good", "Complete"), space.until_condition("bad", "Failed")]
    for name in ("good", "bad"):
        eventually(lambda name=name: not finalizers(space, name), "pods counted")  # type: ignore[misc]
        for mine in space.pods_of(name):
            space.delete("pods", mine["metadata"]["name"]).ok()
    another_job_ran(space, playing)
    assert space.pods_of("good") == space.pods_of("bad") == []
    assert [space.get("jobs", name)["status"] for name in ("good", "bad")] == [
        seen["status"] for seen in before
    ]


def finalizers(space: Space, job_name: str) -> list[str]:
    return [held for mine in space.pods_of(job_name) for held in mine["metadata"].get("finalizers", [])]


def test_a_finished_job_with_a_ttl_goes_with_its_pods_unless_the_ttl_is_lifted(
    space: Space, playing: Template
) -> None:
    """A merge patch with null lifts the TTL of a finished Job.

    Source: Kubernetes documentation, Automatic Cleanup for Finished Jobs, "Cleanup for finished Jobs",
    "Updating TTL for finished Jobs".
    """
    for name in ("kept", "gone"):
        space.create(job(name, playing("complete"), ttlSecondsAfterFinished=3))
    space.until_condition("kept", "Complete")
    lifted = space.patch("jobs", "kept", {"spec": {"ttlSecondsAfterFinished": None}})
    assert "ttlSecondsAfterFinished" not in lifted["spec"]
    space.until_gone("jobs", "gone")
    eventually(lambda: not space.pods_of("gone"), "the pods of a Job whose TTL is over")
    assert condition_of(space.get("jobs", "kept"), "Complete")
    assert len(space.pods_of("kept")) == 1


def test_a_job_that_another_controller_manages_is_left_alone(space: Space, playing: Template) -> None:
    """No pods, no status; suspending it therefore does nothing either.

    Source: Kubernetes documentation, Jobs, "Delegation of managing a Job object to external controller";
    KEP-4368.
    """
    space.create(job("theirs", playing("run"), managedBy="example.com/their-controller"))
    another_job_ran(space, playing)
    assert space.pods_of("theirs") == []
    assert space.get("jobs", "theirs")["status"] == {}


def test_a_job_over_its_deadline_fails_and_its_pods_are_deleted(space: Space, playing: Template) -> None:
    """Source: Kubernetes documentation, Jobs, "Job termination and cleanup" (activeDeadlineSeconds,
    DeadlineExceeded).
    """
    space.create(job("work", playing("run"), activeDeadlineSeconds=2))
    failed = condition_of(space.until_condition("work", "Failed"), "Failed")
    assert failed is not None
    assert failed["reason"] == "DeadlineExceeded"
    eventually(lambda: not space.pods_of("work"), "no pods")


def test_a_job_runs_as_many_pods_as_parallelism_says_until_completions(
    space: Space, playing: Template
) -> None:
    """Source: Kubernetes documentation, Jobs, "Parallel execution for Jobs"."""
    space.create(job("wide", playing("run"), completions=3, parallelism=2))
    space.create(job("done", playing("complete"), completions=3, parallelism=3))
    space.until_pods_run("wide", 2)
    assert counts(space.until_condition("done", "Complete")) == (0, 3, 0)
    assert counts(space.get("jobs", "wide")) == (2, 0, 0)
    assert len(space.pods_of("done")) == 3


def test_the_pod_template_of_a_job_cannot_be_changed(space: Space, playing: Template) -> None:
    """Source: kubernetes/kubernetes, pkg/apis/batch/validation/validation.go, ``ValidateJobSpecUpdate``."""
    space.create(job("work", playing("run"), suspend=True))
    change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "other"}]}}}}
    status = space.api.patch(space.path("jobs", "work"), change, STRATEGIC).refused(422, "Invalid")
    assert "field is immutable" in status["message"]


def test_the_controller_writes_events_about_the_job_that_a_field_selector_finds(
    space: Space, playing: Template
) -> None:
    """Source: Kubernetes documentation, Field Selectors, "List of supported fields" (Event:
    involvedObject.*).
    """
    done = space.create(job("work", playing("complete")))
    space.create(job("other", playing("complete")))
    space.until_condition("work", "Complete")
    found = eventually(
        lambda: seen if len(seen := events_of(space, done)) >= 2 else [], "two events of the Job"
    )
    assert {event["involvedObject"]["name"] for event in found} == {"work"}
    assert {event["involvedObject"]["kind"] for event in found} == {"Job"}
    assert {"SuccessfulCreate", "Completed"} <= {event["reason"] for event in found}
    [mine] = space.names("pods", labelSelector="job-name=work")
    assert f"Created pod: {mine}" in {event["message"] for event in found}


def events_of(space: Space, found: Json) -> list[Json]:
    uid = found["metadata"]["uid"]
    return space.items("events", fieldSelector=f"involvedObject.kind=Job,involvedObject.uid={uid}")


def test_running_pods_that_a_deleted_job_left_lose_the_tracking_finalizer_and_can_go(
    space: Space, playing: Template
) -> None:
    """The Job controller frees pods that no Job controls any more.

    Source: kubernetes/kubernetes, pkg/controller/job/job_controller.go, ``syncOrphanPod``; KEP-2307.
    """
    space.create(job("work", playing("run")))
    [mine] = space.until_pods_run("work")
    space.delete("jobs", "work", options(propagationPolicy="Orphan")).ok()
    space.until_gone("jobs", "work")
    eventually(lambda: not finalizers(space, "work"), "the tracking finalizer off")
    space.delete("pods", mine["metadata"]["name"]).ok()
    space.until_gone("pods", mine["metadata"]["name"])
