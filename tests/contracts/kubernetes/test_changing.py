"""Patches, replacements, optimistic locking, and the refusals that every write can meet."""

from __future__ import annotations

import pytest

from tests.contracts.kubernetes.conftest import Template
from tests.contracts.kubernetes.manifests import config_map, job, pod
from tests.contracts.kubernetes.space import Space
from tests.contracts.kubernetes.wire import JSON_PATCH, MERGE, STRATEGIC

STRANGER = "00000000-0000-0000-0000-000000000000"


def test_a_merge_patch_merges_maps_removes_nulls_and_replaces_lists(space: Space) -> None:
    """Source: RFC 7386; Kubernetes documentation, Update API Objects in Place Using kubectl patch, "JSON
    merge patch".
    """
    space.create(
        config_map("a", labels={"one": "1", "two": "2"}, finalizers=["example.com/x", "example.com/y"])
    )
    change = {"metadata": {"labels": {"one": None, "three": "3"}, "finalizers": ["example.com/y"]}}
    after = space.patch("configmaps", "a", change)["metadata"]
    assert after["labels"] == {"two": "2", "three": "3"}
    assert after["finalizers"] == ["example.com/y"]
    space.finish("configmaps", "a")


def test_a_json_patch_is_applied_as_a_whole_or_not_at_all(space: Space) -> None:
    """A ``test`` that fails refuses all of it.

    Source: RFC 6902; Kubernetes documentation, Update API Objects in Place Using kubectl patch.
    """
    before = space.create(config_map("a"))
    change = [
        {"op": "test", "path": "/metadata/uid", "value": before["metadata"]["uid"]},
        {"op": "replace", "path": "/data/value", "value": "y"},
        {"op": "add", "path": "/metadata/labels/a~1b", "value": "c"},
        {"op": "remove", "path": "/metadata/labels/app"},
    ]
    after = space.patch("configmaps", "a", change, JSON_PATCH)
    assert after["data"] == {"value": "y"}
    assert after["metadata"]["labels"] == {"a/b": "c"}
    change[0]["value"] = STRANGER
    change[1]["value"] = "z"
    space.api.patch(space.path("configmaps", "a"), change, JSON_PATCH).refused(422, "Invalid")
    assert space.get("configmaps", "a") == after


def test_a_strategic_merge_patch_merges_lists_by_their_key(space: Space, playing: Template) -> None:
    """Finalizers are a set, owner references are keyed by uid, containers by name.

    Source: Kubernetes documentation, Update API Objects in Place Using kubectl patch, "Notes on the
    strategic merge patch".
    """
    space.create(pod("a", playing("run", schedulerName="nobody"), finalizers=["example.com/x"]))
    change = {
        "metadata": {"finalizers": ["example.com/y"], "labels": {"new": "1"}},
        "spec": {"containers": [{"name": "main", "image": "localhost/other:1"}]},
    }
    after = space.patch("pods", "a", change, STRATEGIC)
    assert sorted(after["metadata"]["finalizers"]) == ["example.com/x", "example.com/y"]
    assert after["metadata"]["labels"] == {"app": "contract", "new": "1"}
    [container] = after["spec"]["containers"]
    assert container["image"] == "localhost/other:1"
    assert container["command"]
    space.finish("pods", "a")


def test_a_patch_that_names_another_uid_is_invalid_and_changes_nothing(
    space: Space, playing: Template
) -> None:
    """422 with the field metadata.uid, not 409: so a Job that took the name of the one we mean is not
    suspended.

    Source: kubernetes/kubernetes, staging/src/k8s.io/apimachinery/pkg/api/validation/objectmeta.go,
    ``ValidateObjectMetaAccessorUpdate`` (uid is immutable).
    """
    made = space.create(job("work", playing("run"), suspend=True))
    stranger = {"metadata": {"uid": STRANGER}, "spec": {"parallelism": 2}}
    for content_type in (MERGE, STRATEGIC):
        status = space.api.patch(space.path("jobs", "work"), stranger, content_type).refused(422, "Invalid")
        [cause] = status["details"]["causes"]
        assert (cause["reason"], cause["field"]) == ("FieldValueInvalid", "metadata.uid")
    test = [
        {"op": "test", "path": "/metadata/uid", "value": STRANGER},
        {"op": "replace", "path": "/spec/parallelism", "value": 2},
    ]
    status = space.api.patch(space.path("jobs", "work"), test, JSON_PATCH).refused(422, "Invalid")
    assert status["details"] == {}, "a JSON patch does not say which test failed"
    assert space.get("jobs", "work")["spec"] == made["spec"]
    ours = {"metadata": {"uid": made["metadata"]["uid"]}, "spec": {"parallelism": 2}}
    assert space.patch("jobs", "work", ours)["spec"]["parallelism"] == 2


def test_a_replacement_that_names_another_uid_is_a_conflict(space: Space) -> None:
    """Unlike a patch: the uid of a PUT is a precondition.

    Source: kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg/registry/rest/update.go,
    ``defaultUpdatedObjectInfo.Preconditions``.
    """
    before = space.create(config_map("a"))
    stranger = {**before, "metadata": {**before["metadata"], "uid": STRANGER}}
    space.api.put(space.path("configmaps", "a"), stranger).refused(409, "Conflict")
    assert space.get("configmaps", "a") == before


