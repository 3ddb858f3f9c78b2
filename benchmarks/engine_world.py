"""What the engine's benchmarks share: namespaces full of Jobs, a bare client, a ledger with tests in it.

The baselines are written as somebody would write them by hand with ``kubernetes.aio``: 16 requests in flight,
answers read as raw JSON. Refuses to reuse a namespace: every measurement begins in a fresh one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import aiohttp
import msgspec
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.resources import Level, ResourceRef
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger import Ledger, open_ledger
from cleanup_scheduler.settings import Settings
from kubernetes.aio import config as _untyped_config
from kubernetes.aio.client import ApiClient, Configuration

from tests.under_test import ClusterUnderTest, real_cluster

Json = dict[str, Any]
Item = TypeVar("Item")
Got = TypeVar("Got")

IN_FLIGHT = 16
JOBS, PODS = "/apis/batch/v1/namespaces/{}/jobs", "/api/v1/namespaces/{}/pods"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 900.0


def say(line: Json) -> None:
    """One result."""
    print(json.dumps(line), flush=True)


def load() -> float:
    """How busy the machine was in the last minute: it belongs to every number."""
    return round(os.getloadavg()[0], 1)


def peak_mb() -> float:
    """The peak of this process's memory."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def cpu_seconds() -> float:
    """What this process has used of the processors."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def options(what: str | None) -> argparse.ArgumentParser:
    """The options that all of them have."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="how often each side is measured, in turns")
    return parser


class Bare:
    """The official client, used as directly as it can be."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Any = None,
        accept: str = "",
    ) -> tuple[int, bytes]:
        """The status and the body; raises nothing for a status."""
        prepared = await self._client.param_serialize(
            method,
            path,
            query_params=list(query),
            header_params={"Accept": accept or "application/json", "Content-Type": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        method, url, headers, body, _ = prepared
        answer = await self._client.call_api(
            method,
            url,
            header_params=headers,
            body=body,
            _request_timeout=aiohttp.ClientTimeout(total=60),
        )
        response: aiohttp.ClientResponse = answer.response
        try:
            return response.status, await response.read()
        finally:
            response.release()

    async def lines(self, path: str, query: Sequence[tuple[str, str]]) -> AsyncIterator[bytes]:
        """A watch, line by line."""
        prepared = await self._client.param_serialize("GET", path, query_params=list(query))
        method, url, headers, _, _ = prepared
        timeout = aiohttp.ClientTimeout(total=3600)
        answer = await self._client.call_api(method, url, header_params=headers, _request_timeout=timeout)
        async for line in answer.response.content:
            yield line

    async def json(self, method: str, path: str, **more: Any) -> Json:
        """A 2xx answer as JSON."""
        status, body = await self.ask(method, path, **more)
        assert 200 <= status < 300, f"{method} {path}: {status} {body[:300]!r}"
        return cast(Json, msgspec.json.decode(body))

    async def list(self, path: str, *, metadata: bool = True, **query: str) -> list[Json]:
        """Everything there, in one page."""
        asked = [(name, value) for name, value in query.items() if value]
        return (await self.json("GET", path, query=asked, accept=METADATA_LIST if metadata else ""))[
            "items"
        ] or []

    async def delete(self, path: str, item: Json) -> None:
        """With the uid as precondition; 404 is as good."""
        meta = item["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": meta["uid"]},
            "propagationPolicy": "Background",
        }
        status, answer = await self.ask("DELETE", f"{path}/{meta['name']}", body=body)
        assert status in (200, 202, 404), f"{status} {answer[:300]!r}"

    async def until_empty(self, *paths: str) -> None:
        """Ask, one object at most, until there is none."""
        for path in paths:
            await until(lambda path=path: self._empty(path))  # type: ignore[misc]

    async def _empty(self, path: str) -> bool:
        return not await self.list(path, limit="1")


@asynccontextmanager
async def bare_client(kubeconfig: Path) -> AsyncIterator[Bare]:
    """Connected, without the client's own retries and limits."""
    configuration = Configuration()
    loader = cast(Any, _untyped_config)
    await loader.load_kube_config(str(kubeconfig), client_configuration=configuration)
    configuration.retries = None
    configuration.connection_pool_maxsize = 0
    async with ApiClient(configuration) as client:
        yield Bare(client)


async def until(check: Callable[[], Awaitable[bool]], pause_seconds: float = _POLL_SECONDS) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not await check():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(pause_seconds)


