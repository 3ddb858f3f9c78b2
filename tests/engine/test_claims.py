"""Two workers never act on one scope at the same time, and one that wakes up late is stopped."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web
from cleanup_scheduler.domain import events as e

from tests.databases import DATABASES
from tests.engine.conftest import MakeWorld
from tests.faults.proxy import Forward
from tests.witness import deletes


@pytest.mark.parametrize("database", DATABASES, indirect=True)
async def test_three_workers_share_the_scopes_and_request_each_deletion_once(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scopes = []
        for number in range(20):
            scope = w.open_scope("all")
            w.track(scope, (await w.finished_job(f"job-{number}")).ref)
            w.end(scope)
            scopes.append(scope)
        workers = [w.another_worker() for _ in range(3)]
        await asyncio.gather(*(worker.run_once() for worker in workers))
        await w.run_pass()
        assert all(w.scope(scope).settled for scope in scopes)
        requested = Counter(event.uid for event in w.events(e.DeletionRequested))
        assert set(requested.values()) == {1}
        asked = Counter(delete.uid for delete in deletes(w.under_test, w.namespace))
        assert asked <= requested, "a pod that the garbage collector took first needs no delete of ours"
        assert {event.uid for event in w.events(e.DeletionRequested) if event.owner is None} <= set(asked)


async def test_a_scope_that_somebody_else_holds_is_left_to_them(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        w.end(scope)
        claim = w.ledger.claim(scope, holder="somebody", lease_seconds=60)
        assert claim is not None
        report = await w.run_pass()
        assert report.claimed_elsewhere == [scope]
        assert job.uid in await w.uids("jobs.batch")
        w.ledger.release(claim)
        await w.run_pass()
        assert await w.uids("jobs.batch") == set()


async def test_a_worker_that_was_paused_beyond_its_lease_does_nothing_more(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    """The whole process stands still, as under SIGSTOP; meanwhile its claim goes to somebody else."""
    async with make_world() as w, w.through_a_proxy(tmp_path, claim_lease_seconds=0.2) as proxy:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        w.end(scope)

        async def stand_still(_request: web.Request, forward: Forward) -> web.StreamResponse:
            time.sleep(0.5)  # noqa: ASYNC251 - standing still is what is tried
            assert w.ledger.claim(scope, holder="somebody", lease_seconds=60)
            return await forward()

        proxy.arm(stand_still, method="GET", path="/jobs/evaluation")
        report = await w.run_pass()
        assert report.claimed_elsewhere == [scope]
        assert deletes(w.under_test, w.namespace) == []
        assert w.events(e.DeletionRequested) == []
        assert job.uid in await w.uids("jobs.batch")
