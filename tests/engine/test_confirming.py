"""Waiting until uids are gone: one look for all, and soon once the API has nothing else to do."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from cleanup_scheduler.cluster import Cluster
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.resources import PODS, ResourceRef
from cleanup_scheduler.engine import confirming
from cleanup_scheduler.engine.api import Api
from cleanup_scheduler.engine.confirming import Confirmer

FOR_EVER = 3600.0


def pod(name: str) -> ObservedObject:
    ref = ResourceRef("test", "ns", PODS, name)
    return ObservedObject(ref=ref, uid=f"uid-{name}", created_at=datetime(2026, 1, 1, tzinfo=UTC))


class Pods:
    """As much of a cluster as is asked for here; remembers how many were looked at at once."""

    def __init__(self, *names: str) -> None:
        self.there = {pod(name).ref: pod(name) for name in names}
        self.looks: list[int] = []

    async def get_many(self, refs: Collection[ResourceRef]) -> dict[ResourceRef, ObservedObject]:
        self.looks.append(len(refs))
        return {ref: self.there[ref] for ref in refs if ref in self.there}


def api_of(pods: Pods, *, concurrency: int = 4) -> Api:
    return Api(cast(Cluster, cast(Any, pods)), concurrency=concurrency)


async def waiting(confirmer: Confirmer, *names: str) -> asyncio.Future[list[ObservedObject | None]]:
    """They wait, and the first look has found them still there."""
    asks = [confirmer.gone(pod(name).ref, pod(name).uid, timeout_seconds=FOR_EVER) for name in names]
    waiters = asyncio.gather(*asks)
    await asyncio.sleep(0.01)
    return waiters


async def test_all_who_wait_are_answered_by_the_same_looks() -> None:
    pods = Pods("a", "b", "c")
    waiters = await waiting(Confirmer(api_of(pods)), "a", "b", "c")
    pods.there.clear()
    assert await asyncio.wait_for(waiters, 60) == [None, None, None]
    assert set(pods.looks) == {3}


async def test_another_object_under_the_name_is_not_the_one_that_is_waited_for() -> None:
    pods = Pods("a")
    confirmer = Confirmer(api_of(pods))
    assert await confirmer.gone(pod("a").ref, "another-uid", timeout_seconds=FOR_EVER) is None


async def test_what_is_still_there_after_the_time_out_is_handed_back() -> None:
    confirmer = Confirmer(api_of(Pods("a")))
    assert await confirmer.gone(pod("a").ref, pod("a").uid, timeout_seconds=0) == pod("a")


async def test_a_pause_for_a_busy_api_ends_when_it_has_nothing_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confirming, "_LONGEST_PAUSE_SECONDS", FOR_EVER)
    monkeypatch.setattr(confirming, "_PAUSE_PER_LOOK", 1e12)
    pods, done = Pods("a"), asyncio.Event()
    api = api_of(pods, concurrency=1)
    confirmer = Confirmer(api)
    waiters = await waiting(confirmer, "a")
    work = asyncio.create_task(api.call(done.wait))
    await asyncio.sleep(0.2)  # many times the pause of an idle API: now it waits until it is calm
    pods.there.clear()
    done.set()
    await work
    assert await asyncio.wait_for(waiters, 60) == [None]
