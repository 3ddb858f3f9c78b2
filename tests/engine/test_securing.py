"""What is preserved or held does not go by itself, and is as it was before once nobody keeps it any more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.objects import ObservedObject

from tests.engine.conftest import MakeWorld
from tests.engine.dying import pass_in_a_process_of_its_own
from tests.engine.world import World, until
from tests.faults.proxy import answer

LONG_SECONDS = 3600
FIRST_POINTS = 200  # far more than a pass has


async def ttl_of(w: World, name: str) -> int | None:
    status = await w.cluster.job_status(w.ref("jobs.batch", name))
    assert status is not None
    return status.ttl_seconds_after_finished


async def failed_test(w: World, name: str, *, level: Any = "pods", **spec: Any) -> tuple[str, ObservedObject]:
    """A test that left a finished Job and failed; nothing was done about it yet."""
    scope = w.open_scope(level)
    job = await w.finished_job(name, **{"ttlSecondsAfterFinished": LONG_SECONDS, **spec})
    w.track(scope, job.ref)
    w.end(scope, "failed")
    return scope, job


def release(w: World, scope: str, job: ObservedObject, **more: Any) -> None:
    w.say(e.ReleaseRequested(who="ada", resource=job.ref, **more), scope_id=scope)


async def test_the_ttl_of_a_preserved_job_is_lifted_and_its_value_recorded(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope, job = await failed_test(w, "evaluation")
        for _ in range(3):
            await w.run_pass()
        assert await ttl_of(w, "evaluation") is None
        secured = w.events(e.ResourceSecured)
        assert [(event.uid, event.ttl_seconds, event.lifting) for event in secured] == [
            (job.uid, LONG_SECONDS, True),
            (job.uid, LONG_SECONDS, False),
        ]
        assert w.resource(scope, job.ref).status == "preserved"


async def test_a_preserved_job_outlives_its_ttl(make_world: MakeWorld) -> None:
    """The one whose TTL nobody lifted shows that the cluster would have deleted it by then."""
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        kept, other = [await w.running_job(name, ttlSecondsAfterFinished=1) for name in ("kept", "other")]
        w.by_hand |= {kept.uid, other.uid}
        w.track(scope, kept.ref)
        w.end(scope, "failed")
        await w.run_pass()
        for job in (kept, other):
            await w.cluster.patch(job.ref, job.uid, {"spec": {"activeDeadlineSeconds": 1}})

        async def gone() -> bool:
            return await w.cluster.get(other.ref) is None

        await until(gone, 60)
        await w.until_finished("kept")
        assert kept.uid in await w.uids("jobs.batch")


async def test_the_ttl_is_put_back_after_the_pods_of_a_released_job_are_gone(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope, job = await failed_test(w, "evaluation")
        await w.run_pass()
        release(w, scope, job)
        await w.run_pass()
        assert await w.uids("pods") == set()
        assert await ttl_of(w, "evaluation") == LONG_SECONDS
        assert [event.ttl_seconds for event in w.events(e.TtlRestored)] == [LONG_SECONDS]
        types = [type(event.payload) for event in w.ledger.follow()]
        assert types.index(e.TtlRestored) > max(i for i, t in enumerate(types) if t is e.ResourceGone)
        assert w.scope(scope).settled
        assert (await w.run_pass()).items == []


async def test_the_ttl_is_put_back_when_the_preservation_expires(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope, _ = await failed_test(w, "evaluation")
        await w.run_pass()
        w.clock.advance(hours=24.1)
        await w.run_pass()
        assert await ttl_of(w, "evaluation") == LONG_SECONDS
        assert w.scope(scope).settled


async def test_a_job_that_is_deleted_after_its_release_needs_no_ttl(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope, job = await failed_test(w, "evaluation", level="all")
        await w.run_pass()
        release(w, scope, job)
        await w.run_pass()
        assert await w.uids("jobs.batch") == set()
        assert w.events(e.TtlRestored) == []
        assert w.scope(scope).settled


@pytest.mark.parametrize("ended", [False, True], ids=["its test runs", "its test ended"])
async def test_a_held_job_loses_its_ttl_until_the_hold_is_lifted(
    make_world: MakeWorld, *, ended: bool
) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("none")
        job = await w.finished_job("evaluation", ttlSecondsAfterFinished=LONG_SECONDS)
        w.track(scope, job.ref)
        if ended:
            w.end(scope)
        w.say(e.HoldRequested(who="ada", resource=job.ref), scope_id=scope)
        for _ in range(2):
            await w.run_pass()
        assert await ttl_of(w, "evaluation") is None
        w.say(e.HoldLifted(who="ada", resource=job.ref), scope_id=scope)
        for _ in range(2):
            await w.run_pass()
        assert await ttl_of(w, "evaluation") == LONG_SECONDS
        assert len(w.events(e.TtlRestored)) == 1


async def test_a_ttl_that_somebody_set_meanwhile_is_left_as_it_is(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope, job = await failed_test(w, "evaluation")
        await w.run_pass()
        await w.cluster.patch(job.ref, job.uid, {"spec": {"ttlSecondsAfterFinished": 7200}})
        release(w, scope, job)
        await w.run_pass()
        assert await ttl_of(w, "evaluation") == 7200
        [restored] = w.events(e.TtlRestored)
        assert "somebody set it to 7200" in restored.problem


async def test_a_namesake_never_gets_the_ttl_of_a_job_that_was_preserved(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope, job = await failed_test(w, "evaluation")
        await w.run_pass()
        await w.delete_by_hand(job)
        await w.finished_job("evaluation")
        release(w, scope, job)
        for _ in range(2):
            await w.run_pass()
        assert await ttl_of(w, "evaluation") is None
        assert w.resource(scope, job.ref).status == "gone"
        assert w.scope(scope).settled


async def test_a_namesake_of_a_job_that_was_held_is_not_changed_when_the_hold_ends(
    make_world: MakeWorld,
) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation", ttlSecondsAfterFinished=LONG_SECONDS)
        w.track(scope, job.ref)
        w.say(e.HoldRequested(who="ada", resource=job.ref), scope_id=scope)
        await w.run_pass()
        await w.delete_by_hand(job)
        await w.finished_job("evaluation")
        w.say(e.HoldLifted(who="ada", resource=job.ref), scope_id=scope)
        await w.run_pass()
        assert await ttl_of(w, "evaluation") is None
        [restored] = w.events(e.TtlRestored)
        assert restored.problem == "the Job is gone"


async def test_what_must_not_be_touched_keeps_its_ttl(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        meta = {"labels": {"cleanup-scheduler/ledger": "f" * 32}}
        scope, job = await failed_test(w, "theirs", meta=meta)
        for _ in range(2):
            await w.run_pass()
        assert await ttl_of(w, "theirs") == LONG_SECONDS
        [secured] = w.events(e.ResourceSecured)
        assert "another" in secured.problem or "ledger" in secured.problem
        assert w.resource(scope, job.ref).unsafe == secured.problem


async def test_a_job_that_somebody_marked_to_be_preserved_does_not_get_its_ttl_back(
    make_world: MakeWorld,
) -> None:
    async with make_world() as w:
        w.start_run()
        scope, job = await failed_test(w, "evaluation")
        await w.run_pass()
        await w.cluster.patch(job.ref, job.uid, {"metadata": {"annotations": {"preserve": "true"}}})
        release(w, scope, job)
        await w.run_pass()
        assert await ttl_of(w, "evaluation") is None
        [restored] = w.events(e.TtlRestored)
        assert "preserve" in restored.problem
        assert w.scope(scope).settled


def points(w: World) -> range:
    """Every point; some of them where each call takes long."""
    return range(1, FIRST_POINTS, 1 if w.under_test.name == "embedded" else 4)


@pytest.mark.timeout(300)
async def test_a_worker_killed_at_any_point_of_lifting_a_ttl_loses_no_value(
    make_world: MakeWorld, ledger_url: str
) -> None:
    async with make_world(archive_logs=False) as w:
        w.start_run()
        for point in points(w):
            name = f"job-{point}"
            scope, job = await failed_test(w, name)
            passed_by = await asyncio.to_thread(
                pass_in_a_process_of_its_own, ledger_url, w.settings, {scope}, point
            )

            async def secured(scope: str = scope, name: str = name) -> bool:
                await w.another_worker().run_once({scope})
                return w.resource(scope, w.ref("jobs.batch", name)).secured

            await until(secured)
            assert await ttl_of(w, name) is None
            assert w.resource(scope, job.ref).ttl_seconds == LONG_SECONDS
            release(w, scope, job)

            async def restored(scope: str = scope) -> bool:
                await w.another_worker().run_once({scope})
                return w.scope(scope).settled

            await until(restored)
            assert await ttl_of(w, name) == LONG_SECONDS
            if passed_by is not None:
                assert point > 10
                return
        raise AssertionError("the pass has no end")


@pytest.mark.timeout(300)
async def test_a_worker_killed_at_any_point_of_putting_a_ttl_back_still_does_it(
    make_world: MakeWorld, ledger_url: str
) -> None:
    async with make_world(archive_logs=False) as w:
        w.start_run()
        for point in points(w):
            name = f"job-{point}"
            scope, job = await failed_test(w, name)
            await w.run_pass(scope_ids={scope})
            release(w, scope, job)
            passed_by = await asyncio.to_thread(
                pass_in_a_process_of_its_own, ledger_url, w.settings, {scope}, point
            )

            async def restored(scope: str = scope) -> bool:
                await w.another_worker().run_once({scope})
                return w.scope(scope).settled

            await until(restored)
            assert await ttl_of(w, name) == LONG_SECONDS
            if passed_by is not None:
                assert point > 10
                return
        raise AssertionError("the pass has no end")


async def test_what_a_preserved_thing_occupies_is_recorded(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        template = w.under_test.simulated_template("run")
        requests = {"requests": {"cpu": "250m", "memory": "64Mi"}}
        template["spec"]["containers"][0]["resources"] = requests
        job = await w.running_job("evaluation", template=template, parallelism=2)
        finished = await w.finished_job("finished")
        w.track(scope, job.ref, finished.ref)
        w.end(scope, "failed")
        await w.run_pass()
        occupied = w.resource(scope, job.ref).occupied
        assert (str(occupied), occupied is not None and occupied.at is not None) == (
            "2 pods, 500m CPU, 128Mi memory",
            True,
        )
        assert str(w.resource(scope, finished.ref).occupied) == ""


async def test_a_ttl_that_cannot_be_lifted_for_a_moment_is_lifted_later(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        scope, job = await failed_test(w, "evaluation")
        proxy.arm(answer(500), method="PATCH", path="/jobs/evaluation", times=1)
        await w.run_pass()
        assert not w.resource(scope, job.ref).secured
        assert w.events(e.LogsArchived), "its logs wait for nobody"
        await w.run_pass()
        assert await ttl_of(w, "evaluation") is None
        assert w.resource(scope, job.ref).secured


async def test_a_ttl_that_may_not_be_lifted_is_reported_as_unsafe_once(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        scope, job = await failed_test(w, "evaluation")
        proxy.arm(answer(422, message="denied by policy"), method="PATCH", path="/jobs/evaluation", times=9)
        for _ in range(2):
            await w.run_pass()
        assert "denied by policy" in w.resource(scope, job.ref).unsafe
        assert len([event for event in w.events(e.ResourceSecured) if not event.lifting]) == 1
        assert w.resource(scope, job.ref).status == "preserved"


async def test_a_ttl_that_we_had_no_right_to_lift_is_tried_again_later(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        scope, job = await failed_test(w, "evaluation")
        proxy.arm(answer(403, message="no"), method="PATCH", path="/jobs/evaluation", times=1)
        for _ in range(2):
            await w.run_pass()
        assert "may not patch" in w.resource(scope, job.ref).unsafe
        assert await ttl_of(w, "evaluation") is not None
        w.clock.advance(660)
        await w.run_pass()
        assert await ttl_of(w, "evaluation") is None
        assert (w.resource(scope, job.ref).unsafe, w.resource(scope, job.ref).secure_at) == ("", None)
