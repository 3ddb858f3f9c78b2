"""Bodies of Jobs, Pods and quotas, read as far as they matter."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from cleanup_scheduler.cluster import Container, quantity
from cleanup_scheduler.cluster.workloads import read_job, read_pod, read_quota
from cleanup_scheduler.domain.resources import make_ref
from cleanup_scheduler.errors import BadAnswer

JOB = make_ref("c", "crucible", "jobs", "x")
POD = make_ref("c", "crucible", "pods", "x-1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "0"),
        ("4", "4"),
        ("500m", "0.5"),
        ("1k", "1000"),
        ("1Ki", "1024"),
        ("1.5Gi", "1610612736"),
        ("2E", "2000000000000000000"),
        ("1e3", "1000"),
        ("12E2", "1200"),
        ("-1", "-1"),
        ("100n", "0.0000001"),
    ],
)
def test_a_quantity_is_the_number_it_stands_for(text: str, expected: str) -> None:
    assert quantity(text) == Decimal(expected)


@pytest.mark.parametrize("text", ["", "Gi", "1Q", "1 Gi", "one"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(BadAnswer, match="is not a Kubernetes quantity"):
        quantity(text)


def test_a_job_is_finished_only_by_a_condition_that_holds() -> None:
    body: dict[str, Any] = {"metadata": {"uid": "u"}, "status": {"active": 1}}
    assert read_job(body, JOB).finished == ""
    body["status"]["conditions"] = [{"type": "Complete", "status": "False"}]
    assert read_job(body, JOB).finished == ""
    body["status"]["conditions"] = [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]
    assert (read_job(body, JOB).finished, read_job(body, JOB).reason) == ("failed", "BackoffLimitExceeded")


def test_the_own_job_controller_is_no_foreign_manager() -> None:
    own = {"metadata": {"uid": "u"}, "spec": {"managedBy": "kubernetes.io/job-controller"}}
    foreign = {"metadata": {"uid": "u"}, "spec": {"managedBy": "kueue.x-k8s.io/multikueue"}}
    assert read_job(own, JOB).foreign_manager == ""
    assert read_job(foreign, JOB).foreign_manager == "kueue.x-k8s.io/multikueue"


def test_a_pods_containers_come_with_their_role_and_state() -> None:
    body = {
        "metadata": {"uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "nodeName": "n",
            "initContainers": [{"name": "init"}],
            "containers": [{"name": "main"}, {"name": "side"}],
            "ephemeralContainers": [{"name": "debug"}],
        },
        "status": {
            "phase": "Running",
            "initContainerStatuses": [
                {"name": "init", "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}
            ],
            "containerStatuses": [
                {"name": "main", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
                {
                    "name": "side",
                    "restartCount": 0,
                    "state": {"terminated": {"exitCode": 3, "reason": "Error"}},
                },
            ],
        },
    }
    status = read_pod(body, POD)
    assert status.containers == (
        Container(name="init", role="init", state="terminated", exit_code=0),
        Container(name="main", role="main", state="waiting", reason="CrashLoopBackOff", restarts=2),
        Container(name="side", role="main", state="terminated", reason="Error", exit_code=3),
        Container(name="debug", role="ephemeral", state="waiting"),
    )
    assert [c.has_log for c in status.containers] == [True, True, True, False]
    assert (status.exit_code, status.deleting, status.finished) == (3, True, False)


def test_a_pod_that_no_node_takes_says_so() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    status = read_pod(
        {"metadata": {"uid": "u"}, "status": {"phase": "Pending", "conditions": [condition]}}, POD
    )
    assert (status.phase, status.reason, status.message) == ("Pending", "Unschedulable", "0/1 nodes")


def test_a_quota_that_was_never_counted_still_has_its_limits() -> None:
    quota = read_quota({"spec": {"hard": {"pods": "4"}}, "status": {}}, JOB)
    assert (quota.hard, quota.used, quota.free("pods")) == ({"pods": "4"}, {}, Decimal(4))
    counted = read_quota({"status": {"hard": {"requests.cpu": "2"}, "used": {"requests.cpu": "500m"}}}, JOB)
    assert counted.free("requests.cpu") == Decimal("1.5")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"metadata": "x"},
        {"metadata": {"uid": 3}},
        {"spec": [1]},
        {"metadata": {"uid": "u"}, "status": {"conditions": [{"status": "True"}]}},
        {"metadata": {"uid": "u"}, "status": {"conditions": "x"}},
    ],
)
def test_a_body_without_what_the_api_promises_is_a_bad_answer(body: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        read_job(body, JOB)
