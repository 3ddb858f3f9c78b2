"""Runs that died, and what they left: found by label and by window, never on the strength of ignorance."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.objects import ObservedObject

from tests.engine.conftest import MakeWorld
from tests.engine.world import World, until
from tests.faults.proxy import answer


def labels(w: World, run_id: str, scope_id: str = "", **more: str) -> dict[str, Any]:
    said = {"cleanup-scheduler/ledger": w.ledger.ledger_id, "cleanup-scheduler/run": run_id}
    return {"labels": said | ({"cleanup-scheduler/scope": scope_id} if scope_id else {}) | more}


def die(w: World, run_id: str) -> None:
    """The process was killed: its heartbeat is never renewed, and its lease is over."""
    w.ledger.beat("run", run_id, lease_seconds=-1.0)


async def sweep_and_clean(w: World, **options: Any) -> Any:
    await w.run_pass()
    report = await w.worker.sweep(**options)
    await w.run_pass()
    return report


async def test_a_run_whose_heartbeat_is_stale_is_abandoned_and_its_scope_cleaned(
    make_world: MakeWorld,
) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        die(w, w.run_id)
        await asyncio.sleep(0)
        report = await w.run_pass()
        assert report.abandoned_runs == [w.run_id]
        await w.run_pass()
        assert await w.uids("jobs.batch") == set()
        applied = w.events(e.PolicyApplied)
        assert [(event.outcome, event.rule, event.gone) for event in applied] == [
            ("unknown", "run-abandoned", 1)
        ]
        assert w.scope(scope).settled
        assert len(w.events(e.RunAbandoned)) == 1


async def test_what_a_dead_run_tracked_waits_out_the_orphan_grace(make_world: MakeWorld) -> None:
    async with make_world(orphan_grace_seconds=600.0) as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        die(w, w.run_id)
        await w.run_pass()
        await w.run_pass()
        assert w.events(e.RunAbandoned)
        assert job.uid in await w.uids("jobs.batch")
        w.clock.advance(601)
        await w.run_pass()
        assert await w.uids("jobs.batch") == set()


async def test_a_scope_of_a_dead_run_that_tracked_nothing_is_settled(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        die(w, w.run_id)
        await w.run_pass()
        assert w.scope(scope).outcome == "unknown"
        assert w.scope(scope).settled


async def test_a_run_that_finished_between_two_looks_is_not_called_dead(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run(ago_seconds=7200, lease_seconds=60)
        w.say(e.RunFinished())
        w.ledger.unbeat("run", w.run_id)
        report = await w.run_pass()
        assert report.abandoned_runs == []


async def test_a_leak_with_this_ledgers_label_is_cleaned_as_its_scope_would_be(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all", test_id="the_leaking_test")
        leak = await w.finished_job("leak", meta=labels(w, w.run_id, scope))
        die(w, w.run_id)
        report = await sweep_and_clean(w)
        assert [(item.ref, item.rule, item.test_id) for item in report.of("orphan")] == [
            (leak.ref, "orphan-label", "the_leaking_test")
        ]
        assert await w.uids("jobs.batch") == set()
        assert await w.uids("pods") == set()
        assert w.scope(scope).settled


async def test_a_namesake_of_what_was_tracked_and_is_gone_is_an_orphan_like_any_other(
    make_world: MakeWorld,
) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        w.end(scope)
        await w.run_pass()
        assert await w.uids("jobs.batch") == set()
        again = await w.finished_job("evaluation", meta=labels(w, w.run_id))
        w.say(e.RunFinished())
        w.ledger.unbeat("run", w.run_id)
        report = await sweep_and_clean(w)
        assert [item.uid for item in report.of("orphan")] == [again.uid]


async def test_what_a_test_left_running_made_after_its_end_goes_as_an_orphan(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all", test_id="the_slow_test")
        w.end(scope)
        await asyncio.sleep(1.1)  # an object's creation is known to the second
        late = await w.finished_job("late", meta=labels(w, w.run_id, scope))
        await w.run_pass()
        assert late.uid in await w.uids("jobs.batch"), "a pass alone does not take it"
        report = await sweep_and_clean(w)
        assert [(item.ref, item.rule) for item in report.of("orphan")] == [(late.ref, "orphan-label")]
        assert late.uid not in await w.uids("jobs.batch")


async def test_what_was_made_with_a_tests_labels_after_its_runs_end_is_kept(make_world: MakeWorld) -> None:
    """Like the copy of a test's Job that somebody made to look into it."""
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        w.end(scope)
        w.say(e.RunFinished())
        w.ledger.unbeat("run", w.run_id)
        await asyncio.sleep(1.1)  # an object's creation is known to the second
        copy = await w.finished_job("copy", meta=labels(w, w.run_id, scope))
        await sweep_and_clean(w)
        assert copy.uid in await w.uids("jobs.batch")
        [kept] = w.scope(scope).resources.values()
        assert (kept.status, kept.rule) == ("kept", "created-after-scope")
        assert "after its run's end" in kept.reason


