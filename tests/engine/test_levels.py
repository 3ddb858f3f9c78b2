"""What each level does to Jobs and pods, on a cluster that answers for itself."""

from __future__ import annotations

from cleanup_scheduler.domain import events as e

from tests.engine.conftest import MakeWorld
from tests.engine.world import World
from tests.witness import deletes


async def test_level_all_deletes_the_job_and_its_pods(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        w.end(scope)
        report = await w.run_pass()
        assert report.exit_code == 0, report.summary()
        assert await w.uids("pods") == set()
        assert await w.uids("jobs.batch") == set()
        assert w.resource(scope, job.ref).status == "gone"
        assert w.scope(scope).settled


async def test_level_pods_deletes_the_pods_of_a_finished_job_and_keeps_the_job(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("pods")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        w.end(scope)
        await w.run_pass()
        assert await w.uids("pods") == set()
        status = await w.cluster.job_status(job.ref)
        assert status is not None
        assert status.finished == "succeeded"
        kept = w.resource(scope, job.ref)
        assert (kept.status, kept.rule) == ("kept", "level-pods")


async def test_a_running_job_at_level_pods_is_suspended_and_no_new_pod_appears(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("pods")
        job = await w.running_job("endless", backoffLimit=6)
        pods = {pod.uid for pod in await w.cluster.pods_of(job)}
        w.track(scope, job.ref)
        w.end(scope)
        await w.run_pass()
        status = await w.cluster.job_status(job.ref)
        assert status is not None
        assert (status.suspended, status.finished, status.failed) == (True, "", 0)
        assert await w.uids("pods") == set()
        suspended = w.events(e.JobSuspended)
        assert [set(event.pod_uids) for event in suspended] == [pods]
        requested = {event.uid for event in w.events(e.DeletionRequested) if event.by_suspension}
        assert requested == pods


async def test_level_none_leaves_everything_and_says_so_once(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("none")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        w.end(scope)
        for _ in range(3):
            await w.run_pass()
        assert len(w.events(e.ResourceKept)) == 1
        assert len(w.events(e.PolicyApplied)) == 1
        assert await w.uids("jobs.batch") == {job.uid}
        assert len(await w.uids("pods")) == 1


async def test_a_tracked_pod_is_deleted_at_level_pods(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("pods")
        pod = await w.pod("alone")
        w.track(scope, pod.ref)
        w.end(scope)
        await w.run_pass()
        assert await w.uids("pods") == set()
        assert w.resource(scope, pod.ref).status == "gone"


async def test_a_tracked_pod_that_a_running_job_would_replace_is_kept_with_the_reason(
    make_world: MakeWorld,
) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.running_job("endless")
        [pod] = await w.cluster.pods_of(job)
        w.track(scope, pod.ref)
        w.end(scope)
        await w.run_pass()
        kept = w.resource(scope, pod.ref)
        assert (kept.status, kept.rule) == ("kept", "would-be-replaced")
        assert "job/endless" in kept.reason
        assert await w.uids("pods") == {pod.uid}


async def test_a_job_and_its_pod_tracked_together_are_each_requested_once(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation")
        [pod] = await w.cluster.pods_of(job)
        w.track(scope, job.ref, pod.ref)
        await w.run_pass()
        w.end(scope)
        await w.run_pass()
        assert [w.resource(scope, ref).status for ref in (job.ref, pod.ref)] == ["gone", "gone"]
        assert sorted(d.uid for d in deletes(w.under_test, w.namespace)) == sorted([job.uid, pod.uid])


async def test_other_kinds_are_deleted_at_level_all_and_kept_at_level_pods(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        kept_scope, all_scope = w.open_scope("pods"), w.open_scope("all")
        kept = await w.make("v1", "ConfigMap", "kept", data={"a": "b"})
        gone = await w.make("v1", "ConfigMap", "gone", data={"a": "b"})
        w.track(kept_scope, kept.ref)
        w.track(all_scope, gone.ref)
        w.end(kept_scope)
        w.end(all_scope)
        await w.run_pass()
        assert w.resource(kept_scope, kept.ref).rule == "level-pods"
        assert w.resource(all_scope, gone.ref).status == "gone"
        left = await w.uids("configmaps")
        assert (kept.uid in left, gone.uid in left) == (True, False)


async def test_a_deployment_keeps_its_pods_at_level_pods_and_goes_with_them_at_level_all(
    make_world: MakeWorld,
) -> None:
    async with make_world() as w:
        w.start_run()
        deployment = await w.make("apps/v1", "Deployment", "api", spec=deployment_spec(w))
        scope = w.open_scope("pods")
        w.track(scope, deployment.ref)
        w.end(scope)
        await w.run_pass()
        kept = w.resource(scope, deployment.ref)
        assert (kept.status, kept.rule, "replaced" in kept.reason) == ("kept", "level-pods", True)
        assert await w.uids("deployments.apps") == {deployment.uid}
        w.say(e.ReleaseRequested(who="ada", resource=deployment.ref, level="all"), scope_id=scope)
        for _ in range(3):
            await w.run_pass()
        assert await w.uids("deployments.apps") == set()
        assert await w.uids("pods") == set()
        assert w.scope(scope).settled


def deployment_spec(w: World) -> dict[str, object]:
    template = w.under_test.simulated_template("run", restartPolicy="Always")
    template["metadata"]["labels"] = {"of": "api"}
    return {"replicas": 2, "selector": {"matchLabels": {"of": "api"}}, "template": template}


async def test_a_hundred_jobs_of_one_test_are_cleaned_in_one_pass(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        jobs = [await w.job(f"job-{number}") for number in range(100)]
        for job in jobs:
            await w.until_finished(job.ref.name)
        w.track(scope, *(job.ref for job in jobs))
        w.end(scope)
        report = await w.run_pass()
        assert len(report.of("gone")) == 200
        assert await w.uids("pods") == set()
        assert w.scope(scope).settled


async def test_what_its_test_had_deleted_itself_is_gone_without_a_request(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref, w.ref("jobs.batch", "never-made"))
        await w.run_pass()
        await w.delete_by_hand(job)
        w.end(scope)
        await w.run_pass()
        assert w.resource(scope, job.ref).reason == "found-gone"
        assert w.resource(scope, w.ref("jobs.batch", "never-made")).reason == "never-seen"
        assert w.events(e.DeletionRequested) == []


async def test_a_failed_test_is_preserved_and_then_cleaned_as_if_it_had_passed(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        w.end(scope, "failed")
        await w.run_pass()
        await w.run_pass()
        assert w.resource(scope, job.ref).status == "preserved"
        assert len(w.events(e.ResourcePreserved)) == 1
        w.clock.advance(hours=23.9)
        await w.run_pass()
        assert job.uid in await w.uids("jobs.batch")
        w.clock.advance(hours=0.2)
        await w.run_pass()
        assert await w.uids("jobs.batch") == set()


async def test_a_failed_test_that_was_forced_is_cleaned_at_once(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        w.end(scope, "failed", forced=True)
        await w.run_pass()
        assert await w.uids("jobs.batch") == set()


async def test_a_release_cleans_what_a_failure_preserved(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("pods")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        w.end(scope, "failed")
        await w.run_pass()
        w.say(e.ReleaseRequested(who="ada", resource=job.ref, level="all"), scope_id=scope)
        await w.run_pass()
        assert await w.uids("jobs.batch") == set()
        assert w.scope(scope).settled
