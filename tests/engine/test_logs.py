"""Logs are in the archive before their pod is asked to go, or the report says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.resources import Level
from cleanup_scheduler.domain.state import ArchivedLog

from tests.engine.conftest import MakeWorld
from tests.engine.world import World, until
from tests.faults.proxy import answer

COMPLETE = "echo first words; echo last words"
# says something, waits to be told to go, and has something to say about that
ENDLESS = "trap 'echo last words; exit 0' TERM; echo first words; while true; do sleep 0.1; done"


def logs_of(w: World, scope_id: str) -> list[ArchivedLog]:
    return [log for resource in w.scope(scope_id).resources.values() for log in resource.logs]


def text_of(w: World, log: ArchivedLog) -> str:
    return w.ledger.archived(log.archive_id).decode()


def positions(w: World, kind: type[e.Event]) -> list[int]:
    return [event.position for event in w.ledger.follow() if isinstance(event.payload, kind)]


async def until_it_has_spoken(w: World, job: ObservedObject) -> None:
    [pod] = await w.until_running(job)
    await until_its_pod_has_spoken(w, pod)


async def until_its_pod_has_spoken(w: World, pod: ObservedObject) -> None:
    async def has_spoken() -> bool:
        text = await w.cluster.logs(pod.ref, "main", max_bytes=1000, timeout_seconds=5)
        return b"first words" in text.body

    await until(has_spoken)


@pytest.mark.needs("process_pods")
@pytest.mark.parametrize("level", ["pods", "all"])
async def test_the_log_of_a_finished_job_is_archived_before_its_pod_is_asked_to_go(
    make_world: MakeWorld, level: Level
) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope(level)
        job = await w.job("talks", template=w.under_test.process_template(COMPLETE))
        await w.until_finished("talks")
        w.track(scope, job.ref)
        w.end(scope)
        await w.run_pass()
        [log] = logs_of(w, scope)
        assert "first words" in text_of(w, log)
        assert "last words" in text_of(w, log)
        assert (log.container, log.owner, log.missing, log.truncated) == ("main", "job/talks", "", False)
        assert max(positions(w, e.LogsArchived)) < min(positions(w, e.DeletionRequested))
        assert await w.uids("pods") == set()


@pytest.mark.needs("process_pods")
@pytest.mark.parametrize("level", ["pods", "all"])
async def test_a_running_jobs_log_is_followed_to_its_last_words(make_world: MakeWorld, level: Level) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope(level)
        job = await w.job("talks", template=w.under_test.process_template(ENDLESS))
        await until_it_has_spoken(w, job)
        w.track(scope, job.ref)
        w.end(scope)
        await w.run_pass()
        assert await w.uids("pods") == set()
        [log] = logs_of(w, scope)
        assert "first words" in text_of(w, log)
        assert "last words" in text_of(w, log)
        first = min(positions(w, e.LogsArchived))
        assert first < min(positions(w, e.DeletionRequested)), (
            "what there was is kept before anything ends it"
        )


@pytest.mark.needs("process_pods")
async def test_a_suspended_jobs_last_words_are_in_the_ledger_before_it_says_that_the_pod_is_gone(
    make_world: MakeWorld,
) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("pods")
        job = await w.job("talks", template=w.under_test.process_template(ENDLESS))
        await until_it_has_spoken(w, job)
        w.track(scope, job.ref)
        w.end(scope)
        await w.run_pass()
        assert any("last words" in text_of(w, log) for log in logs_of(w, scope))
        assert max(positions(w, e.LogsArchived)) < min(positions(w, e.ResourceGone))


@pytest.mark.needs("process_pods")
@pytest.mark.parametrize("what", ["job", "pod"])
async def test_a_deleted_pods_last_words_are_in_the_ledger_before_it_says_that_the_pod_is_gone(
    make_world: MakeWorld, what: str
) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        template = w.under_test.process_template(ENDLESS)
        if what == "pod":
            tracked = pod = await w.make(
                "v1", "Pod", "talks", meta=template["metadata"], spec=template["spec"]
            )
        else:
            tracked = await w.job("talks", template=template)
            [pod] = await w.until_running(tracked)
        await until_its_pod_has_spoken(w, pod)
        w.track(scope, tracked.ref)
        w.end(scope)
        await w.run_pass()
        assert any("last words" in text_of(w, log) for log in logs_of(w, scope))
        gone = [
            event.position
            for event in w.ledger.follow()
            if isinstance(event.payload, e.ResourceGone) and event.payload.uid == pod.uid
        ]
        assert max(positions(w, e.LogsArchived)) < min(gone)


@pytest.mark.needs("process_pods")
async def test_a_failed_tests_log_is_kept_at_once_whatever_becomes_of_its_pod(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.job("talks", template=w.under_test.process_template(COMPLETE))
        await w.until_finished("talks")
        w.track(scope, job.ref)
        w.end(scope, "failed")
        await w.run_pass()
        assert w.resource(scope, job.ref).status == "preserved"
        [pod] = await w.cluster.pods_of(job)
        await w.delete_by_hand(pod)
        await w.run_pass()
        [log] = logs_of(w, scope)
        assert "last words" in text_of(w, log)
        w.clock.advance(hours=25)
        await w.run_pass()
        assert w.scope(scope).settled


@pytest.mark.needs("process_pods")
async def test_a_log_longer_than_the_limit_keeps_its_end_and_says_so(make_world: MakeWorld) -> None:
    async with make_world(max_log_bytes=2000) as w:
        w.start_run()
        scope = w.open_scope("all")
        script = "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; echo the end"
        job = await w.job("talks", template=w.under_test.process_template(script))
        await w.until_finished("talks")
        w.track(scope, job.ref)
        w.end(scope)
        await w.run_pass()
        [log] = logs_of(w, scope)
        assert (log.truncated, "the end" in text_of(w, log), log.size_bytes <= 2000) == (True, True, True)


async def test_a_log_that_cannot_be_had_delays_the_delete_twice_and_is_then_missing_with_the_reason(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        scope = w.open_scope("all")
        pod = await w.pod("talks", "complete")

        async def is_finished() -> bool:
            status = await w.cluster.pod_status(pod.ref)
            return status is not None and status.finished

        await until(is_finished)
        w.track(scope, pod.ref)
        w.end(scope)
        proxy.arm(answer(500, message="the kubelet is unwell"), path="/log", times=10)
        for _ in range(2):
            await w.run_pass()
            assert w.resource(scope, pod.ref).status == "failed"
            assert w.events(e.DeletionRequested) == []
            w.clock.advance(60)
        await w.run_pass()
        assert w.resource(scope, pod.ref).status == "gone"
        [log] = logs_of(w, scope)
        assert "the kubelet is unwell" in log.missing


@pytest.mark.needs("process_pods")
async def test_a_container_that_never_started_has_no_log_and_that_is_said(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        template = w.under_test.process_template(COMPLETE)
        [main] = template["spec"]["containers"]
        template["spec"]["initContainers"] = [{**main, "name": "first", "command": ["sleep", "600"]}]
        template["spec"]["terminationGracePeriodSeconds"] = 1
        pod = await w.make("v1", "Pod", "pending", meta=template["metadata"], spec=template["spec"])
        w.track(scope, pod.ref)
        w.end(scope)
        await w.run_pass()
        assert w.resource(scope, pod.ref).status == "gone"
        main_log, *_ = logs_of(w, scope)
        assert (main_log.container, "never started" in main_log.missing) == ("main", True)


async def test_nothing_is_read_when_archiving_is_off(make_world: MakeWorld, tmp_path: Path) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path, archive_logs=False) as proxy:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("talks")
        w.track(scope, job.ref)
        w.end(scope)
        await w.run_pass()
        assert w.scope(scope).settled
        assert [seen.path for seen in proxy.seen if seen.path.endswith("/log")] == []
        assert w.events(e.LogsArchived) == []
