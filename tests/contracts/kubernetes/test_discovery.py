"""How a client learns which kinds there are, and that this changes while it runs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.contracts.kubernetes.space import Space, eventually
from tests.contracts.kubernetes.wire import METADATA_LIST, STRATEGIC, Api, Json

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition(group: str) -> Json:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"evaluations.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "plural": "evaluations",
                "singular": "evaluation",
                "kind": "Evaluation",
                "shortNames": ["ev"],
            },
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }


@pytest.fixture
def group(api: Api) -> Iterator[str]:
    """The API group of a custom kind that is installed while the test runs."""
    group = f"contract-{uuid.uuid4().hex[:8]}.example.com"
    api.post(CRDS, definition(group)).ok(201)
    yield group
    assert api.delete(f"{CRDS}/evaluations.{group}").status in (200, 404)


def served(api: Api, group: str) -> Json | None:
    """What discovery says of the custom kind, once it says anything."""
    reply = api.get(f"/apis/{group}/v1")
    found: list[Json] = reply.ok(200)["resources"] if reply.status == 200 else []
    return next((entry for entry in found if entry["name"] == "evaluations"), None)


def test_a_kind_installed_while_we_run_appears_in_discovery(api: Api, group: str) -> None:
    """With all names that a person could use, its scope and its verbs.

    Source: Kubernetes documentation, Extend the Kubernetes API with CustomResourceDefinitions; The
    Kubernetes API, "Discovery API".
    """
    assert served(api, "never-installed.example.com") is None
    entry = eventually(lambda: served(api, group), "in discovery")
    assert (entry["kind"], entry["singularName"], entry["shortNames"]) == ("Evaluation", "evaluation", ["ev"])
    assert entry["namespaced"] is True
    assert {"get", "list", "watch", "create", "patch", "delete", "deletecollection"} <= set(entry["verbs"])
    groups = eventually(
        lambda: [found for found in api.get("/apis").ok(200)["groups"] if found["name"] == group],
        "among the groups",
    )
    assert groups[0]["preferredVersion"] == {"groupVersion": f"{group}/v1", "version": "v1"}


def test_a_custom_object_is_guarded_like_any_other(space: Space, group: str) -> None:
    """Metadata lists, uid preconditions, finalizers; but no strategic merge patch.

    Source: Kubernetes documentation, Custom Resources, "Common features"; Kubernetes API Concepts,
    "Patch types".
    """
    eventually(lambda: served(space.api, group), "in discovery")
    path = f"/apis/{group}/v1/namespaces/{space.namespace}/evaluations"
    body = {
        "apiVersion": f"{group}/v1",
        "kind": "Evaluation",
        "metadata": {"name": "e"},
        "spec": {"code": "print(1)"},
    }
    made = eventually(
        lambda: reply.json if (reply := space.api.post(path, body)).status == 201 else None, "created"
    )
    assert made["metadata"]["uid"]
    listed = space.api.get(path, accept=METADATA_LIST).ok(200)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["e"]
    space.api.patch(f"{path}/e", {"spec": {"code": "print(2)"}}, STRATEGIC).refused(
        415, "UnsupportedMediaType"
    )
    held = {"metadata": {"finalizers": ["example.com/held"]}}
    assert space.api.patch(f"{path}/e", held).ok(200)["spec"] == body["spec"]
    stranger = {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}
    space.api.delete(f"{path}/e", stranger).refused(409, "Conflict")
    ours = {"preconditions": {"uid": made["metadata"]["uid"]}}
    assert space.api.delete(f"{path}/e", ours).ok()["metadata"]["deletionTimestamp"]
    space.api.patch(f"{path}/e", {"metadata": {"finalizers": None}}).ok(200)
    status = space.api.get(f"{path}/e").refused(404, "NotFound")
    assert status["message"] == f'evaluations.{group} "e" not found'


def test_a_kind_that_is_removed_takes_its_objects_along_and_is_no_longer_served(
    space: Space, group: str
) -> None:
    """Source: Kubernetes documentation, Extend the Kubernetes API with CustomResourceDefinitions, "Delete a
    CustomResourceDefinition".
    """
    eventually(lambda: served(space.api, group), "in discovery")
    path = f"/apis/{group}/v1/namespaces/{space.namespace}/evaluations"
    body = {"apiVersion": f"{group}/v1", "kind": "Evaluation", "metadata": {"name": "e"}}
    eventually(lambda: space.api.post(path, body).status == 201, "created")
    space.api.delete(f"{CRDS}/evaluations.{group}").ok()
    eventually(lambda: space.api.get(path).status == 404, "no longer served")
    eventually(lambda: served(space.api, group) is None, "no longer in discovery")


def test_the_built_in_kinds_are_discovered_with_all_their_names(api: Api) -> None:
    """Source: Kubernetes documentation, The Kubernetes API, "Discovery API"; kubectl api-resources."""
    core = {entry["name"]: entry for entry in api.get("/api/v1").ok(200)["resources"]}
    assert (core["pods"]["kind"], core["pods"]["singularName"]) == ("Pod", "pod")
    assert core["pods"]["shortNames"] == ["po"]
    assert core["pods"]["namespaced"] is True
    assert core["namespaces"]["namespaced"] is False
    assert {"pods/log", "pods/status"} <= set(core)
    batch = {entry["name"]: entry for entry in api.get("/apis/batch/v1").ok(200)["resources"]}
    assert (batch["jobs"]["kind"], batch["jobs"]["singularName"]) == ("Job", "job")
    groups = {
        found["name"]: found["preferredVersion"]["version"] for found in api.get("/apis").ok(200)["groups"]
    }
    assert groups["batch"] == "v1"
    assert api.get("/api").ok(200)["versions"] == ["v1"]


def test_the_server_says_its_version(api: Api) -> None:
    """Source: Kubernetes documentation, Kubernetes API health endpoints; kubectl version (/version)."""
    version = api.get("/version").ok(200)
    assert version["major"] == "1"
    assert version["gitVersion"].startswith(f"v1.{version['minor'].rstrip('+')}.")
