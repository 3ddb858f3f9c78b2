"""A worker may die at any point: the next one finishes, nothing is left, nothing is said twice."""

from __future__ import annotations

import asyncio

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.resources import Level

from tests.engine.conftest import MakeWorld
from tests.engine.dying import pass_in_a_process_of_its_own
from tests.engine.world import World, until

FIRST_POINTS = 400  # far more than a pass has


async def finish(w: World, scope: str) -> None:
    """Workers come and go until the scope is settled."""

    async def settled() -> bool:
        await w.another_worker().run_once({scope})
        return w.scope(scope).settled

    await until(settled)


async def assert_the_end_is_right(w: World, scope: str, level: Level, name: str) -> None:
    job = w.resource(scope, w.ref("jobs.batch", name))
    assert job.status == ("gone" if level == "all" else "kept"), job
    assert (await w.cluster.get(job.ref) is None) == (level == "all")
    pods = [r for r in w.scope(scope).resources.values() if r.ref.kind == "pods"]
    assert [pod.status for pod in pods] == ["gone"], pods
    assert await w.cluster.get(pods[0].ref) is None
    gone = [event.uid for event in w.events(e.ResourceGone, scope_id=scope)]
    assert len(gone) == len(set(gone)), "said to be gone twice"
    assert pods[0].logs, "its log is neither kept nor missed"


async def die_at_every_point(w: World, ledger_url: str, level: Level, *, runs: bool) -> int:
    for point in range(1, FIRST_POINTS):
        name = f"job-{point}"
        job = await (w.running_job(name) if runs else w.finished_job(name))
        scope = w.open_scope(level)
        w.track(scope, job.ref)
        w.end(scope)
        died = await asyncio.to_thread(pass_in_a_process_of_its_own, ledger_url, w.settings, {scope}, point)
        await finish(w, scope)
        await assert_the_end_is_right(w, scope, level, name)
        if not died:
            return point - 1
    raise AssertionError("the pass has no end")


@pytest.mark.timeout(300)
async def test_a_worker_killed_at_any_point_of_deleting_a_job(make_world: MakeWorld, ledger_url: str) -> None:
    async with make_world() as w:
        w.start_run()
        points = await die_at_every_point(w, ledger_url, "all", runs=False)
        assert points > 20, points


@pytest.mark.timeout(300)
async def test_a_worker_killed_at_any_point_of_freeing_a_finished_jobs_pods(
    make_world: MakeWorld, ledger_url: str
) -> None:
    async with make_world() as w:
        w.start_run()
        points = await die_at_every_point(w, ledger_url, "pods", runs=False)
        assert points > 20, points


@pytest.mark.timeout(300)
async def test_a_worker_killed_at_any_point_of_suspending_a_job(
    make_world: MakeWorld, ledger_url: str
) -> None:
    async with make_world() as w:
        w.start_run()
        points = await die_at_every_point(w, ledger_url, "pods", runs=True)
        assert points > 20, points
