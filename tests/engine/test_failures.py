"""What the API refuses, delays, drops or keeps: each failure stays with its resource and is said in words."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.resources import ResourceRef

from tests.contracts.kubernetes.wire import Api
from tests.engine.conftest import MakeWorld
from tests.engine.world import World
from tests.faults.proxy import answer, reset
from tests.witness import deletes


async def due_jobs(w: World, *names: str) -> str:
    """One scope that is due, with these finished Jobs."""
    scope = w.open_scope("all")
    for name in names:
        w.track(scope, (await w.finished_job(name)).ref)
    w.end(scope)
    return scope


def status(w: World, scope: str, name: str) -> str:
    return w.resource(scope, w.ref("jobs.batch", name)).status


async def test_a_poison_resource_waits_for_its_next_attempt_and_delays_no_other(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        scope = await due_jobs(w, "poison", "good")
        proxy.arm(answer(500), method="DELETE", path="/jobs/poison", times=1)
        report = await w.run_pass()
        assert report.exit_code == 1
        assert (status(w, scope, "poison"), status(w, scope, "good")) == ("failed", "gone")
        before = w.resource(scope, w.ref("jobs.batch", "poison")).retry_at
        await w.run_pass()
        assert status(w, scope, "poison") == "failed", "it is not due yet"
        assert before is not None
        w.clock.advance((before - w.clock.now()).total_seconds() + 0.1)
        await w.run_pass()
        assert status(w, scope, "poison") == "gone"


async def test_after_the_last_attempt_it_is_given_up_with_a_diagnosis_and_a_release_retries_it(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world(max_attempts=3) as w, w.through_a_proxy(tmp_path, max_attempts=3) as proxy:
        w.start_run()
        scope = await due_jobs(w, "poison")
        proxy.arm(answer(500, message="etcd is unwell"), method="DELETE", path="/jobs/poison", times=3)
        for _ in range(4):
            await w.run_pass()
            w.clock.advance(600)
        [given_up, pod_of_it] = w.events(e.DeletionGivenUp)
        assert "job/poison was given up" in pod_of_it.diagnosis
        assert (given_up.attempts, "etcd is unwell" in given_up.diagnosis) == (3, True)
        assert w.scope(scope).settled
        w.say(e.ReleaseRequested(who="ada", resource=w.ref("jobs.batch", "poison")), scope_id=scope)
        await w.run_pass()
        assert status(w, scope, "poison") == "gone"


async def test_the_pauses_between_attempts_grow(make_world: MakeWorld, tmp_path: Path) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        await due_jobs(w, "poison")
        proxy.arm(answer(500), method="DELETE", path="/jobs/poison", times=4)
        pauses = []
        for _ in range(4):
            await w.run_pass()
            failed = w.events(e.DeletionFailed)[-1]
            pauses.append((failed.retry_at - w.clock.now()).total_seconds())
            w.clock.advance(pauses[-1] + 0.1)
        assert [0.5 * 2**n - 0.1 <= pause <= 1.0 * 2**n for n, pause in enumerate(pauses)] == [True] * 4


async def test_too_many_requests_waits_as_long_as_the_server_asks_and_uses_no_attempt_up(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path, max_attempts=2) as proxy:
        w.start_run()
        scope = await due_jobs(w, "throttled")
        throttle = answer(429, headers={"Retry-After": "90"})
        proxy.arm(throttle, method="DELETE", path="/jobs/throttled", times=3)
        for _ in range(3):
            await w.run_pass()
            failed = w.events(e.DeletionFailed)[-1]
            assert failed.retry_at - w.clock.now() >= timedelta(seconds=89)
            w.clock.advance(95)
        await w.run_pass()
        assert status(w, scope, "throttled") == "gone"


async def test_what_an_admission_webhook_refuses_is_given_up_at_once_in_its_words(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        scope = await due_jobs(w, "refused")
        words = 'admission webhook "keep.example.com" denied the request: it is Friday'
        proxy.arm(answer(400, message=words), method="DELETE", path="/jobs/refused")
        await w.run_pass()
        assert status(w, scope, "refused") == "given-up"
        assert "it is Friday" in w.resource(scope, w.ref("jobs.batch", "refused")).reason


async def test_a_missing_permission_is_named_with_its_verb_and_resource(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        scope = await due_jobs(w, "forbidden")
        message = 'jobs.batch "forbidden" is forbidden: User "worker" cannot delete resource "jobs"'
        proxy.arm(answer(403, reason="Forbidden", message=message), method="DELETE", path="/jobs/forbidden")
        report = await w.run_pass()
        [failed] = report.of("failed")
        assert "delete" in failed.reason
        assert "jobs" in failed.reason
        assert status(w, scope, "forbidden") == "failed"


async def test_a_conflict_is_looked_at_again(make_world: MakeWorld, tmp_path: Path) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        scope = await due_jobs(w, "busy")
        proxy.arm(answer(409, reason="Conflict"), method="DELETE", path="/jobs/busy")
        await w.run_pass()
        w.clock.advance(60)
        await w.run_pass()
        assert status(w, scope, "busy") == "gone"


async def test_a_delete_whose_answer_was_lost_is_confirmed_by_looking(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        scope = await due_jobs(w, "lost-answer")
        proxy.arm(reset(after_the_cluster_did_it=True), method="DELETE", path="/jobs/lost-answer")
        await w.run_pass()
        w.clock.advance(60)
        await w.run_pass()
        assert status(w, scope, "lost-answer") == "gone"
        assert w.scope(scope).settled
        assert await w.uids("pods") == set()


async def test_a_cluster_out_of_reach_ends_the_pass_uses_no_attempt_up_and_frees_the_claim(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        scope = await due_jobs(w, "one", "two", "three")
        proxy.arm(answer(503), times=1000)
        before = len(proxy.seen)
        report = await w.run_pass()
        assert report.exit_code == 4
        assert "out of reach" in report.out_of_reach
        assert len(proxy.seen) - before < 20, "it does not spin"
        assert w.events(e.DeletionFailed) == []
        claim = w.ledger.claim(scope, holder="somebody", lease_seconds=10)
        assert claim is not None
        w.ledger.release(claim)
        proxy.disarm()
        assert (await w.run_pass()).exit_code == 0
        assert w.scope(scope).settled


async def test_refused_credentials_end_the_pass_and_say_so(make_world: MakeWorld, tmp_path: Path) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        await due_jobs(w, "one")
        proxy.arm(answer(401, reason="Unauthorized"), times=1000)
        report = await w.run_pass()
        assert (report.exit_code, "credentials" in report.out_of_reach) == (4, True)
        assert w.events(e.DeletionFailed) == []


async def test_garbage_from_the_cluster_is_that_resources_failure(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        scope = await due_jobs(w, "garbage")
        await due_jobs(w, "good")
        garbage = answer(200, body=b"<html>login</html>", content_type="text/html")
        proxy.arm(garbage, path="/jobs/garbage", times=100)
        await w.run_pass()
        proxy.disarm()
        assert status(w, scope, "garbage") == "failed"
        assert w.ref("jobs.batch", "good") not in [
            job.ref async for job in w.cluster.list("jobs", w.namespace)
        ]
        w.clock.advance(60)
        await w.run_pass()
        assert await w.uids("jobs.batch") == set()


async def test_a_kind_that_does_not_exist_is_that_resources_failure_and_names_the_nearest(
    make_world: MakeWorld,
) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("good")
        w.track(scope, w.ref("jobz", "typo"), job.ref)
        w.end(scope)
        report = await w.run_pass()
        [failed] = report.of("failed")
        assert "jobz" in failed.reason
        assert "jobs" in failed.reason
        assert await w.uids("jobs.batch") == set()


async def test_a_namespace_that_may_not_be_read_is_that_resources_failure(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path) as proxy:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("good")
        elsewhere = ResourceRef(w.cluster.name, "not-ours", "jobs.batch", "x")
        message = 'jobs.batch "x" is forbidden: User "worker" cannot get resource "jobs" in not-ours'
        proxy.arm(answer(403, reason="Forbidden", message=message), path="/namespaces/not-ours/", times=9)
        w.track(scope, elsewhere, job.ref)
        w.end(scope)
        report = await w.run_pass()
        [failed] = report.of("failed")
        assert "not-ours" in failed.reason
        assert w.resource(scope, elsewhere).status == "failed"
        assert w.resource(scope, job.ref).status == "gone"


async def test_a_namespace_that_is_gone_or_on_its_way_out_stops_nothing_else(make_world: MakeWorld) -> None:
    async with make_world(confirm_seconds=0.5) as w:
        w.start_run()
        namespace = await w.cluster.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{w.namespace}-ends"}}
        )
        held = {"name": "held", "finalizers": ["example.com/hold"]}
        inside = await w.cluster.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": held, "data": {}}, namespace.ref.name
        )
        w.by_hand.add(namespace.uid)
        await w.cluster.delete(namespace.ref, namespace.uid)
        scope = w.open_scope("all")
        job = await w.finished_job("good")
        gone = ResourceRef(w.cluster.name, "no-such-namespace", "jobs.batch", "x")
        w.track(scope, inside.ref, gone, job.ref)
        w.end(scope)
        await w.run_pass()
        statuses = [w.resource(scope, ref).status for ref in (inside.ref, gone, job.ref)]
        assert statuses == ["deleting", "gone", "gone"]
        assert w.resource(scope, gone).reason == "never-seen"
        await w.cluster.patch(inside.ref, inside.uid, {"metadata": {"finalizers": None}})
        w.clock.advance(60)
        for _ in range(2):
            await w.run_pass()
        assert w.resource(scope, inside.ref).status == "gone"


async def test_a_stuck_finalizer_is_reported_never_removed_and_gone_when_somebody_does(
    make_world: MakeWorld,
) -> None:
    async with make_world(confirm_seconds=0.5, max_attempts=3) as w:
        w.start_run()
        scope = w.open_scope("all")
        stuck = await w.make("v1", "ConfigMap", "stuck", meta={"finalizers": ["example.com/hold"]}, data={})
        w.track(scope, stuck.ref)
        w.end(scope)
        await w.run_pass()
        assert w.resource(scope, stuck.ref).status == "deleting"
        w.clock.advance(60)
        await w.run_pass()
        failed = w.resource(scope, stuck.ref)
        assert failed.status == "failed"
        assert "finalizer example.com/hold (set by" in failed.reason
        for _ in range(4):
            w.clock.advance(600)
            await w.run_pass()
        assert w.resource(scope, stuck.ref).status == "given-up"
        assert [d.name for d in deletes(w.under_test, w.namespace)].count("stuck") == 1
        seen = await w.cluster.get(stuck.ref)
        assert seen is not None
        assert seen.finalizers == ["example.com/hold"]
        await w.cluster.patch(stuck.ref, stuck.uid, {"metadata": {"finalizers": None}})
        w.say(e.ReleaseRequested(who="ada", resource=stuck.ref), scope_id=scope)
        await w.run_pass()
        assert w.resource(scope, stuck.ref).status == "gone"


@pytest.mark.needs("field_managers")
async def test_who_set_the_finalizer_that_holds_it_up_is_named(make_world: MakeWorld) -> None:
    async with make_world(confirm_seconds=0.5) as w:
        w.start_run()
        scope = w.open_scope("all")
        stuck = await w.make("v1", "ConfigMap", "stuck", data={"a": "b"})  # no fields: never managed
        api = Api(w.under_test.kubeconfig)
        path = f"/api/v1/namespaces/{w.namespace}/configmaps/stuck"
        finalizers = {"metadata": {"finalizers": ["example.com/hold"]}}
        api.patch(path, finalizers, fieldManager="the-volume-operator").ok()
        api.close()
        w.track(scope, stuck.ref)
        w.end(scope)
        await w.run_pass()
        w.clock.advance(60)
        await w.run_pass()
        reason = w.resource(scope, stuck.ref).reason
        assert "example.com/hold (set by the-volume-operator)" in reason
        assert f"kubectl edit configmap/stuck -n {w.namespace}" in reason
        await w.cluster.patch(stuck.ref, stuck.uid, {"metadata": {"finalizers": None}})


async def test_a_pod_given_up_below_a_job_at_level_pods_leaves_the_job_kept_and_the_scope_settled(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, w.through_a_proxy(tmp_path, max_attempts=2) as proxy:
        w.start_run()
        scope = w.open_scope("pods")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        w.end(scope)
        proxy.arm(answer(500), method="DELETE", path="/pods/", times=2)
        for _ in range(4):
            await w.run_pass()
            w.clock.advance(600)
        statuses = {r.ref.kind: r.status for r in w.scope(scope).resources.values()}
        assert statuses == {"jobs.batch": "kept", "pods": "given-up"}
        assert w.scope(scope).settled
        w.say(e.ReleaseRequested(who="ada", resource=job.ref), scope_id=scope)
        await w.run_pass()
        await w.run_pass()
        assert await w.uids("pods") == set()
