"""Namespaces that are missing, that are being deleted, and what goes with them."""

from __future__ import annotations

from tests.contracts.kubernetes.conftest import SpaceMaker, Template
from tests.contracts.kubernetes.manifests import config_map, job
from tests.contracts.kubernetes.space import Space, eventually


def test_a_namespace_being_deleted_refuses_new_objects_and_takes_all_others_along(
    new_space: SpaceMaker, playing: Template
) -> None:
    """403 with the cause NamespaceTerminating; deletes inside it are still served; it goes when it is empty.

    Source: kubernetes/kubernetes,
    staging/src/k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go;
    Kubernetes documentation, Namespaces (deleting one deletes everything in it).
    """
    space = new_space()
    path = f"/api/v1/namespaces/{space.namespace}"
    space.create(config_map("held", finalizers=["example.com/held"]))
    space.create(config_map("free"))
    space.create(job("work", playing("run", terminationGracePeriodSeconds=1)))
    space.until_pods_run("work")
    answer = space.api.delete(path).ok()
    assert answer["status"]["phase"] == "Terminating"
    assert answer["metadata"]["deletionTimestamp"]
    assert answer["spec"]["finalizers"] == ["kubernetes"]

    status = space.post(config_map("late")).refused(403, "Forbidden")
    assert "because it is being terminated" in status["message"]
    [cause] = status["details"]["causes"]
    assert (cause["reason"], cause["field"]) == ("NamespaceTerminating", "metadata.namespace")

    space.until_gone("configmaps", "free")
    space.until_gone("jobs", "work")
    eventually(lambda: space.names("pods") == [], "no pods")
    assert space.api.get(path).ok(200)["status"]["phase"] == "Terminating"
    assert space.get("configmaps", "held")["metadata"]["deletionTimestamp"]
    space.finish("configmaps", "held")
    eventually(lambda: space.api.get(path).status == 404, "the namespace gone")


def test_a_namespace_that_does_not_exist_is_an_empty_one_to_readers_and_not_found_to_writers(
    space: Space,
) -> None:
    """So an empty list says nothing about whether the namespace is there.

    Source: kubernetes/kubernetes,
    staging/src/k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go.
    """
    nowhere = Space(space.api, f"{space.namespace}-nowhere")
    assert nowhere.names("pods") == []
    nowhere.delete("pods", "a").refused(404, "NotFound")
    status = nowhere.post(config_map("a")).refused(404, "NotFound")
    assert status["message"] == f'namespaces "{nowhere.namespace}" not found'
    assert status["details"] == {"name": nowhere.namespace, "kind": "namespaces"}


def test_a_namespace_carries_its_name_as_a_label(space: Space) -> None:
    """Source: Kubernetes documentation, Namespaces, "Automatic labelling"."""
    found = space.api.get(f"/api/v1/namespaces/{space.namespace}").ok(200)
    assert found["metadata"]["labels"]["kubernetes.io/metadata.name"] == space.namespace
    assert found["status"]["phase"] == "Active"