def test_a_write_that_names_an_old_resource_version_is_a_conflict(space: Space) -> None:
    """Whoever read an older state must look again.

    Source: API conventions, "Concurrency Control and Consistency".
    """
    first = space.create(config_map("a"))
    second = space.patch("configmaps", "a", {"data": {"value": "y"}})
    assert first["metadata"]["resourceVersion"] != second["metadata"]["resourceVersion"]
    path = space.path("configmaps", "a")
    status = space.api.put(path, first).refused(409, "Conflict")
    assert "the object has been modified" in status["message"]
    old = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"value": "z"}}
    space.api.patch(path, old).refused(409, "Conflict")
    assert space.get("configmaps", "a") == second
    space.api.put(path, {**second, "data": {"value": "z"}}).ok(200)


def test_a_write_that_changes_nothing_leaves_the_resource_version(space: Space) -> None:
    """Source: kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg/storage/etcd3/store.go,
    ``GuaranteedUpdate`` (no-op).
    """
    before = space.create(config_map("a"))
    assert space.patch("configmaps", "a", {"data": {"value": "x"}}) == before


def test_patching_what_is_not_there_is_not_found(space: Space) -> None:
    """Source: API conventions, "HTTP Status codes"."""
    space.api.patch(space.path("jobs", "a"), {"spec": {"suspend": True}}).refused(404, "NotFound")


def test_a_patch_of_an_unknown_type_is_unsupported(space: Space) -> None:
    """Source: Kubernetes documentation, Kubernetes API Concepts, "Patch types" (Content-Type)."""
    space.create(config_map("a"))
    space.api.patch(space.path("configmaps", "a"), {}, "application/json").refused(
        415, "UnsupportedMediaType"
    )


def test_creating_what_exists_already_is_refused_by_name(space: Space) -> None:
    """Source: API conventions, "HTTP Status codes" (409 StatusConflict, reason AlreadyExists)."""
    space.create(config_map("a"))
    status = space.post(config_map("a")).refused(409, "AlreadyExists")
    assert status["message"] == 'configmaps "a" already exists'
    assert status["details"] == {"name": "a", "kind": "configmaps"}


def test_an_invalid_object_is_refused_with_the_field_that_is_wrong(space: Space, playing: Template) -> None:
    """Source: API conventions, "HTTP Status codes" (422 StatusUnprocessableEntity), "Response Status Kind"
    (causes).
    """
    status = space.post(config_map("Not_A_Name")).refused(422, "Invalid")
    [cause] = status["details"]["causes"]
    assert (cause["reason"], cause["field"]) == ("FieldValueInvalid", "metadata.name")
    assert (status["details"]["name"], status["details"]["kind"]) == ("Not_A_Name", "ConfigMap")
    wrong = space.post(job("work", playing("run", restartPolicy="Always"))).refused(422, "Invalid")
    assert any("restartPolicy" in cause["field"] for cause in wrong["details"]["causes"])


BAD_BODIES = [
    b"{",
    b'"text"',
    b"[]",
    b'{"apiVersion": "v1", "kind": "Nonsense"}',
    b'{"apiVersion": "v7", "kind": "ConfigMap"}',
    b'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": 5}}',
]


@pytest.mark.parametrize("body", BAD_BODIES)
def test_a_body_that_is_no_such_object_is_a_bad_request(space: Space, body: bytes) -> None:
    """Source: API conventions, "HTTP Status codes" (400 StatusBadRequest)."""
    space.api.request("POST", space.path("configmaps"), body).refused(400, "BadRequest")


def test_an_object_of_another_kind_or_namespace_is_a_bad_request(space: Space) -> None:
    """Source: kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg/endpoints/handlers/create.go and
    registry/rest/create.go.
    """
    space.api.post(space.path("secrets"), config_map("a")).refused(400, "BadRequest")
    status = space.post(config_map("a", namespace="elsewhere")).refused(400, "BadRequest")
    assert "namespace of the provided object does not match" in status["message"]


def test_a_kind_that_does_not_exist_is_not_found_but_names_no_object(space: Space) -> None:
    """That tells it from an object that does not exist; in a group that does not exist it is not even a
    Status.

    Source: kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg/endpoints/installer.go (unregistered
    paths).
    """
    for path in ("/api/v1", "/apis/batch/v1", "/apis/batch/v7"):
        reply = space.api.get(f"{path}/namespaces/{space.namespace}/unicorns/a")
        status = reply.refused(404, "NotFound")
        assert status["details"] == {}
        assert status["message"] == "the server could not find the requested resource"
    reply = space.api.get(f"/apis/example.com/v1/namespaces/{space.namespace}/unicorns/a")
    assert (reply.status, reply.text.strip()) == (404, "404 page not found")
    assert reply.headers["Content-Type"].startswith("text/plain")


def test_a_verb_that_a_path_does_not_take_is_not_allowed(space: Space) -> None:
    """Source: API conventions, "HTTP Status codes" (405 StatusMethodNotAllowed)."""
    reply = space.api.request("PUT", space.path("configmaps"), config_map("a"))
    reply.refused(405, "MethodNotAllowed")
