"""Lists and gets: pages, metadata only, selectors, and the form of what comes back."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.contracts.kubernetes.conftest import Template
from tests.contracts.kubernetes.manifests import config_map, event, job, pod, secret
from tests.contracts.kubernetes.space import Space
from tests.contracts.kubernetes.wire import METADATA, METADATA_LIST, Json
from tests.under_test import ClusterUnderTest

NO_LIMIT: dict[str, int] = {}


def pages(space: Space, kind: str, limit: int, **query: Any) -> list[Json]:
    """All pages of a list."""
    found = [space.api.get(space.path(kind), limit=limit, **query).ok(200)]
    while token := found[-1]["metadata"].get("continue"):
        found.append(space.api.get(space.path(kind), **{"limit": limit, **query, "continue": token}).ok(200))
    return found


def test_pages_hold_every_object_once_in_order_at_one_resource_version(space: Space) -> None:
    """Each but the last says how many remain.

    Source: Kubernetes documentation, Kubernetes API Concepts, "Retrieving large results sets in chunks";
    KEP-365.
    """
    names = [f"s-{number:02}" for number in range(23)]
    for name in names:
        space.create(secret(name))
    found = pages(space, "secrets", 10)
    assert [len(page["items"]) for page in found] == [10, 10, 3]
    assert [item["metadata"]["name"] for page in found for item in page["items"]] == names
    assert len({page["metadata"]["resourceVersion"] for page in found}) == 1
    assert [page["metadata"].get("remainingItemCount") for page in found] == [13, 3, None]


def test_later_pages_show_the_collection_as_it_was_at_the_first(space: Space) -> None:
    """Objects made or deleted between two pages neither appear nor vanish.

    Source: Kubernetes documentation, Kubernetes API Concepts, "Retrieving large results sets in chunks".
    """
    for number in range(4):
        space.create(secret(f"s-{number}"))
    first = space.api.get(space.path("secrets"), limit=2).ok(200)
    space.delete("secrets", "s-3").ok(200)
    space.create(secret("s-9"))
    rest = space.api.get(
        space.path("secrets"), **{"limit": 10, "continue": first["metadata"]["continue"]}
    ).ok(200)
    assert [item["metadata"]["name"] for item in rest["items"]] == ["s-2", "s-3"]
    assert space.names("secrets") == ["s-0", "s-1", "s-2", "s-9"]


def test_pages_of_a_selector_are_filled_with_what_matches(space: Space) -> None:
    """With a selector the number of remaining items is not told.

    Source: Kubernetes API reference, ListMeta, ``remainingItemCount``.
    """
    for number in range(10):
        space.create(secret(f"s-{number}", labels={"parity": "odd" if number % 2 else "even"}))
    found = pages(space, "secrets", 2, labelSelector="parity=odd")
    assert [[item["metadata"]["name"] for item in page["items"]] for page in found] == [
        ["s-1", "s-3"],
        ["s-5", "s-7"],
        ["s-9"],
    ]
    assert all("remainingItemCount" not in page["metadata"] for page in found)


@pytest.mark.needs("short_history")
def test_an_old_continue_token_is_gone_and_offers_one_that_goes_on_inconsistently(
    space: Space, cluster_under_test: ClusterUnderTest
) -> None:
    """410 Expired; the list begins again, or goes on from the same name at a newer resource version.

    Events show it at once: no cache of the API server stands before them.

    Source: Kubernetes documentation, Kubernetes API Concepts, '"410 Gone" responses'; KEP-365 Paginated
    API Lists;
    kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg/storage/etcd3/errors.go,
    ``handleCompactedErrorForPaging``.
    """
    for number in range(4):
        space.create(event(f"e-{number}", space.namespace))
    first = space.api.get(space.path("events"), limit=2).ok(200)
    space.delete("events", "e-3").ok(200)
    cluster_under_test.expire_history()
    old: dict[str, Any] = {"limit": 10, "continue": first["metadata"]["continue"]}
    status = space.api.get(space.path("events"), **old).refused(410, "Expired")
    assert "continue parameter is too old" in status["message"]
    fresh = {"limit": 10, "continue": status["metadata"]["continue"]}
    rest = space.api.get(space.path("events"), **fresh).ok(200)
    assert [item["metadata"]["name"] for item in rest["items"]] == ["e-2"]
    assert rest["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]


def test_a_continue_token_that_is_none_is_a_bad_request(space: Space) -> None:
    """Source: kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg/storage/continue.go,
    ``DecodeContinue``.
    """
    no_start = base64.urlsafe_b64encode(json.dumps({"v": "meta.k8s.io/v1", "rv": 5}).encode()).decode()
    for token in ("nonsense", no_start):
        wrong: dict[str, Any] = {"limit": 1, "continue": token}
        space.api.get(space.path("secrets"), **wrong).refused(400, "BadRequest")
    space.api.get(space.path("secrets"), limit="few").refused(400, "BadRequest")


def test_metadata_only_lists_carry_metadata_and_nothing_else(space: Space, playing: Template) -> None:
    """In pages as well.

    Source: Kubernetes documentation, Kubernetes API Concepts, "Alternate representations of resources"
    (PartialObjectMetadata);
    kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg/endpoints/handlers/response.go,
    ``asPartialObjectMetadataList``.
    """
    for name in ("a", "b"):
        space.create(job(name, playing("run"), suspend=True))
    for query in NO_LIMIT, {"limit": 1}:
        reply = space.api.get(space.path("jobs"), accept=METADATA_LIST, **query)
        answer = reply.ok(200)
        assert reply.headers["Content-Type"].startswith("application/json")
        assert (answer["kind"], answer["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
        assert answer["metadata"]["resourceVersion"]
        assert [item["metadata"]["name"] for item in answer["items"]] == ["a", "b"][: query.get("limit")]
        for item in answer["items"]:
            assert set(item) <= {"kind", "apiVersion", "metadata"}
            assert (item["kind"], item["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
            assert {"uid", "labels", "creationTimestamp", "resourceVersion"} <= set(item["metadata"])


def test_a_metadata_only_get_carries_metadata_and_nothing_else(space: Space) -> None:
    """Source: Kubernetes documentation, Kubernetes API Concepts, "Alternate representations of resources"."""
    made = space.create(config_map("a"))
    answer = space.api.get(space.path("configmaps", "a"), accept=METADATA).ok(200)
    assert (answer["kind"], answer["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
    assert answer["metadata"] == made["metadata"]
    assert set(answer) == {"kind", "apiVersion", "metadata"}
    space.api.get(space.path("configmaps", "b"), accept=METADATA).refused(404, "NotFound")


def test_an_empty_list_has_no_items_but_a_resource_version(space: Space) -> None:
    """As metadata only, ``items`` is null; otherwise it is an empty list.

    Source: kubernetes/kubernetes, staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/types.go,
    ``PartialObjectMetadataList``.
    """
    metadata_only = space.api.get(space.path("jobs"), accept=METADATA_LIST).ok(200)
    assert metadata_only["items"] is None
    full = space.api.get(space.path("jobs")).ok(200)
    assert (full["kind"], full["apiVersion"], full["items"]) == ("JobList", "batch/v1", [])
    for answer in (metadata_only, full):
        assert answer["metadata"]["resourceVersion"]


def test_the_items_of_a_list_do_not_repeat_their_kind(space: Space) -> None:
    """Source: Kubernetes documentation, Kubernetes API Concepts, "Collections" (items lack kind and
    apiVersion).
    """
    space.create(config_map("a"))
    answer = space.api.get(space.path("configmaps"), labelSelector="app=contract").ok(200)
    assert (answer["kind"], answer["apiVersion"]) == ("ConfigMapList", "v1")
    [item] = answer["items"]
    assert "kind" not in item
    assert "apiVersion" not in item
    assert space.get("configmaps", "a") == {"kind": "ConfigMap", "apiVersion": "v1", **item}


def test_label_selectors_select(space: Space) -> None:
    """Equality and sets; a key that is absent satisfies ``!=`` and ``notin``.

    Source: Kubernetes documentation, Labels and Selectors, "Equality-based requirement", "Set-based
    requirement".
    """
    for name, labels in (
        ("a", {"app": "x", "tier": "web"}),
        ("b", {"app": "y", "tier": ""}),
        ("c", {"app": "z"}),
    ):
        space.create(config_map(name, labels=labels))
    cases = {
        "app=x": "a",
        "app==x": "a",
        "app!=x,app": "bc",
        "app in (x,y)": "ab",
        "app notin (x, y),app": "c",
        "app,tier": "ab",
        "app,!tier": "c",
        "app,tier!=web": "bc",
        "app,tier notin (web)": "bc",
        "app,tier=": "b",
        "app in (x,y),tier=web": "a",
        "app=nobody": "",
    }
    found = {selector: "".join(space.names("configmaps", labelSelector=selector)) for selector in cases}
    assert found == cases


@pytest.mark.parametrize("selector", ["app in x", "app in (x", "=x", "app=x y", "app=-", "a b"])
def test_a_malformed_label_selector_is_a_bad_request(space: Space, selector: str) -> None:
    """It never reads as "everything".

    Source: kubernetes/kubernetes, staging/src/k8s.io/apimachinery/pkg/labels/selector.go, ``Parse``.
    """
    space.api.get(space.path("pods"), labelSelector=selector).refused(400, "BadRequest")


def test_field_selectors_select(space: Space, playing: Template) -> None:
    """By name for every kind; pods by phase too.

    Source: Kubernetes documentation, Field Selectors, "Supported fields", "Supported operators".
    """
    space.create(pod("done", playing("complete")))
    space.create(pod("runs", playing("run")))
    space.until_phase("done", "Succeeded")
    space.until_phase("runs", "Running")
    assert space.names("pods", fieldSelector="status.phase=Running") == ["runs"]
    assert space.names("pods", fieldSelector="status.phase!=Running,status.phase!=Pending") == ["done"]
    assert space.names("pods", fieldSelector="metadata.name=runs") == ["runs"]
    assert space.names("pods", fieldSelector=f"metadata.namespace={space.namespace}") == ["done", "runs"]


def test_a_field_that_the_kind_does_not_select_by_is_a_bad_request(space: Space) -> None:
    """Source: Kubernetes documentation, Field Selectors, "Supported fields"."""
    status = space.api.get(space.path("pods"), fieldSelector="spec.colour=red").refused(400, "BadRequest")
    assert "field label not supported: spec.colour" in status["message"]


def test_one_list_covers_all_namespaces(space: Space) -> None:
    """Source: Kubernetes documentation, Kubernetes API Concepts, "Resource URIs"."""
    space.create(config_map("a", labels={"only": space.namespace}))
    found = space.api.get("/api/v1/configmaps", labelSelector=f"only={space.namespace}").ok(200)["items"]
    assert [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in found] == [
        (space.namespace, "a")
    ]


def test_times_are_whole_seconds_of_utc_and_every_answer_carries_a_date(space: Space) -> None:
    """Server time can be had from any answer, to the second.

    Source: API conventions, "Primitive types" (Time, RFC 3339); RFC 9110, "Date".
    """
    reply = space.post(config_map("a"))
    created = reply.ok(201)["metadata"]["creationTimestamp"]
    assert datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").microsecond == 0  # noqa: DTZ007
    date = parsedate_to_datetime(reply.headers["Date"])
    assert abs((date - datetime.fromisoformat(created)).total_seconds()) <= 2


def test_generate_name_adds_five_characters(space: Space) -> None:
    """Source: Kubernetes documentation, API conventions, "Idempotency" (generateName)."""
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "run-"}}
    names = [space.create(manifest)["metadata"]["name"] for _ in range(3)]
    assert len(set(names)) == 3
    for name in names:
        assert name.startswith("run-")
        assert len(name) == len("run-") + 5