async def in_flight(do: Callable[[Item], Awaitable[Got]], items: Iterable[Item]) -> list[Got]:
    """The same for each, 16 at a time."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one(item: Item) -> Got:
        async with slots:
            return await do(item)

    return list(await asyncio.gather(*map(one, items)))


class Place:
    """A namespace of its own on the cluster."""

    def __init__(self, bare: Bare, cluster: ClusterUnderTest, namespace: str) -> None:
        self.bare, self.cluster, self.namespace = bare, cluster, namespace
        self.jobs, self.pods = JOBS.format(namespace), PODS.format(namespace)

    async def fill(self, count: int) -> None:
        """That many Jobs, each finished, each with its pod."""
        template = self.cluster.simulated_template("complete")
        template["metadata"]["labels"] = {"app": "evaluation"}

        async def make(number: int) -> None:
            await self.bare.json("POST", self.jobs, body=job(f"evaluation-job-{number:05}", template))

        await in_flight(make, range(count))
        await until(self._all_finished, 1.0)

    async def _all_finished(self) -> bool:
        return all(
            any(c["type"] == "Complete" for c in one.get("status", {}).get("conditions") or ())
            for one in await self.bare.list(self.jobs, metadata=False)
        )

    async def empty(self) -> None:
        """Whatever is left, without counting the time."""
        await delete_by_hand(self)


def job(name: str, template: Json) -> Json:
    """A Job that is done when its pod is."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {"app": "evaluation"}},
        "spec": {"backoffLimit": 0, "template": template},
    }


async def delete_by_hand(place: Place) -> None:
    """The baseline: Jobs in the background, then what is left of the pods, then wait until all is gone."""
    bare = place.bare
    await in_flight(lambda one: bare.delete(place.jobs, one), await bare.list(place.jobs))
    await in_flight(lambda one: bare.delete(place.pods, one), await bare.list(place.pods))
    await bare.until_empty(place.jobs, place.pods)


@asynccontextmanager
async def fresh_place(cluster: ClusterUnderTest) -> AsyncIterator[Place]:
    """Removed afterwards, and waited for: what it leaves must not burden the next measurement."""
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    async with bare_client(cluster.kubeconfig) as bare:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await bare.json("POST", "/api/v1/namespaces", body=body)
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        await until(lambda: _some(bare, account))
        place = Place(bare, cluster, namespace)
        try:
            yield place
        finally:
            await place.empty()
            await bare.ask("DELETE", f"/api/v1/namespaces/{namespace}")

            async def is_gone() -> bool:
                return (await bare.ask("GET", f"/api/v1/namespaces/{namespace}"))[0] == 404

            await until(is_gone)


async def _some(bare: Bare, path: str) -> bool:
    return bool(await bare.list(path))


def settings_for(cluster: ClusterUnderTest, **changes: Any) -> Settings:
    """As shipped, but for what the measurement is about."""
    return Settings(kubeconfig=str(cluster.kubeconfig), **{"confirm_seconds": 600.0, **changes})


class Story:
    """What tests have said to a ledger."""

    def __init__(self, ledger: Ledger, cluster: str, namespace: str) -> None:
        self.ledger, self.cluster, self.namespace = ledger, cluster, namespace
        self.run_id = new_id()
        started = e.RunStarted(name="bench", mode="pytest", cluster=cluster, namespace=namespace)
        ledger.append(self.event(started))
        ledger.beat("run", self.run_id, lease_seconds=3600)

    def event(self, payload: e.Event, scope_id: str = "") -> e.NewEvent:
        """Said now."""
        return e.NewEvent(
            event_id=new_id(),
            time=datetime.now(UTC),
            producer="bench",
            payload=payload,
            run_id=self.run_id,
            scope_id=scope_id,
        )

    def ref(self, kind: str, name: str) -> ResourceRef:
        """Where it is."""
        return ResourceRef(self.cluster, self.namespace, kind, name)

    def test(self, level: Level, names: Iterable[str], kind: str = "jobs.batch") -> str:
        """A test that tracked these and passed; its scope's id."""
        scope_id = self.open_test(level, names, kind)
        self.ledger.append(self.event(e.OutcomeRecorded(outcome="passed"), scope_id))
        return scope_id

    def open_test(self, level: Level, names: Iterable[str], kind: str = "jobs.batch") -> str:
        """A test that tracked these and goes on."""
        scope_id = new_id()
        opened = e.ScopeOpened(test_id=f"test_{scope_id[-6:]}", level=level, level_source="bench")
        said: list[e.Event] = [opened]
        said += [e.ResourceTracked(resource=self.ref(kind, name)) for name in names]
        for start in range(0, len(said), 500):
            self.ledger.append(*(self.event(one, scope_id) for one in said[start : start + 500]))
        return scope_id


@asynccontextmanager
async def fresh_ledger(folder: Path) -> AsyncIterator[Ledger]:
    """SQLite, on a disk."""
    with open_ledger(f"sqlite:///{folder}/{uuid.uuid4().hex}.db") as ledger:
        yield ledger


def the_cluster() -> ClusterUnderTest:
    """The real control plane (``make cluster``); its played nodes have the pods."""
    cluster = real_cluster()
    assert cluster.simulated, "the cluster plays no pods: start it with `make cluster`"
    return cluster
