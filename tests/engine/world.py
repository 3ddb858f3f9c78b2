"""A ledger, a cluster and a worker between them: short ways to play a test, a person and the world."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from cleanup_scheduler.cluster import Cluster, connect
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.resources import Level, Outcome, ResourceRef
from cleanup_scheduler.domain.state import Resource, Scope
from cleanup_scheduler.engine import PassReport, Worker
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger import Ledger
from cleanup_scheduler.settings import Settings
from cleanup_scheduler.testing.clock import ManualClock

from tests.faults.proxy import FaultProxy
from tests.under_test import ClusterUnderTest

Json = dict[str, Any]
Got = TypeVar("Got")


async def until(check: Callable[[], Awaitable[Got]], seconds: float = 30) -> Got:
    """The first truthy answer; fails after a deadline."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := await check():
            return answer
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.05)


class World:
    """One namespace, one run, any number of scopes."""

    def __init__(
        self,
        ledger: Ledger,
        cluster: Cluster,
        under_test: ClusterUnderTest,
        settings: Settings,
        namespace: str,
    ) -> None:
        self.ledger, self.cluster, self.under_test = ledger, cluster, under_test
        self.settings, self.namespace = settings, namespace
        self.clock = ManualClock()
        self.worker_cluster = cluster
        self.run_id = new_id()
        self.by_hand: set[str] = set()
        self.ledger_url = ""
        self.worker = self.another_worker()

    def another_worker(self, **settings: Any) -> Worker:
        changed = msgspec.structs.replace(self.settings, **settings)
        return Worker(self.ledger, self.worker_cluster, changed, clock=self.clock)

    @asynccontextmanager
    async def through_a_proxy(self, folder: Path, **settings: Any) -> AsyncIterator[FaultProxy]:
        """The worker reaches the cluster through a proxy that misbehaves on request; the test does not."""
        async with FaultProxy(self.under_test.kubeconfig, folder) as proxy:
            kubeconfig, name = str(proxy.kubeconfig), self.cluster.name
            changes = {"kubeconfig": kubeconfig, "cluster": name, "request_timeout_seconds": 2.0, **settings}
            chosen = msgspec.structs.replace(self.settings, **changes)
            async with connect(chosen) as cluster:
                self.worker_cluster = cluster
                self.worker = self.another_worker(**changes)
                yield proxy
                self.worker_cluster = self.cluster

    async def run_pass(self, **options: Any) -> PassReport:
        """One pass of the worker, by the clock as it is now."""
        now = datetime.now(self.clock.now().tzinfo)
        if self.clock.now() < now:
            self.clock.advance((now - self.clock.now()).total_seconds())
        return await self.worker.run_once(**options)

    # ---- the test process --------------------------------------------------------------------------------

    def say(self, payload: e.Event, *, scope_id: str = "", run_id: str = "", ago_seconds: float = 0) -> None:
        time_ = self.clock.stamp() - timedelta(seconds=ago_seconds)
        self.ledger.append(
            e.NewEvent(
                event_id=new_id(),
                time=time_,
                producer="test",
                payload=payload,
                run_id=run_id or self.run_id,
                scope_id=scope_id,
            )
        )

    def start_run(self, *, run_id: str = "", lease_seconds: float = 600, ago_seconds: float = 1) -> str:
        run_id = run_id or self.run_id
        started = e.RunStarted(
            name="suite",
            mode="pytest",
            cluster=self.cluster.name,
            namespace=self.namespace,
            lease_seconds=lease_seconds,
        )
        self.say(started, run_id=run_id, ago_seconds=ago_seconds)
        self.ledger.beat("run", run_id, lease_seconds=lease_seconds)
        return run_id

    def open_scope(
        self, level: Level = "all", *, test_id: str = "test_it", run_id: str = "", ago_seconds: float = 1
    ) -> str:
        scope_id = new_id()
        opened = e.ScopeOpened(test_id=test_id, level=level, level_source="test")
        self.say(opened, scope_id=scope_id, run_id=run_id, ago_seconds=ago_seconds)
        return scope_id

    def track(self, scope_id: str, *refs: ResourceRef, run_id: str = "") -> None:
        for ref in refs:
            self.say(e.ResourceTracked(resource=ref), scope_id=scope_id, run_id=run_id)

    def end(
        self,
        scope_id: str,
        outcome: Outcome = "passed",
        *,
        forced: bool = False,
        ago_seconds: float = 0,
        run_id: str = "",
    ) -> None:
        ended = e.OutcomeRecorded(outcome=outcome, forced=forced)
        self.say(ended, scope_id=scope_id, ago_seconds=ago_seconds, run_id=run_id)

    # ---- the cluster -------------------------------------------------------------------------------------

    def ref(self, kind: str, name: str) -> ResourceRef:
        return ResourceRef(self.cluster.name, self.namespace, kind, name)

    async def make(
        self, api_version: str, kind: str, name: str, *, meta: Json | None = None, **body: Any
    ) -> Any:
        manifest = {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"name": name, **(meta or {})},
            **body,
        }
        return await self.cluster.create(manifest, self.namespace)

    async def job(
        self, name: str, behaviour: str = "complete", *, meta: Json | None = None, **spec: Any
    ) -> ObservedObject:
        spec = {"backoffLimit": 0, "template": self.under_test.simulated_template(behaviour), **spec}
        made: ObservedObject = await self.make("batch/v1", "Job", name, meta=meta, spec=spec)
        return made

    async def finished_job(self, name: str, behaviour: str = "complete", **more: Any) -> ObservedObject:
        made = await self.job(name, behaviour, **more)
        await self.until_finished(name)
        return made

    async def until_finished(self, name: str) -> None:
        async def finished() -> bool:
            status = await self.cluster.job_status(self.ref("jobs.batch", name))
            return status is not None and bool(status.finished)

        await until(finished)

    async def running_job(self, name: str, **spec: Any) -> ObservedObject:
        made = await self.job(name, "run", **spec)
        await self.until_running(made)
        return made

    async def until_running(self, job: ObservedObject) -> list[ObservedObject]:
        async def running() -> list[ObservedObject]:
            pods = await self.cluster.pods_of(job)
            states = [await self.cluster.pod_status(pod.ref) for pod in pods]
            return pods if pods and all(state and state.phase == "Running" for state in states) else []

        return await until(running)

    async def pod(self, name: str, behaviour: str = "run", *, meta: Json | None = None) -> ObservedObject:
        template = self.under_test.simulated_template(behaviour)
        metadata = {**template["metadata"], **(meta or {})}
        made: ObservedObject = await self.make("v1", "Pod", name, meta=metadata, spec=template["spec"])
        return made

    async def delete_by_hand(self, seen: ObservedObject) -> None:
        """The test, or a person, deletes it; returns when it is gone."""
        self.by_hand.add(seen.uid)
        await self.cluster.delete(seen.ref, seen.uid)
        left = await self.cluster.wait_gone({seen.ref: seen.uid}, timeout_seconds=30)
        assert not left

    async def uids(self, kind: str) -> set[str]:
        """Of everything of that kind in the namespace that is not on its way out."""
        found = self.cluster.list(kind, self.namespace)
        return {seen.uid async for seen in found if seen.deletion_timestamp is None}

    # ---- what became of it -------------------------------------------------------------------------------

    def scope(self, scope_id: str) -> Scope:
        projection = self.ledger.projection()
        projection.catch_up()
        return projection.scope(scope_id, self.run_id)

    def resource(self, scope_id: str, ref: ResourceRef) -> Resource:
        found = [r for r in self.scope(scope_id).own() if r.ref == ref]
        assert len(found) == 1, found
        return found[0]

    def assert_sums(self) -> None:
        """G9: in a settled scope everything tracked is gone, preserved, kept or given up."""
        projection = self.ledger.projection()
        projection.catch_up()
        for run in projection.all_runs():
            for scope in projection.scopes_of(run.run_id):
                if scope.settled:
                    statuses = [resource.status for resource in scope.tracked()]
                    assert set(statuses) <= {"gone", "kept", "given-up"}, statuses

    def events(self, kind: type[e.Event], *, scope_id: str | None = None) -> list[Any]:
        return [
            event.payload
            for event in self.ledger.follow()
            if isinstance(event.payload, kind) and scope_id in (None, event.scope_id)
        ]


@asynccontextmanager
async def world(ledger: Ledger, under_test: ClusterUnderTest, **settings: Any) -> AsyncIterator[World]:
    """A namespace of its own, removed afterwards."""
    chosen = Settings(
        kubeconfig=str(under_test.kubeconfig),
        **{"orphan_grace_seconds": 0.0, "confirm_seconds": 20.0, **settings},
    )
    namespace = f"engine-{uuid.uuid4().hex[:8]}"
    async with connect(chosen) as cluster:
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        made = await cluster.create(manifest)
        try:
            yield World(ledger, cluster, under_test, chosen, namespace)
        finally:
            await cluster.delete(made.ref, made.uid)
