"""Lists: paged, checked again on our side, tolerant of one odd object, alive after an expired token."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from cleanup_scheduler.cluster.wire import METADATA_LIST
from cleanup_scheduler.errors import BadAnswer, ClusterUnavailable, UsageError

from tests.cluster.conftest import Proxied
from tests.faults.proxy import Fault, answer


def item(name: str, *, namespace: str = "crucible", **labels: str) -> dict[str, Any]:
    """The metadata of an object."""
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-of-{name}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": labels or None,
        }
    }


def page(*items: Any, go_on: str = "", nothing: bool = False) -> Fault:
    """A page of a list as the API sends it."""
    body = {"metadata": {"resourceVersion": "7", "continue": go_on}, "items": None if nothing else items}
    return answer(200, body=json.dumps(body).encode())


async def names(listing: Any) -> list[str]:
    return [found.ref.name async for found in listing]


async def test_a_list_is_read_page_by_page_as_metadata_only(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(page(item("a"), item("b"), go_on="token-1"))
        proxy.arm(page(item("c")))
        assert await names(cluster.list("pods", "crucible", page_size=2)) == ["a", "b", "c"]
    assert [seen.query for seen in proxy.seen] == [
        {"limit": "2"},
        {"limit": "2", "continue": "token-1"},
    ]
    assert {seen.headers["Accept"] for seen in proxy.seen} == {METADATA_LIST}
    assert {seen.path for seen in proxy.seen} == {"/api/v1/namespaces/crucible/pods"}


async def test_an_empty_list_may_say_null(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(page(nothing=True))
        assert await names(cluster.list("pods", "crucible")) == []


async def test_what_a_server_sends_against_the_selector_is_left_out_and_reported(
    proxied: Proxied, caplog: pytest.LogCaptureFixture
) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(page(item("mine", app="evaluation"), item("foreign", app="web"), item("bare")))
        with caplog.at_level(logging.WARNING):
            assert await names(cluster.list("pods", "crucible", label_selector="app=evaluation")) == ["mine"]
    assert "pod/foreign in namespace crucible was not asked for" in caplog.text
    assert proxy.seen[0].query["labelSelector"] == "app=evaluation"


async def test_what_a_server_sends_from_another_namespace_or_name_is_left_out(proxied: Proxied) -> None:
    odd: list[BadAnswer] = []
    async with proxied() as (proxy, cluster):
        proxy.arm(page(item("a"), item("a2"), item("a3", namespace="kube-system")))
        listing = cluster.list("pods", "crucible", field_selector="metadata.name=a", on_odd=odd.append)
        assert await names(listing) == ["a"]
    assert len(odd) == 2


async def test_one_odd_object_costs_only_itself(proxied: Proxied) -> None:
    odd: list[BadAnswer] = []
    broken = {"metadata": {"name": "broken", "labels": {"a": 3}}}
    async with proxied() as (proxy, cluster):
        proxy.arm(page(item("a"), broken, 3, None, item("b")))
        assert await names(cluster.list("pods", "crucible", on_odd=odd.append)) == ["a", "b"]
    assert len(odd) == 3


async def test_an_expired_token_that_comes_with_another_goes_on_from_there(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(page(item("a"), go_on="old"))
        proxy.arm(answer(410, reason="Expired", metadata={"continue": "from-here"}))
        proxy.arm(page(item("b")))
        assert await names(cluster.list("pods", "crucible")) == ["a", "b"]
    assert [seen.query.get("continue", "") for seen in proxy.seen] == ["", "old", "from-here"]


async def test_an_expired_token_without_another_starts_anew_and_yields_nothing_twice(
    proxied: Proxied,
) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(page(item("a"), go_on="old"))
        proxy.arm(answer(410, reason="Expired"))
        proxy.arm(page(item("a"), item("b")))
        assert await names(cluster.list("pods", "crucible")) == ["a", "b"]


async def test_a_list_that_never_gets_to_its_end_gives_up(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(answer(410, reason="Expired"), times=99)
        with pytest.raises(ClusterUnavailable, match="expired 4 times before its end"):
            await names(cluster.list("pods", "crucible"))
    assert len(proxy.seen) == 4


async def test_a_selector_that_does_not_parse_never_reaches_the_cluster(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        with pytest.raises(UsageError, match="cannot read 'app in'"):
            await names(cluster.list("pods", "crucible", label_selector="app in"))
    assert proxy.seen == []


async def test_a_failure_in_the_middle_of_a_list_is_no_end_of_it(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(page(item("a"), go_on="more"))
        proxy.arm(answer(503))
        with pytest.raises(ClusterUnavailable):
            await names(cluster.list("pods", "crucible"))
