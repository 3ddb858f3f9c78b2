"""What a DELETE does: preconditions, names used again, finalizers, graceful deletion, collections, dry
runs.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.contracts.kubernetes.conftest import Template
from tests.contracts.kubernetes.manifests import config_map, job, options, pod, precondition
from tests.contracts.kubernetes.space import Space
from tests.contracts.kubernetes.wire import JSON_PATCH

FINALIZER = "example.com/held"
STRANGER = "00000000-0000-0000-0000-000000000000"


def test_deleting_an_object_that_nothing_holds_answers_success_with_its_uid(space: Space) -> None:
    """The object is removed before the answer; the answer is a Status that names it.

    Source: Kubernetes documentation, Kubernetes API Concepts, "Resource deletion"; API conventions,
    "Response Status Kind".
    """
    uid = space.create(config_map("a"))["metadata"]["uid"]
    answer = space.delete("configmaps", "a").ok(200)
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    assert answer["details"] == {"name": "a", "kind": "configmaps", "uid": uid}
    assert space.served("configmaps", "a") is None


def test_deleting_what_is_not_there_is_not_found(space: Space) -> None:
    """Source: Kubernetes documentation, API conventions, "HTTP Status codes" (404 StatusNotFound)."""
    status = space.delete("jobs", "nobody").refused(404, "NotFound")
    assert status["message"] == 'jobs.batch "nobody" not found'
    assert status["details"] == {"name": "nobody", "group": "batch", "kind": "jobs"}


def test_a_delete_that_names_another_uid_is_refused_and_deletes_nothing(space: Space) -> None:
    """409 Conflict, and the object is untouched: the guard under every deletion of ours.

    Source: Kubernetes API reference, DeleteOptions, ``preconditions`` ("If not possible, a 409 Conflict
    status will be returned").
    """
    before = space.create(config_map("a"))
    status = space.delete("configmaps", "a", precondition(STRANGER)).refused(409, "Conflict")
    assert STRANGER in status["message"]
    assert before["metadata"]["uid"] in status["message"]
    assert space.get("configmaps", "a") == before


def test_a_delete_that_names_another_uid_does_not_stop_a_running_pod(space: Space, playing: Template) -> None:
    """Kinds that are deleted gracefully check the precondition before anything else.

    Source: kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg/registry/rest/delete.go, ``BeforeDelete``.
    """
    space.create(pod("a", playing("run")))
    space.until_phase("a", "Running")
    space.delete("pods", "a", precondition(STRANGER)).refused(409, "Conflict")
    assert "deletionTimestamp" not in space.get("pods", "a")["metadata"]


def test_a_delete_that_names_an_old_resource_version_is_refused(space: Space) -> None:
    """Source: Kubernetes API reference, DeleteOptions, ``preconditions.resourceVersion``."""
    before = space.create(config_map("a"))["metadata"]
    after = space.patch("configmaps", "a", {"data": {"value": "y"}})["metadata"]
    old = options(preconditions={"uid": before["uid"], "resourceVersion": before["resourceVersion"]})
    space.delete("configmaps", "a", old).refused(409, "Conflict")
    new = options(preconditions={"uid": after["uid"], "resourceVersion": after["resourceVersion"]})
    space.delete("configmaps", "a", new).ok(200)


def test_a_name_used_again_is_another_object_that_the_old_uid_does_not_delete(space: Space) -> None:
    """Source: Kubernetes documentation, Object Names and IDs, "UIDs"."""
    first = space.create(config_map("a"))["metadata"]["uid"]
    space.delete("configmaps", "a", precondition(first)).ok(200)
    second = space.create(config_map("a"))["metadata"]["uid"]
    assert second != first
    space.delete("configmaps", "a", precondition(first)).refused(409, "Conflict")
    assert space.get("configmaps", "a")["metadata"]["uid"] == second
    space.delete("configmaps", "a", precondition(second)).ok(200)
    space.delete("configmaps", "a", precondition(first)).refused(404, "NotFound")


def test_a_finalizer_keeps_a_deleted_object_served_until_it_is_removed(space: Space) -> None:
    """The answer is the object itself with its deletionTimestamp; deleting again changes nothing.

    Source: Kubernetes documentation, Finalizers, "How finalizers work".
    """
    uid = space.create(config_map("a", finalizers=[FINALIZER]))["metadata"]["uid"]
    answer = space.delete("configmaps", "a", precondition(uid)).ok()
    assert (answer["kind"], answer["metadata"]["uid"]) == ("ConfigMap", uid)
    marked = space.get("configmaps", "a")["metadata"]
    assert marked["deletionTimestamp"]
    assert marked["deletionGracePeriodSeconds"] == 0
    assert marked["finalizers"] == [FINALIZER]
    space.delete("configmaps", "a", precondition(uid)).ok()
    assert space.get("configmaps", "a")["metadata"] == marked
    space.post(config_map("a")).refused(409, "AlreadyExists")
    space.finish("configmaps", "a")
    assert space.served("configmaps", "a") is None


def test_a_finalizer_cannot_be_added_once_deletion_began(space: Space) -> None:
    """Source: kubernetes/kubernetes, staging/src/k8s.io/apimachinery/pkg/api/validation/objectmeta.go,
    ``ValidateNoNewFinalizers``.
    """
    space.create(config_map("a", finalizers=[FINALIZER]))
    space.delete("configmaps", "a").ok()
    more = [{"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/late"}]
    status = space.api.patch(space.path("configmaps", "a"), more, JSON_PATCH).refused(422, "Invalid")
    assert "no new finalizers can be added if the object is being deleted" in status["message"]
    space.finish("configmaps", "a")


def test_a_running_pod_is_deleted_gracefully(space: Space, playing: Template) -> None:
    """The answer is the pod, its deletionTimestamp lies in the future by the grace period, and its uid
    is served until it went.

    Source: Kubernetes documentation, Pod Lifecycle, "Termination of Pods"; API conventions, "Metadata"
    (deletionTimestamp).
    """
    made = space.create(pod("a", playing("run", terminationGracePeriodSeconds=20), finalizers=[FINALIZER]))
    space.until_phase("a", "Running")
    answer = space.delete("pods", "a", precondition(made["metadata"]["uid"])).ok()
    assert (answer["kind"], answer["metadata"]["deletionGracePeriodSeconds"]) == ("Pod", 20)
    created, deleted = (
        datetime.fromisoformat(answer["metadata"][key]) for key in ("creationTimestamp", "deletionTimestamp")
    )
    assert deleted >= created + timedelta(seconds=20)
    space.finish("pods", "a")
    space.until_gone("pods", "a")


def test_grace_period_zero_removes_a_running_pod_at_once(space: Space, playing: Template) -> None:
    """Without waiting for its node: gone from the API is not stopped on the node.

    Source: Kubernetes documentation, Pod Lifecycle, "Forced Pod termination".
    """
    space.create(pod("a", playing("run", terminationGracePeriodSeconds=20)))
    space.until_phase("a", "Running")
    answer = space.delete("pods", "a", options(gracePeriodSeconds=0)).ok(200)
    assert (answer["kind"], answer["metadata"]["name"]) == ("Pod", "a")
    assert space.served("pods", "a") is None


def test_a_finished_pod_and_one_without_a_node_need_no_grace(space: Space, playing: Template) -> None:
    """There is nothing to stop, so they are removed before the answer.

    Source: kubernetes/kubernetes, pkg/registry/core/pod/strategy.go, ``CheckGracefulDelete``.
    """
    space.create(pod("done", playing("complete")))
    space.create(pod("waiting", playing("run", schedulerName="nobody")))
    space.until_phase("done", "Succeeded")
    assert "nodeName" not in space.get("pods", "waiting")["spec"]
    for name in ("done", "waiting"):
        space.delete("pods", name).ok(200)
        assert space.served("pods", name) is None


def test_deleting_a_collection_takes_what_the_selector_matches_and_nothing_else(space: Space) -> None:
    """Source: Kubernetes documentation, Kubernetes API Concepts, "Kubernetes API terminology"
    (deletecollection).
    """
    for name, group in (("a", "one"), ("b", "one"), ("c", "two")):
        space.create(config_map(name, labels={"group": group}))
    space.api.delete(space.path("configmaps"), labelSelector="group=one").ok(200)
    assert space.names("configmaps", labelSelector="group") == ["c"]


def test_a_dry_run_answers_like_the_real_request_and_changes_nothing(space: Space) -> None:
    """Source: Kubernetes documentation, Kubernetes API Concepts, "Dry-run"."""
    before = space.create(config_map("a"))
    space.delete("configmaps", "a", dryRun="All").ok(200)
    space.delete("configmaps", "a", options(dryRun=["All"])).ok(200)
    space.delete("configmaps", "a", precondition(STRANGER), dryRun="All").refused(409, "Conflict")
    space.create(config_map("b"), dryRun="All")
    changed = space.api.patch(space.path("configmaps", "a"), {"data": {"value": "y"}}, dryRun="All").ok(200)
    assert changed["data"] == {"value": "y"}
    assert space.get("configmaps", "a") == before
    assert space.served("configmaps", "b") is None


def test_delete_options_count_in_the_query_as_in_the_body(space: Space, playing: Template) -> None:
    """Source: Kubernetes API reference, "Common Parameters" (gracePeriodSeconds, propagationPolicy)."""
    space.create(pod("a", playing("run", terminationGracePeriodSeconds=20)))
    space.until_phase("a", "Running")
    space.delete("pods", "a", gracePeriodSeconds=0).ok(200)
    assert space.served("pods", "a") is None


def test_delete_options_in_the_query_do_not_count_when_there_is_a_body(
    space: Space, playing: Template
) -> None:
    """A propagation policy beside a body with a precondition is lost, and with it a Job's pods are orphaned.

    Source: kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg/endpoints/handlers/delete.go,
    ``DeleteResource``.
    """
    uid = space.create(job("work", playing("complete")))["metadata"]["uid"]
    space.until_condition("work", "Complete")
    space.delete("jobs", "work", precondition(uid), propagationPolicy="Background").ok()
    space.until_gone("jobs", "work")
    [orphan] = space.pods_of("work")
    assert "ownerReferences" not in orphan["metadata"]
    assert "deletionTimestamp" not in orphan["metadata"]


@pytest.mark.parametrize(
    "body", [b"{", b'{"kind": "Nonsense", "apiVersion": "v1"}', b'{"preconditions": {"uid": 5}}']
)
def test_delete_options_that_cannot_be_read_are_a_bad_request(space: Space, body: bytes) -> None:
    """Nothing is deleted on the strength of half-understood options.

    Source: kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg/endpoints/handlers/delete.go,
    ``DeleteResource``.
    """
    space.create(config_map("a"))
    space.api.request("DELETE", space.path("configmaps", "a"), body).refused(400, "BadRequest")
    assert space.served("configmaps", "a")


def test_an_unknown_propagation_policy_is_refused(space: Space) -> None:
    """Source: kubernetes/kubernetes,
    staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/validation/validation.go, ``ValidateDeleteOptions``.
    """
    space.create(config_map("a"))
    status = space.delete("configmaps", "a", options(propagationPolicy="Sideways")).refused(422, "Invalid")
    assert "propagationPolicy" in status["message"]
    assert space.served("configmaps", "a")
