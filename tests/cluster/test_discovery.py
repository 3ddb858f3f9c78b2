"""Kinds by discovery: aggregated as servers give it today, or legacy, one request for each group."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cleanup_scheduler.cluster import Cluster
from cleanup_scheduler.errors import ClusterUnavailable, UnknownName

from tests.cluster.conftest import Proxied
from tests.faults.proxy import Fault, FaultProxy, answer

VERBS = ["create", "delete", "get", "list", "patch", "watch"]


def said(document: dict[str, Any]) -> Fault:
    return answer(200, body=json.dumps(document).encode())


def aggregated(group: str, *versions: tuple[str, str], verbs: list[str] | None = None) -> dict[str, Any]:
    """A group whose versions serve one plural each."""
    return {
        "metadata": {"name": group},
        "versions": [
            {
                "version": version,
                "resources": [
                    {
                        "resource": plural,
                        "responseKind": {"kind": plural.rstrip("s").title()},
                        "scope": "Namespaced",
                        "singularResource": plural.rstrip("s"),
                        "shortNames": [plural[:2]],
                        "verbs": VERBS if verbs is None else verbs,
                    }
                ],
            }
            for version, plural in versions
        ],
    }


def arm_aggregated(proxy: FaultProxy, *groups: dict[str, Any]) -> None:
    proxy.arm(said({"kind": "APIGroupDiscoveryList", "items": list(groups)}), path="/apis")
    proxy.arm(said({"kind": "APIGroupDiscoveryList", "items": []}), path="/api")


def arm_legacy(proxy: FaultProxy, *, broken_group: bool = False) -> None:
    resources = [
        {"name": "widgets", "kind": "Widget", "singularName": "widget", "namespaced": True, "verbs": VERBS},
        {"name": "widgets/status", "kind": "Widget", "singularName": "", "namespaced": True, "verbs": VERBS},
    ]
    groups = [{"name": "example.com", "preferredVersion": {"version": "v1beta1"}}]
    if broken_group:
        groups.append({"name": "metrics.example", "preferredVersion": {"version": "v1"}})
        proxy.arm(answer(503), path="/apis/metrics.example/v1", times=9)
    proxy.arm(said({"kind": "APIResourceList", "resources": resources}), path="/apis/example.com/v1beta1")
    proxy.arm(said({"kind": "APIResourceList", "resources": []}), path="/api/v1")
    proxy.arm(said({"kind": "APIGroupList", "groups": groups}), path="/apis")
    proxy.arm(said({"kind": "APIVersions", "versions": ["v1"]}), path="/api")


async def path_of(proxy: FaultProxy, cluster: Cluster, kind: str) -> str:
    proxy.seen.clear()
    proxy.arm(answer(200, body=b'{"metadata": {}, "items": []}'), path=kind.partition(".")[0])
    assert [found async for found in cluster.list(kind, "crucible")] == []
    return proxy.seen[-1].path


async def test_built_in_kinds_are_known_without_asking(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        for spelling in ("jobs", "Job", "job", "jobs.batch"):
            assert await cluster.resolve_kind(spelling) == "jobs.batch"
        assert await cluster.resolve_kind("po") == "pods"
    assert proxy.seen == []


async def test_the_preferred_version_is_the_one_that_is_used(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        arm_aggregated(proxy, aggregated("example.com", ("v2", "widgets"), ("v1", "widgets")))
        assert await cluster.resolve_kind("wi") == "widgets.example.com"
        path = await path_of(proxy, cluster, "widgets.example.com")
        assert path == "/apis/example.com/v2/namespaces/crucible/widgets"


async def test_discovery_is_asked_once_and_again_only_for_what_it_did_not_know(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        arm_aggregated(proxy, aggregated("example.com", ("v1", "widgets")))
        for spelling in ("widgets", "widget", "widget.example.com"):
            assert await cluster.resolve_kind(spelling) == "widgets.example.com"
        assert len(proxy.seen) == 2
        arm_aggregated(proxy, aggregated("example.com", ("v1", "widgets"), ("v1", "gadgets")))
        assert await cluster.resolve_kind("gadget") == "gadgets.example.com"
        assert len(proxy.seen) == 4


async def test_servers_without_aggregated_discovery_are_asked_group_by_group(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        arm_legacy(proxy)
        assert await cluster.resolve_kind("widget") == "widgets.example.com"
        path = await path_of(proxy, cluster, "widgets.example.com")
        assert path == "/apis/example.com/v1beta1/namespaces/crucible/widgets"


async def test_a_group_whose_server_is_down_hides_no_other(
    proxied: Proxied, caplog: pytest.LogCaptureFixture
) -> None:
    async with proxied() as (proxy, cluster):
        arm_legacy(proxy, broken_group=True)
        assert await cluster.resolve_kind("widget") == "widgets.example.com"
    assert "the kinds of group metrics.example are not known" in caplog.text


async def test_what_cannot_be_listed_and_deleted_is_no_kind_for_us(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        reviews = aggregated("authorization.example", ("v1", "reviews"), verbs=["create"])
        for _ in range(2):
            arm_aggregated(proxy, reviews)
        with pytest.raises(UnknownName, match="has no kind 'reviews'"):
            await cluster.resolve_kind("reviews")


async def test_discovery_that_fails_is_not_remembered(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(answer(503), path="/api", times=2)
        with pytest.raises(ClusterUnavailable):
            await cluster.resolve_kind("widgets")
        proxy.disarm()
        for _ in range(2):  # one more than needed: the request that was called off may arrive late
            arm_aggregated(proxy, aggregated("example.com", ("v1", "widgets")))
        assert await cluster.resolve_kind("widgets") == "widgets.example.com"


@pytest.mark.parametrize("word", ["", "jobs batch", "../x", "jobs/x", "j" * 300])
async def test_what_can_be_no_kind_at_all_never_reaches_the_cluster(proxied: Proxied, word: str) -> None:
    async with proxied() as (proxy, cluster):
        with pytest.raises(UnknownName, match="is not a resource kind"):
            await cluster.resolve_kind(word)
    assert proxy.seen == []
