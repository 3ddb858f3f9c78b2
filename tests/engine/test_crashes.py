"""A worker may die at any point: the next one finishes, nothing is left, nothing is said twice.

On the embedded cluster it dies at every point. The real one, where each death takes seconds, gets a fixed
sample: the first point of every kind, that is, before and after each request to the API (by its verb and
resource) and each call of the ledger (appends by what they say).
"""

from __future__ import annotations

import asyncio

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.resources import Level
from cleanup_scheduler.ids import new_id

from tests.engine.conftest import MakeWorld
from tests.engine.dying import pass_in_a_process_of_its_own
from tests.engine.world import World, until

FIRST_POINTS = 400  # far more than a pass has
PASSES_PER_KIND = 5


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


async def die_once(
    w: World, ledger_url: str, level: Level, name: str, die_at: int | str, *, runs: bool
) -> list[str] | None:
    """None when the worker died, the kinds of points that it passed when it did not; the end is right."""
    job = await (w.running_job(name) if runs else w.finished_job(name))
    scope = w.open_scope(level)
    w.track(scope, job.ref)
    w.end(scope)
    passed = await asyncio.to_thread(pass_in_a_process_of_its_own, ledger_url, w.settings, {scope}, die_at)
    await finish(w, scope)
    await assert_the_end_is_right(w, scope, level, name)
    return passed


async def die_everywhere(w: World, ledger_url: str, level: Level, *, runs: bool) -> None:
    if w.under_test.name == "embedded":
        await die_at_every_point(w, ledger_url, level, runs=runs)
    else:
        await die_at_each_kind_of_point(w, ledger_url, level, runs=runs)


async def die_at_every_point(w: World, ledger_url: str, level: Level, *, runs: bool) -> None:
    for point in range(1, FIRST_POINTS):
        if await die_once(w, ledger_url, level, f"job-{point}", point, runs=runs):
            assert point > 20, f"a pass has {point - 1} points only"
            return
    raise AssertionError("the pass has no end")


async def die_at_each_kind_of_point(w: World, ledger_url: str, level: Level, *, runs: bool) -> None:
    kinds = await die_once(w, ledger_url, level, "job-0", "nowhere", runs=runs)
    assert kinds
    assert len(kinds) > 10, kinds
    for kind in kinds:
        # what a pass has to do depends on who is faster, the worker or the cluster's controllers
        for _ in range(PASSES_PER_KIND):
            if await die_once(w, ledger_url, level, f"job-{new_id()}", kind, runs=runs) is None:
                break
        else:
            raise AssertionError(f"{PASSES_PER_KIND} passes did not come by {kind!r}")


@pytest.mark.timeout(300)
async def test_a_worker_killed_at_any_point_of_deleting_a_job(make_world: MakeWorld, ledger_url: str) -> None:
    async with make_world() as w:
        w.start_run()
        await die_everywhere(w, ledger_url, "all", runs=False)


@pytest.mark.timeout(300)
async def test_a_worker_killed_at_any_point_of_freeing_a_finished_jobs_pods(
    make_world: MakeWorld, ledger_url: str
) -> None:
    async with make_world() as w:
        w.start_run()
        await die_everywhere(w, ledger_url, "pods", runs=False)


@pytest.mark.timeout(300)
async def test_a_worker_killed_at_any_point_of_suspending_a_job(
    make_world: MakeWorld, ledger_url: str
) -> None:
    async with make_world() as w:
        w.start_run()
        await die_everywhere(w, ledger_url, "pods", runs=True)
