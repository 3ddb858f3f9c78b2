"""Traps that other cleaners fell into, one test each; ``docs/compared.md`` says where the others are tested.

Every test names the report from which the trap is known.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.settings import Settings

from tests.engine.conftest import MakeWorld
from tests.engine.test_sweeping import die, labels, sweep_and_clean
from tests.engine.world import World
from tests.faults.proxy import answer, in_pages_of, unfiltered

MANY = 10_000  # more requests than any test sends


async def idle_job(w: World, name: str, **meta: object) -> ObservedObject:
    """A Job without pods."""
    return await w.job(name, suspend=True, meta=meta or None)


async def test_a_filter_that_the_server_ignores_is_applied_on_our_side(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    """An old server ignored the label filter and 58 foreign volumes went: moby-ryuk 32."""
    async with make_world() as w, w.through_a_proxy(tmp_path, selector="app=evaluation") as proxy:
        w.start_run(lease_seconds=3600)
        scope = w.open_scope("all")
        tracked = await idle_job(w, "tracked")
        w.track(scope, tracked.ref)
        foreign = {
            (await idle_job(w, "foreign", labels={"app": "web"})).uid,
            (await idle_job(w, "bare")).uid,
            (await idle_job(w, "elsewhere", **labels(w, w.run_id, "another-scope"))).uid,
        }
        orphan = await idle_job(w, "orphan", labels={"app": "evaluation"})
        proxy.arm(unfiltered(), method="GET", times=MANY)
        w.end(scope)
        await w.run_pass()
        assert await w.uids("jobs.batch") == {*foreign, orphan.uid}
        die(w, w.run_id)
        report = await sweep_and_clean(w)
        assert {item.ref.name for item in report.of("orphan")} == {"orphan", "elsewhere"}
        assert {"foreign", "bare"} == {seen.ref.name for seen in await left(w)}


async def left(w: World) -> list[ObservedObject]:
    return [seen async for seen in w.cluster.list("jobs.batch", w.namespace)]


async def test_a_create_in_flight_that_lands_after_not_found_is_cleaned_or_named(
    make_world: MakeWorld,
) -> None:
    """The test was interrupted while its create was on the way: inspect_k8s_sandbox 75."""
    async with make_world() as w:
        w.start_run(ago_seconds=10)
        scope, slow = w.open_scope("all", ago_seconds=10), w.open_scope("all", ago_seconds=10)
        w.track(scope, w.ref("jobs.batch", "late"))
        w.track(slow, w.ref("jobs.batch", "too-late"))
        w.end(scope, "interrupted", ago_seconds=-4)
        w.end(slow, "interrupted", ago_seconds=3)
        report = await w.run_pass()
        assert [item.rule for item in report.of("waiting")] == ["create-in-flight"] * 2
        assert not w.scope(scope).settled
        late, too_late = await idle_job(w, "late"), await idle_job(w, "too-late")
        await w.run_pass()
        assert w.resource(scope, late.ref).status == "gone"
        # younger than its test's end by more than the API's whole seconds: it may be anybody's
        kept = w.resource(slow, too_late.ref)
        assert (kept.status, kept.rule) == ("kept", "created-after-scope")
        assert await w.uids("jobs.batch") == {too_late.uid}


async def test_a_worker_that_met_trouble_more_than_ten_times_goes_on(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    """Policies stopped for good after ten errors in a row: kyverno 15972."""
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        scope = w.open_scope("all")
        job = await idle_job(w, "patient")
        w.track(scope, job.ref)
        w.end(scope)
        proxy.arm(answer(500, message="etcd is unwell"), times=MANY)
        for _ in range(12):
            report = await w.run_pass()
            assert "etcd is unwell" in report.out_of_reach
        proxy.disarm()
        await w.run_pass()
        assert w.resource(scope, job.ref).status == "gone"
        assert w.events(e.DeletionFailed) == []


async def test_counters_count_what_is_gone_and_not_what_was_asked_for(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    """Failed deletes counted as deleted (kube-janitor), and counted before deleting (k8s-cleaner)."""
    settings = {"max_attempts": 1, "confirm_seconds": 0.0}
    async with make_world(**settings) as w, w.through_a_proxy(tmp_path, **settings) as proxy:
        w.start_run()
        scope = w.open_scope("all")
        held = await idle_job(w, "held", finalizers=["example.com/hold"])
        refused, good = await idle_job(w, "refused"), await idle_job(w, "good")
        w.track(scope, held.ref, refused.ref, good.ref)
        w.end(scope)
        proxy.arm(answer(400, message="no"), method="DELETE", path="/jobs/refused")
        report = await w.run_pass()
        gone = {item.ref.name for item in report.of("gone")}
        assert gone == {"good"}
        assert "gone" not in {w.resource(scope, ref).status for ref in (held.ref, refused.ref)}
        w.clock.advance(600)
        await w.run_pass()
        [applied] = w.events(e.PolicyApplied)
        assert (applied.gone, applied.given_up) == (1, 2)
        await w.cluster.patch(held.ref, held.uid, {"metadata": {"finalizers": None}})


async def test_the_defaults_delete_nothing_that_nobody_named(make_world: MakeWorld) -> None:
    """A copied example defaulted to Delete: k8s-cleaner 397."""
    default = Settings()
    assert (default.selector, default.allowed_kinds, default.resource_cleanup) == ("", [], None)
    async with make_world() as w:
        w.start_run(lease_seconds=3600)
        scope = w.open_scope("all")
        kept = {
            (await idle_job(w, "platform", labels={"app": "evaluation"})).uid,
            (await idle_job(w, "old")).uid,
        }
        w.end(scope)
        die(w, w.run_id)
        w.clock.advance(24 * 3600)
        report = await sweep_and_clean(w)
        assert report.items == []
        assert await w.uids("jobs.batch") == kept


async def test_every_list_is_read_in_pages_to_its_end_as_metadata(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    """No paging: out of memory hourly for days (hawk 1731, 1787). And the later pages count too."""
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run(lease_seconds=3600)
        done = w.open_scope("all")
        w.end(done)
        for index in range(7):
            await idle_job(w, f"leak-{index}", **labels(w, w.run_id, done))
        tracking = w.open_scope("all")
        for index in range(9):
            w.track(tracking, (await idle_job(w, f"tracked-{index}")).ref)
        w.end(tracking)
        proxy.arm(in_pages_of(2), method="GET", path="/jobs", times=MANY)
        await w.run_pass()
        report = await w.worker.sweep()
        assert len(report.of("orphan")) == 7
        await w.run_pass()
        assert await w.uids("jobs.batch") == set()
        lists = [
            seen for seen in proxy.seen if seen.method == "GET" and seen.path.endswith(("/jobs", "/pods"))
        ]
        assert any("continue" in seen.query for seen in lists)
        for seen in lists:
            assert int(seen.query["limit"]) <= 500
            assert "as=PartialObjectMetadataList" in seen.headers["Accept"]


async def test_every_delete_is_a_line_at_info_with_its_facts(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Deletes were logged at DEBUG while 215 volumes leaked: tektoncd plumbing 3374."""
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all", test_id="test_of_the_log")
        job = await idle_job(w, "logged")
        w.track(scope, job.ref)
        w.end(scope)
        with caplog.at_level(logging.INFO, logger="cleanup_scheduler"):
            await w.run_pass()
        lines = [text for text in caplog.messages if text.startswith("gone ")]
        assert len(lines) == 1
        for fact in ("job/logged", w.namespace, job.uid, "test_of_the_log", "passed"):
            assert fact in lines[0]


async def test_what_is_tracked_is_remembered_until_it_is_known_to_be_gone(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    """What was tracked was cleared first and failed then: inspect_k8s_sandbox 227."""
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        scope = w.open_scope("all")
        job = await idle_job(w, "stubborn")
        w.track(scope, job.ref)
        w.end(scope)
        proxy.arm(answer(500), method="DELETE", path="/jobs/stubborn", times=2)
        await w.run_pass()
        w.worker = w.another_worker()  # the first one dies, and with it all that it remembered
        w.clock.advance(600)
        await w.run_pass()
        failed = w.resource(scope, job.ref)
        assert (failed.status, failed.attempts, failed.uid) == ("failed", 2, job.uid)
        w.clock.advance(600)
        await w.run_pass()
        assert w.resource(scope, job.ref).status == "gone"