async def test_a_kind_that_may_not_be_listed_is_in_the_sweeps_report_and_exit_code(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        scope = w.open_scope("all")
        leak = await w.finished_job("leak", meta=labels(w, w.run_id, scope))
        die(w, w.run_id)
        await w.run_pass()
        proxy.arm(answer(403, message="pods is forbidden"), method="GET", path="/pods", times=9)
        report = await w.worker.sweep(dry_run=True)
        assert [item.ref for item in report.of("orphan")] == [leak.ref], (
            "the other kind is swept all the same"
        )
        assert report.exit_code == 1
        assert any(f"pods in namespace {w.namespace}" in said for said in report.left_out)
        assert all(said in report.summary() for said in report.left_out)


async def test_a_leak_of_a_test_that_still_runs_is_left_alone(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        await w.finished_job("not-yet-tracked", meta=labels(w, w.run_id, scope))
        report = await sweep_and_clean(w)
        assert report.items == []
        assert len(await w.uids("jobs.batch")) == 1


async def test_labels_of_another_ledger_or_of_a_run_unknown_here_are_no_reason_to_delete(
    make_world: MakeWorld,
) -> None:
    async with make_world() as w:
        w.start_run()
        die(w, w.run_id)
        other = labels(w, w.run_id)
        other["labels"]["cleanup-scheduler/ledger"] = "f" * 32
        await w.finished_job("other-ledger", meta=other)
        await w.finished_job("unknown-run", meta=labels(w, "0" * 32))
        report = await sweep_and_clean(w)
        assert report.of("orphan") == []
        assert len(await w.uids("jobs.batch")) == 2


async def test_an_empty_ledger_calls_nothing_an_orphan(make_world: MakeWorld) -> None:
    async with make_world(selector="app=evaluation") as w:
        w.cluster.namespace = w.namespace  # looked at whatever the ledger says
        await w.finished_job("theirs", meta=labels(w, "0" * 32, app="evaluation"))
        report = await sweep_and_clean(w)
        assert report.items == []
        assert len(await w.uids("jobs.batch")) == 1


async def test_what_a_label_says_of_a_scope_is_found_when_that_scope_is_cleaned(
    make_world: MakeWorld,
) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        tracked = await w.finished_job("tracked", meta=labels(w, w.run_id, scope))
        await w.finished_job("made-on-its-behalf", meta=labels(w, w.run_id, scope))
        w.track(scope, tracked.ref)
        w.end(scope)
        await w.run_pass(scope_ids={scope})
        assert await w.uids("jobs.batch") == set()
        assert [event.resource.name for event in w.events(e.OrphanFound)] == ["made-on-its-behalf"]


# ---- the window rule ---------------------------------------------------------------------------------------


async def platform_job(w: World, name: str) -> ObservedObject:
    return await w.finished_job(name, meta={"labels": {"app": "evaluation"}})


async def test_a_platforms_job_from_the_time_of_a_dead_run_is_its_orphan(make_world: MakeWorld) -> None:
    async with make_world(selector="app=evaluation") as w:
        w.start_run(lease_seconds=3600)
        scope = w.open_scope("all", test_id="the_test_of_that_time")
        job = await platform_job(w, "evaluation")
        die(w, w.run_id)
        report = await sweep_and_clean(w)
        assert [(item.ref, item.rule, item.test_id) for item in report.of("orphan")] == [
            (job.ref, "orphan-window", "the_test_of_that_time")
        ]
        assert await w.uids("jobs.batch") == set()
        assert w.scope(scope).settled


async def test_an_orphan_that_two_tests_may_have_left_goes_by_the_weaker_level(make_world: MakeWorld) -> None:
    async with make_world(selector="app=evaluation") as w:
        w.start_run(lease_seconds=3600)
        w.open_scope("all", test_id="one")
        w.open_scope("pods", test_id="two")
        job = await platform_job(w, "evaluation")
        die(w, w.run_id)
        report = await sweep_and_clean(w)
        assert [item.scope_id for item in report.of("orphan")] == [f"{w.run_id}-orphans"]
        assert await w.uids("jobs.batch") == {job.uid}
        assert await w.uids("pods") == set()


async def test_no_window_orphans_without_a_selector_or_while_another_run_of_that_time_lives(
    make_world: MakeWorld,
) -> None:
    async with make_world(selector="app=evaluation") as w:
        w.start_run(lease_seconds=3600)
        w.start_run(run_id="alive", lease_seconds=3600)
        w.open_scope("all")
        await platform_job(w, "evaluation")
        await w.finished_job("unlabelled")
        die(w, w.run_id)
        assert (await sweep_and_clean(w)).of("orphan") == []
        w.worker = w.another_worker(selector="")
        w.say(e.RunFinished(), run_id="alive")
        assert (await sweep_and_clean(w)).of("orphan") == []
        w.worker = w.another_worker()
        assert len((await sweep_and_clean(w)).of("orphan")) == 1
        assert len(await w.uids("jobs.batch")) == 1


async def test_what_was_created_before_a_dead_runs_start_is_not_its_orphan(make_world: MakeWorld) -> None:
    async with make_world(selector="app=evaluation") as w:
        await platform_job(w, "older")
        w.start_run(lease_seconds=3600, ago_seconds=-2)
        w.open_scope("all")
        die(w, w.run_id)
        assert (await sweep_and_clean(w)).of("orphan") == []


async def test_what_somebody_tracked_is_nobodys_orphan(make_world: MakeWorld) -> None:
    async with make_world(selector="app=evaluation") as w:
        w.start_run(lease_seconds=3600)
        scope = w.open_scope("none")
        job = await platform_job(w, "evaluation")
        w.track(scope, job.ref)
        w.end(scope)
        die(w, w.run_id)
        assert (await sweep_and_clean(w)).of("orphan") == []
        assert job.uid in await w.uids("jobs.batch")


# ---- the age rule ------------------------------------------------------------------------------------------

AGED = {"age_selector": "app=evaluation", "age_hours": 1.0}


def a_run_of_long_ago(w: World, **more: Any) -> None:
    """The ledger is not empty, and nobody of it can have made what is made now."""
    w.start_run(ago_seconds=7200, **more)
    w.say(e.RunFinished(), ago_seconds=7000)
    w.ledger.unbeat("run", w.run_id)


async def two_hours_later(w: World) -> Any:
    w.clock.advance(hours=2)
    report = await w.worker.sweep()
    w.clock.advance(hours=1)
    await w.run_pass()
    return report


async def test_the_age_rule_takes_what_ended_long_ago_and_belongs_to_nobody(make_world: MakeWorld) -> None:
    async with make_world(**AGED) as w:
        a_run_of_long_ago(w)
        job = await platform_job(w, "old")
        pod = await w.pod("old-pod", "complete", meta={"labels": {"app": "evaluation"}})
        running = await w.running_job("runs", meta={"labels": {"app": "evaluation"}})
        other = await w.finished_job("other")

        async def ended() -> bool:
            status = await w.cluster.pod_status(pod.ref)
            return status is not None and status.finished

        await until(ended)
        assert (await w.worker.sweep()).items == []  # they have ended a moment ago
        report = await two_hours_later(w)
        assert {(item.uid, item.rule) for item in report.of("orphan")} == {
            (job.uid, "orphan-age"),
            (pod.uid, "orphan-age"),
        }
        assert await w.uids("jobs.batch") == {running.uid, other.uid}
        assert pod.uid not in await w.uids("pods")
        assert {event.rule for event in w.events(e.DeletionRequested)} == {"orphan-age"}
        assert [event.rule for event in w.events(e.PolicyApplied)] == ["orphan-age"]
        assert (await w.worker.sweep()).items == []


async def test_the_age_rule_counts_from_the_end_not_from_the_creation(make_world: MakeWorld) -> None:
    async with make_world(**AGED) as w:
        a_run_of_long_ago(w)
        job = await w.running_job("long", meta={"labels": {"app": "evaluation"}})
        await w.cluster.patch(job.ref, job.uid, {"spec": {"activeDeadlineSeconds": 3}})
        await w.until_finished("long")
        an_hour_after = job.created_at + timedelta(hours=1, seconds=1)
        w.clock.advance((an_hour_after - w.clock.now()).total_seconds())
        assert (await w.worker.sweep()).items == []
        w.clock.advance(60)
        assert [item.uid for item in (await w.worker.sweep()).of("orphan")] == [job.uid]


async def test_the_age_rule_names_the_tests_that_ran_when_it_was_created(make_world: MakeWorld) -> None:
    async with make_world(**AGED) as w:
        w.start_run(ago_seconds=60)
        scope = w.open_scope("none", test_id="the_likely_one", ago_seconds=60)
        await platform_job(w, "old")
        w.end(scope, ago_seconds=-2)
        w.say(e.RunFinished(), ago_seconds=-2)
        w.ledger.unbeat("run", w.run_id)
        report = await two_hours_later(w)
        assert [item.test_id for item in report.of("orphan")] == ["the_likely_one"]


async def test_the_age_rule_is_off_unless_it_is_set(make_world: MakeWorld) -> None:
    async with make_world() as w:
        a_run_of_long_ago(w)
        await platform_job(w, "old")
        assert (await two_hours_later(w)).items == []


@pytest.mark.parametrize(
    "why", ["empty", "live", "held", "tracked", "annotated", "other-ledger", "owned", "namespace"]
)
async def test_the_age_rule_leaves_alone(make_world: MakeWorld, why: str) -> None:
    not_here = {"allowed_namespaces": ["elsewhere"]} if why == "namespace" else {}
    async with make_world(**AGED, **not_here) as w:
        w.cluster.namespace = w.namespace  # looked at whatever the ledger says
        if why in ("live", "held"):
            w.start_run(lease_seconds=86400, ago_seconds=60)
        elif why != "empty":
            a_run_of_long_ago(w)
        meta: dict[str, Any] = {"labels": {"app": "evaluation"}}
        if why == "annotated":
            meta["annotations"] = {"preserve": "true"}
        if why == "other-ledger":
            meta["labels"]["cleanup-scheduler/ledger"] = "f" * 32
        if why == "owned":
            owner = await w.make("v1", "ConfigMap", "owner", data={})
            meta["ownerReferences"] = [
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "name": "owner",
                    "uid": owner.uid,
                    "controller": True,
                }
            ]
        job = await w.finished_job("old", meta=meta)
        if why == "tracked":
            scope = w.open_scope("none")
            w.track(scope, job.ref)
            w.end(scope)
        if why == "held":
            w.say(e.RunFinished(), ago_seconds=-2)
            w.ledger.unbeat("run", w.run_id)
            w.say(e.HoldRequested(who="ada"))
        report = await two_hours_later(w)
        assert report.of("orphan") == []
        assert job.uid in await w.uids("jobs.batch")


# ---- brakes ------------------------------------------------------------------------------------------------


async def test_more_orphans_than_the_brake_allows_need_force(make_world: MakeWorld) -> None:
    async with make_world(brake_max_deletions=2) as w:
        w.start_run()
        scope = w.open_scope("all")
        for number in range(3):
            await w.finished_job(f"leak-{number}", meta=labels(w, w.run_id, scope))
        die(w, w.run_id)
        report = await sweep_and_clean(w)
        assert (report.exit_code, "brake_max_deletions = 2" in report.brake) == (3, True)
        assert w.events(e.OrphanFound) == []
        await w.worker.sweep(force=True)
        assert (await w.run_pass()).exit_code == 3
        assert len(await w.uids("jobs.batch")) == 3
        assert (await w.run_pass(force=True)).exit_code == 0
        assert await w.uids("jobs.batch") == set()


async def test_a_share_of_orphans_beyond_the_brake_needs_force(make_world: MakeWorld) -> None:
    async with make_world(brake_max_share_percent=10.0) as w:
        w.start_run()
        scope = w.open_scope("all")
        await w.finished_job("leak", meta=labels(w, w.run_id, scope))
        die(w, w.run_id)
        report = await sweep_and_clean(w)
        assert (report.exit_code, "brake_max_share_percent = 10" in report.brake) == (3, True)


async def test_a_share_of_what_open_tests_have_beyond_the_brake_needs_force(make_world: MakeWorld) -> None:
    async with make_world(brake_max_share_percent=50.0) as w:
        w.start_run()
        ended, runs = w.open_scope("all"), w.open_scope("all")
        made = [await w.make("v1", "ConfigMap", f"c-{number}", data={}) for number in range(15)]
        w.track(ended, *(one.ref for one in made[:10]))
        w.track(runs, *(one.ref for one in made[10:]))
        w.end(ended)
        report = await w.run_pass()
        assert (report.exit_code, "brake_max_share_percent = 50 of 15" in report.brake) == (3, True)
        assert w.events(e.DeletionRequested) == []
        dry = await w.run_pass(dry_run=True)
        assert (dry.exit_code, len(dry.of("would-delete"))) == (3, 10)
        assert (await w.run_pass(force=True)).exit_code == 0
        assert len(w.events(e.DeletionRequested)) == 10


async def test_a_dry_run_says_what_it_would_do_and_why_and_does_nothing(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        due, dead = w.open_scope("all"), w.open_scope("all")
        job, abandoned = await w.finished_job("due"), await w.finished_job("abandoned")
        w.track(due, job.ref)
        w.track(dead, abandoned.ref)
        w.end(due)
        die(w, w.run_id)
        before = w.ledger.head().position
        report = await w.run_pass(dry_run=True)
        assert [(item.ref.name, item.rule) for item in report.of("would-delete")] == [
            ("due", "passed"),
            ("abandoned", "run-abandoned"),
        ]
        assert w.ledger.head().position == before
        assert await w.uids("jobs.batch") == {job.uid, abandoned.uid}
