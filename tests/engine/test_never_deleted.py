"""What is never deleted, one test for each line of the promise; names are used again meanwhile."""

from __future__ import annotations

from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.objects import ObservedObject

from tests.engine.conftest import MakeWorld
from tests.engine.world import World


async def is_untouched(w: World, seen: ObservedObject) -> bool:
    now = await w.cluster.get(seen.ref)
    return now is not None and now.uid == seen.uid and now.deletion_timestamp is None


async def test_another_uid_under_the_same_name(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        first = await w.finished_job("evaluation")
        w.track(scope, first.ref)
        await w.run_pass()  # the uid is recorded as soon as it is seen
        await w.delete_by_hand(first)
        second = await w.finished_job("evaluation")
        assert second.uid != first.uid
        w.end(scope)
        await w.run_pass()
        assert await is_untouched(w, second)
        assert w.resource(scope, first.ref).status == "gone"


async def test_another_uid_that_took_the_name_after_the_delete_was_requested(make_world: MakeWorld) -> None:
    """The worker died between the request and the call; the name was used again before the next one came."""
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        first = await w.finished_job("evaluation")
        w.track(scope, first.ref)
        w.end(scope)
        w.say(e.ResourceObserved(resource=first.ref, uid=first.uid), scope_id=scope)
        w.say(e.DeletionRequested(resource=first.ref, uid=first.uid, rule="passed"), scope_id=scope)
        await w.delete_by_hand(first)
        second = await w.finished_job("evaluation")
        await w.run_pass()
        assert await is_untouched(w, second)
        assert w.resource(scope, first.ref).status == "gone"


async def test_a_name_tracked_again_by_the_same_test_means_the_new_object(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        first = await w.finished_job("evaluation")
        w.track(scope, first.ref)
        await w.run_pass()
        await w.delete_by_hand(first)
        second = await w.finished_job("evaluation")
        w.track(scope, second.ref)
        w.end(scope)
        await w.run_pass()
        assert not await is_untouched(w, second)
        assert await w.uids("jobs.batch") == set()


async def test_what_an_open_scope_of_a_live_run_tracks(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        await w.run_pass()
        await w.run_pass()
        assert await is_untouched(w, job)


async def test_what_another_open_test_tracks_too_until_that_one_ends(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        mine, theirs = w.open_scope("all"), w.open_scope("all", test_id="another_test")
        job = await w.finished_job("shared")
        w.track(mine, job.ref)
        w.track(theirs, job.ref)
        w.end(mine)
        report = await w.run_pass()
        assert await is_untouched(w, job)
        assert [(item.rule, "another_test" in item.reason) for item in report.of("waiting")] == [
            ("shared-open", True)
        ]
        w.end(theirs)
        await w.run_pass()
        await w.run_pass()
        assert await w.uids("jobs.batch") == set()
        assert w.resource(mine, job.ref).status == "gone"
        assert w.resource(theirs, job.ref).status == "gone"


async def test_the_pod_of_a_due_job_that_another_open_test_tracks(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        mine, theirs = w.open_scope("all"), w.open_scope("all", test_id="another_test")
        job = await w.finished_job("shared")
        [pod] = await w.cluster.pods_of(job)
        w.track(mine, job.ref)
        w.track(theirs, pod.ref)
        w.end(mine)
        await w.run_pass()
        assert await is_untouched(w, pod)
        assert await is_untouched(w, job)


async def test_what_is_held_until_the_hold_is_lifted(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        w.say(e.HoldRequested(who="ada", why="look at it", resource=job.ref), scope_id=scope)
        w.end(scope)
        await w.run_pass()
        await w.run_pass()
        assert await is_untouched(w, job)
        assert (w.resource(scope, job.ref).status, w.resource(scope, job.ref).rule) == ("kept", "hold")
        w.say(e.HoldLifted(who="ada", resource=job.ref), scope_id=scope)
        await w.run_pass()
        assert await w.uids("jobs.batch") == set()


async def test_what_is_held_with_its_whole_run(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation")
        w.track(scope, job.ref)
        w.say(e.HoldRequested(who="ada"))
        w.end(scope)
        await w.run_pass()
        assert await is_untouched(w, job)
        w.say(e.HoldLifted(who="ada"))
        await w.run_pass()
        assert await w.uids("jobs.batch") == set()


async def test_a_held_pod_of_a_job_that_is_due(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation")
        [pod] = await w.cluster.pods_of(job)
        w.track(scope, job.ref)
        w.say(e.ResourceObserved(resource=pod.ref, uid=pod.uid, owner=job.ref), scope_id=scope)
        w.say(e.HoldRequested(who="ada", resource=pod.ref), scope_id=scope)
        w.end(scope)
        await w.run_pass()
        assert await is_untouched(w, pod)
        assert await is_untouched(w, job)


async def test_what_a_failed_test_preserves_and_has_not_expired(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        failed, passed = w.open_scope("all"), w.open_scope("all")
        job = await w.finished_job("evaluation")
        w.track(failed, job.ref)
        w.track(passed, job.ref)
        w.end(failed, "failed")
        w.end(passed)
        await w.run_pass()
        await w.run_pass()
        assert await is_untouched(w, job)


async def test_what_carries_an_annotation_that_preserves_it(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        names = {"a": "cleanup-scheduler/preserve", "b": "preserve", "c": "debug"}
        for job_name, annotation in names.items():
            scope = w.open_scope("all")
            job = await w.finished_job(job_name, meta={"annotations": {annotation: "true"}})
            w.track(scope, job.ref)
            w.end(scope)
            await w.run_pass()
            assert await is_untouched(w, job)
            assert w.resource(scope, job.ref).rule == "protected-annotation"


async def test_a_pod_whose_annotation_preserves_it_and_the_running_job_above_it(
    make_world: MakeWorld,
) -> None:
    async with make_world() as w:
        w.start_run()
        for level in ("pods", "all"):
            scope = w.open_scope(level)
            template = w.under_test.simulated_template("run")
            template["metadata"]["annotations"]["preserve"] = "true"
            job = await w.running_job(f"at-{level}", template=template)
            [pod] = await w.cluster.pods_of(job)
            w.track(scope, job.ref)
            w.end(scope)
            await w.run_pass()
            assert await is_untouched(w, pod)
            assert await is_untouched(w, job)
            status = await w.cluster.job_status(job.ref)
            assert status is not None
            assert not status.suspended
            assert pod.ref.name in w.resource(scope, job.ref).reason


async def test_what_is_in_a_protected_or_not_allowed_namespace(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        rules = {
            "protected-namespace": {"protected_namespaces": [w.namespace]},
            "namespace-not-allowed": {"allowed_namespaces": ["elsewhere"]},
        }
        for rule, settings in rules.items():
            scope = w.open_scope("all")
            job = await w.finished_job(rule)
            w.track(scope, job.ref)
            w.end(scope)
            w.worker = w.another_worker(**settings)
            await w.run_pass()
            assert await is_untouched(w, job)
            assert w.resource(scope, job.ref).rule == rule


async def test_secrets_and_claims_unless_the_configuration_names_their_kind(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        secret = await w.make("v1", "Secret", "password", stringData={"a": "b"})
        w.track(scope, secret.ref)
        w.end(scope)
        await w.run_pass()
        assert await is_untouched(w, secret)
        assert w.resource(scope, secret.ref).rule == "kind-not-allowed"
        w.worker = w.another_worker(allowed_kinds=["secret"])
        w.say(e.ReleaseRequested(who="ada", resource=secret.ref), scope_id=scope)
        await w.run_pass()
        assert w.resource(scope, secret.ref).status == "gone"


async def test_what_was_created_after_its_scope_had_ended(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run(ago_seconds=60)
        scope = w.open_scope("all", ago_seconds=50)
        w.track(scope, w.ref("jobs.batch", "evaluation"))
        w.end(scope, ago_seconds=10)
        job = await w.finished_job("evaluation")
        await w.run_pass()
        assert await is_untouched(w, job)
        assert w.resource(scope, job.ref).rule == "created-after-scope"


async def test_what_was_created_after_its_run_had_died(make_world: MakeWorld) -> None:
    """The run died a day ago and is found dead now; the name was used again meanwhile."""
    async with make_world() as w:
        run = w.start_run(run_id="dead", ago_seconds=86400, lease_seconds=60)
        w.ledger.unbeat("run", run)
        scope = w.open_scope("all", run_id=run, ago_seconds=86000)
        w.track(scope, w.ref("jobs.batch", "evaluation"), run_id=run)
        job = await w.finished_job("evaluation")
        await w.run_pass()
        await w.run_pass()
        assert w.events(e.RunAbandoned)
        assert await is_untouched(w, job)


async def test_what_belongs_to_another_ledger(make_world: MakeWorld) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("all")
        job = await w.finished_job("evaluation", meta={"labels": {"cleanup-scheduler/ledger": "f" * 32}})
        w.track(scope, job.ref)
        w.end(scope)
        await w.run_pass()
        assert await is_untouched(w, job)
        assert w.resource(scope, job.ref).rule == "other-ledger"


async def test_an_object_with_the_name_from_before_the_test_is_not_taken_for_the_tests_own(
    make_world: MakeWorld,
) -> None:
    """A namesake stands when the test says what it is about to create, and is replaced by the test."""
    async with make_world() as w:
        w.start_run()
        old = await w.finished_job("evaluation")
        w.say(e.ScopeOpened(test_id="t", level="all", level_source="test"), scope_id="s", ago_seconds=-2)
        w.track("s", old.ref)
        await w.run_pass()
        assert w.resource("s", old.ref).uid == ""
