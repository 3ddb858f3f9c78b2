"""Watches: what is delivered, how they end, and what a watch from too long ago says."""

from __future__ import annotations

import pytest

from tests.contracts.kubernetes.manifests import APP, config_map
from tests.contracts.kubernetes.space import Space
from tests.contracts.kubernetes.wire import METADATA
from tests.under_test import ClusterUnderTest

OURS = {"labelSelector": "app=contract"}


def position(space: Space) -> str:
    version: str = space.api.get(space.path("configmaps"), **OURS).ok(200)["metadata"]["resourceVersion"]
    return version


def test_a_watch_from_a_list_delivers_every_later_change_in_order(space: Space) -> None:
    """Also those that came before the watch began; the last state of a deleted object comes with its
    deletion.

    Source: Kubernetes documentation, Kubernetes API Concepts, "Efficient detection of changes".
    """
    space.create(config_map("before"))
    start = position(space)
    space.create(config_map("a"))
    space.patch("configmaps", "a", {"data": {"value": "y"}})
    space.delete("configmaps", "a").ok(200)
    with space.api.watch(space.path("configmaps"), resourceVersion=start, **OURS) as events:
        seen = [next(events) for _ in range(3)]
        space.create(config_map("after"))
        seen.append(next(events))
    assert [event["type"] for event in seen] == ["ADDED", "MODIFIED", "DELETED", "ADDED"]
    assert [event["object"]["metadata"]["name"] for event in seen] == ["a", "a", "a", "after"]
    assert seen[2]["object"]["data"] == {"value": "y"}
    versions = [event["object"]["metadata"]["resourceVersion"] for event in seen]
    assert len(set(versions)) == 4, "the deletion has a resource version of its own"
    assert {event["object"]["kind"] for event in seen} == {"ConfigMap"}


def test_a_watch_without_a_resource_version_begins_with_what_is_there(space: Space) -> None:
    """Source: Kubernetes documentation, Kubernetes API Concepts, "Semantics for watch" (Get State and Start
    at Most Recent).
    """
    for name in ("a", "b"):
        space.create(config_map(name))
    with space.api.watch(space.path("configmaps"), **OURS) as events:
        begun = [next(events) for _ in range(2)]
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in begun] == [
        ("ADDED", "a"),
        ("ADDED", "b"),
    ]


def test_an_object_that_stops_matching_is_deleted_from_the_watch(space: Space) -> None:
    """And added to it when it begins to match.

    Source: kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg/storage/cacher/cache_watcher.go,
    ``convertToWatchEvent``.
    """
    start = position(space)
    space.create(config_map("a"))
    space.patch("configmaps", "a", {"metadata": {"labels": {"app": "other"}}})
    space.patch("configmaps", "a", {"metadata": {"labels": APP}})
    with space.api.watch(space.path("configmaps"), resourceVersion=start, **OURS) as events:
        assert [next(events)["type"] for _ in range(3)] == ["ADDED", "DELETED", "ADDED"]


def test_a_watch_of_one_name_sees_it_go(space: Space) -> None:
    """Waiting for one object's end needs no polling.

    Source: Kubernetes documentation, Field Selectors, "Supported fields" (metadata.name); kubectl wait
    --for=delete.
    """
    for name in ("a", "b"):
        space.create(config_map(name))
    start = position(space)
    with space.api.watch(
        space.path("configmaps"), resourceVersion=start, fieldSelector="metadata.name=a"
    ) as events:
        space.delete("configmaps", "b").ok(200)
        space.delete("configmaps", "a").ok(200)
        last = next(events)
    assert (last["type"], last["object"]["metadata"]["name"]) == ("DELETED", "a")


def test_the_server_ends_a_watch_after_timeout_seconds_with_a_bookmark_first(space: Space) -> None:
    """A bookmark carries a newer position and nothing else; the end is an ordinary end of the body.

    Source: Kubernetes documentation, Kubernetes API Concepts, "Watch bookmarks"; KEP-956.
    """
    start = position(space)
    with space.api.watch(
        space.path("configmaps"), resourceVersion=start, allowWatchBookmarks="true", timeoutSeconds=5, **OURS
    ) as events:
        space.create(config_map("elsewhere", labels={"app": "other"}))
        seen = list(events)
    assert {event["type"] for event in seen} == {"BOOKMARK"}
    mark = seen[-1]["object"]
    assert mark["kind"] == "ConfigMap"
    assert mark["metadata"]["resourceVersion"] not in ("", start)
    assert not mark["metadata"].get("name")
    with space.api.watch(space.path("configmaps"), resourceVersion=start, timeoutSeconds=1, **OURS) as events:
        assert list(events) == [], "bookmarks come only when they are asked for"


def test_a_watch_can_carry_metadata_only(space: Space) -> None:
    """Source: Kubernetes documentation, Kubernetes API Concepts, "Alternate representations of resources"."""
    start = position(space)
    space.create(config_map("a"))
    with space.api.watch(space.path("configmaps"), resourceVersion=start, accept=METADATA, **OURS) as events:
        event = next(events)
    assert event["type"] == "ADDED"
    assert set(event["object"]) == {"kind", "apiVersion", "metadata"}
    assert event["object"]["kind"] == "PartialObjectMetadata"


@pytest.mark.needs("short_history")
def test_a_watch_from_too_long_ago_is_expired(space: Space, cluster_under_test: ClusterUnderTest) -> None:
    """The answer is 200 and its first event the error 410: whoever watches must list again.

    And hang up: some servers leave such a watch open, and silent, until its time is over.

    Source: Kubernetes documentation, Kubernetes API Concepts, '"410 Gone" responses', "Efficient
    detection of changes".
    """
    # of Events: an API server that began with an empty etcd has watched all else from the first version on
    involved = {"involvedObject": {"namespace": space.namespace}}
    space.create({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "a"}, **involved})
    cluster_under_test.expire_history()
    with space.api.watch(space.path("events"), resourceVersion="1") as events:
        event = next(events)
    assert event["type"] == "ERROR"
    status = event["object"]
    assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
    assert "too old" in status["message"]


def test_a_watch_with_a_malformed_selector_is_refused_before_it_begins(space: Space) -> None:
    """Source: kubernetes/kubernetes, staging/src/k8s.io/apimachinery/pkg/labels/selector.go, ``Parse``."""
    space.api.get(space.path("configmaps"), watch="true", labelSelector="a b").refused(400, "BadRequest")
