"""What a real API server refuses: policies and webhooks that stand in the way, credentials that do not count.

Each refusal stays with its resource, in the API's own words; what is refused for now is tried again.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import yaml
from cleanup_scheduler.cluster import connect
from cleanup_scheduler.domain import events as e

from tests.contracts.kubernetes.wire import Api
from tests.engine.conftest import MakeWorld
from tests.engine.rights import Json
from tests.engine.test_failures import due_jobs, status
from tests.engine.world import World, until

ADMISSION = "/apis/admissionregistration.k8s.io/v1"


def rules(w: World, operation: str) -> tuple[list[Json], Json]:
    """Jobs of this world's namespace only: nobody else is to be disturbed."""
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": [operation], "resources": ["jobs"]}
    return [rule], {"matchLabels": {"kubernetes.io/metadata.name": w.namespace}}


@asynccontextmanager
async def installed(w: World, *objects: tuple[str, str, Json]) -> AsyncIterator[None]:
    """Cluster-scoped admission objects (plural, kind, body), removed in any case."""
    api, name = Api(w.under_test.kubeconfig), f"engine-{uuid.uuid4().hex[:8]}"
    made = []
    try:
        for plural, kind, body in objects:
            document = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, **body}
            document["metadata"] = {"name": name}
            if "Binding" in kind:
                document["spec"] = {**body["spec"], "policyName": name}
            api.post(f"{ADMISSION}/{plural}", document).ok(201)
            made.append(plural)
        yield
    finally:
        for plural in reversed(made):
            api.delete(f"{ADMISSION}/{plural}/{name}").ok(200)
        api.close()


@asynccontextmanager
async def a_policy(w: World, operation: str, expression: str, message: str) -> AsyncIterator[None]:
    resource_rules, selector = rules(w, operation)
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": resource_rules, "namespaceSelector": selector},
        "validations": [{"expression": expression, "message": message}],
    }
    async with installed(
        w,
        ("validatingadmissionpolicies", "ValidatingAdmissionPolicy", {"spec": spec}),
        (
            "validatingadmissionpolicybindings",
            "ValidatingAdmissionPolicyBinding",
            {"spec": {"validationActions": ["Deny"]}},
        ),
    ):
        yield


@asynccontextmanager
async def a_webhook_that_nobody_answers(w: World) -> AsyncIterator[None]:
    resource_rules, selector = rules(w, "DELETE")
    webhook = {
        "name": "nobody.example.com",
        "rules": resource_rules,
        "namespaceSelector": selector,
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "timeoutSeconds": 2,
        "admissionReviewVersions": ["v1"],
    }
    configuration = ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration")
    async with installed(w, (*configuration, {"webhooks": [webhook]})):
        yield


async def until_it_counts(w: World, name: str, *, method: str = "DELETE", refused: bool = True) -> None:
    """Admission objects come into force a moment after they are made, and out of it."""
    api = Api(w.under_test.kubeconfig)
    path = f"/apis/batch/v1/namespaces/{w.namespace}/jobs/{name}"
    merge = "application/merge-patch+json"

    async def as_wanted() -> bool:
        if method == "DELETE":
            reply = api.delete(path, None, dryRun="All")
        else:
            reply = api.patch(path, {"spec": {"suspend": True}}, merge, dryRun="All")
        return (reply.status >= 400) == refused

    await until(as_wanted)
    api.close()


@pytest.mark.needs("admission")
async def test_what_a_policy_refuses_is_given_up_at_once_in_its_words_and_a_release_tries_it_again(
    make_world: MakeWorld,
) -> None:
    async with make_world() as w:
        w.start_run()
        scope = await due_jobs(w, "kept", "free")
        async with a_policy(w, "DELETE", "oldObject.metadata.name != 'kept'", "it is on legal hold"):
            await until_it_counts(w, "kept")
            report = await w.run_pass()
            assert (status(w, scope, "kept"), status(w, scope, "free")) == ("given-up", "gone")
            assert "it is on legal hold" in w.resource(scope, w.ref("jobs.batch", "kept")).reason
            assert report.exit_code == 1
        await until_it_counts(w, "kept", refused=False)
        w.say(e.ReleaseRequested(who="ada", resource=w.ref("jobs.batch", "kept")), scope_id=scope)
        await w.run_pass()
        assert status(w, scope, "kept") == "gone"


@pytest.mark.needs("admission")
async def test_a_suspension_that_a_policy_refuses_leaves_the_job_and_its_pods_running(
    make_world: MakeWorld,
) -> None:
    async with make_world() as w:
        w.start_run()
        scope = w.open_scope("pods")
        job = await w.running_job("busy")
        w.track(scope, job.ref)
        w.end(scope)
        before = await w.uids("pods")
        async with a_policy(w, "UPDATE", "!object.spec.suspend", "nothing is suspended here"):
            await until_it_counts(w, "busy", method="PATCH")
            await w.run_pass()
        refused = w.resource(scope, job.ref)
        assert (refused.status, "nothing is suspended here" in refused.reason) == ("given-up", True)
        assert await w.uids("pods") == before
        seen = await w.cluster.job_status(job.ref)
        assert seen is not None
        assert (seen.suspended, seen.finished) == (False, "")
        assert w.events(e.JobSuspended) == []


@pytest.mark.needs("admission")
async def test_a_webhook_that_does_not_answer_is_that_resources_failure_for_now(
    make_world: MakeWorld,
) -> None:
    async with make_world() as w:
        w.start_run()
        scope = await due_jobs(w, "blocked")
        pod = await w.pod("free")
        other = w.open_scope("pods")
        w.track(other, pod.ref)
        w.end(other)
        async with a_webhook_that_nobody_answers(w):
            await until_it_counts(w, "blocked")
            report = await w.run_pass()
            assert report.out_of_reach == "", "the cluster answers everybody else"
            blocked = w.resource(scope, w.ref("jobs.batch", "blocked"))
            assert blocked.status == "failed"
            assert 'failed calling webhook "nobody.example.com"' in blocked.reason
            assert w.resource(other, pod.ref).status == "gone"
        await until_it_counts(w, "blocked", refused=False)
        w.clock.advance(600)
        await w.run_pass()
        assert status(w, scope, "blocked") == "gone"


@pytest.mark.needs("rbac")
async def test_a_token_that_counts_no_more_ends_the_pass_and_uses_no_attempt_up(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w:
        w.start_run()
        scope = await due_jobs(w, "waiting")
        stranger = yaml.safe_load(w.under_test.kubeconfig.read_text())
        stranger["users"] = [
            {"name": user["name"], "user": {"token": "not-a-token"}} for user in stranger["users"]
        ]
        for entry in stranger["clusters"]:
            if authority := entry["cluster"].get("certificate-authority"):
                entry["cluster"]["certificate-authority"] = str(w.under_test.kubeconfig.parent / authority)
        file = tmp_path / "stranger"
        file.write_text(yaml.safe_dump(stranger))
        chosen = msgspec.structs.replace(w.settings, kubeconfig=str(file), cluster=w.cluster.name)
        async with connect(chosen) as cluster:
            w.worker_cluster = cluster
            w.worker = w.another_worker()
            report = await w.run_pass()
        assert "does not accept our credentials" in report.out_of_reach
        assert report.exit_code == 4
        assert w.events(e.DeletionFailed) == []
        w.worker_cluster = w.cluster
        w.worker = w.another_worker()
        await w.run_pass()
        assert status(w, scope, "waiting") == "gone"
