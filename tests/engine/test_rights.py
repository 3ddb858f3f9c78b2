"""The worker needs what ``deploy/rbac.yaml`` gives and no more, uses all of it, and names what is missing.

On an API server that heeds RBAC, with a token of exactly that service account and the file as it is shipped.
"""

from __future__ import annotations

import logging
import uuid
from pathlib import Path

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.resources import Level, ResourceRef
from cleanup_scheduler.engine import PassReport
from cleanup_scheduler.errors import PermissionMissing

from tests.contracts.kubernetes.wire import Api
from tests.engine.conftest import MakeWorld
from tests.engine.rights import (
    GROUP,
    NAME,
    Granted,
    Json,
    Right,
    apply,
    as_service_account,
    documents,
    granted,
    moved,
    one,
    rights_of,
    until_heeded,
    without,
)
from tests.engine.test_securing import LONG_SECONDS, failed_test, release, ttl_of
from tests.engine.test_sweeping import labels
from tests.engine.world import World, until

MAIN, OTHER, QUOTA = NAME, f"{NAME}-other-kinds", f"{NAME}-quota"
KINDS = {
    "configmaps": ("v1", "ConfigMap"),
    "services": ("v1", "Service"),
    "deployments": ("apps/v1", "Deployment"),
    "statefulsets": ("apps/v1", "StatefulSet"),
    "replicasets": ("apps/v1", "ReplicaSet"),
    "daemonsets": ("apps/v1", "DaemonSet"),
    "cronjobs": ("batch/v1", "CronJob"),
}
MANY = 9  # more than this worker looks at one by one


# ---- the file ----------------------------------------------------------------------------------------------


def test_the_roles_hold_no_wildcard_no_right_twice_and_nothing_that_creates_or_deletes_collections() -> None:
    roles = [d for d in documents() if d["kind"] in ("Role", "ClusterRole")]
    assert len(roles) == 6
    for role in roles:
        rights = rights_of(role)
        assert len(rights) == len(set(rights))
        assert {right.verb for right in rights} <= {"get", "list", "patch", "delete"}
        assert not any("*" in str(right) for right in rights)
        assert not any(right.resource in ("secrets", "persistentvolumeclaims") for right in rights)


@pytest.mark.parametrize("name", [MAIN, OTHER, QUOTA])
def test_the_cluster_role_for_several_namespaces_has_the_rules_of_the_role(name: str) -> None:
    assert one("ClusterRole", name)["rules"] == one("Role", name)["rules"]


def test_every_document_can_be_chosen_by_its_label_and_is_bound_to_the_one_account() -> None:
    label = "cleanup-scheduler/rights"
    chosen = {(d["kind"], d["metadata"]["name"]): d["metadata"]["labels"][label] for d in documents()}
    assert chosen == {
        ("ServiceAccount", NAME): "main",
        ("Role", MAIN): "main",
        ("RoleBinding", MAIN): "main",
        ("Role", OTHER): "other-kinds",
        ("RoleBinding", OTHER): "other-kinds",
        ("Role", QUOTA): "quota",
        ("RoleBinding", QUOTA): "quota",
        ("ClusterRole", MAIN): "several-namespaces",
        ("ClusterRole", QUOTA): "several-namespaces",
        ("ClusterRole", OTHER): "several-namespaces",
    }
    for document in documents():
        if document["kind"] == "RoleBinding":
            [subject] = document["subjects"]
            assert (subject["kind"], subject["name"]) == ("ServiceAccount", NAME)
            assert document["roleRef"]["name"] == document["metadata"]["name"]


# ---- what the worker does with it --------------------------------------------------------------------------


class Story:
    """Scopes that between them need every right of the main Role but the looks at controllers."""

    def __init__(self, w: World) -> None:
        self.w = w
        self.scopes: dict[str, str] = {}
        self.leak = ResourceRef("", "", "", "")

    async def begin(self) -> None:
        w = self.w
        w.start_run()
        await self._due("whole job", "all", (await w.job("whole")).ref)
        await self._due("running job", "pods", (await w.job("busy", "run")).ref)
        await self._due("pod", "pods", (await w.pod("alone")).ref)
        await self._due("job without pods", "all", (await w.job("idle", suspend=True)).ref)
        await self._due("finished job", "pods", (await w.job("ended")).ref)
        await w.until_finished("whole")
        await w.until_finished("ended")

        async def runs() -> bool:
            job, pod = w.ref("jobs.batch", "busy"), await w.cluster.pod_status(w.ref("pods", "alone"))
            seen = await w.cluster.get(job)
            pods = [await w.cluster.pod_status(p.ref) for p in await w.cluster.pods_of(seen)] if seen else []
            return bool(pods) and all(p and p.phase == "Running" for p in [pod, *pods])

        await until(runs)
        for scope in self.scopes.values():
            w.end(scope)

    async def _due(self, what: str, level: Level, ref: ResourceRef) -> None:
        self.scopes[what] = self.w.open_scope(level, test_id=what)
        self.w.track(self.scopes[what], ref)

    def unfinished(self) -> set[str]:
        return {what for what, scope in self.scopes.items() if not self.w.scope(scope).settled}

    async def assert_done(self) -> None:
        """As if nothing had ever been refused."""
        w = self.w
        assert self.unfinished() == set()
        assert await w.uids("pods") == set()
        names = {seen.ref.name async for seen in w.cluster.list("jobs", w.namespace)}
        assert names == {"busy", "ended"}
        status = await w.cluster.job_status(w.ref("jobs.batch", "busy"))
        assert status is not None
        assert (status.suspended, status.finished) == (True, "")
        kept = {event.resource.name.rsplit("-", 1)[0] for event in w.events(e.LogsArchived)}
        assert kept == {"whole", "ended", "busy", "alone"}


async def passes_until_quiet(w: World, times: int = 4) -> PassReport:
    """Passes, with the pauses between attempts left out."""
    report = await w.run_pass()
    for _ in range(times - 1):
        w.clock.advance(400)
        report = report.joined(await w.run_pass())
    return report


@pytest.mark.needs("rbac", "apps")
async def test_the_main_role_suffices_for_every_feature_and_has_nothing_to_spare(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, granted(w, tmp_path, MAIN) as rights:
        story = Story(w)
        await story.begin()
        none = w.open_scope("none")
        kept = await w.job("kept", suspend=True)
        w.track(none, kept.ref)
        w.end(none)
        labels = {"cleanup-scheduler/ledger": w.ledger.ledger_id, "cleanup-scheduler/run": w.run_id}
        leak_scope = story.scopes["whole job"]
        leak = await w.job(
            "leak", suspend=True, meta={"labels": {**labels, "cleanup-scheduler/scope": leak_scope}}
        )
        failed, preserved = await failed_test(w, "preserved")
        replaced = {kind: await pod_under_a_controller(w, kind) for kind in ("Repl", "Stat", "Daem")}
        for ref in replaced.values():
            scope = w.open_scope("pods")
            w.track(scope, ref)
            w.end(scope)
        await passes_until_quiet(w)
        await w.worker.sweep()
        assert await ttl_of(w, "preserved") is None
        release(w, failed, preserved)
        await passes_until_quiet(w, 2)
        assert await ttl_of(w, "preserved") == LONG_SECONDS
        assert leak.uid not in await w.uids("jobs")
        assert kept.uid in await w.uids("jobs")
        assert story.unfinished() == set()
        assert rights.refused == []
        assert rights.used == set(rights_of(one("Role", MAIN)))


@pytest.mark.needs("rbac")
async def test_without_patch_a_preserved_jobs_ttl_stays_and_the_report_names_the_right(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    right = Right("batch", "jobs", "patch")
    async with make_world() as w, granted(w, tmp_path, MAIN) as rights:
        rights.change(without(one("Role", MAIN), right), right, allowed=False)
        w.start_run()
        scope, job = await failed_test(w, "preserved")
        await w.run_pass()
        assert w.resource(scope, job.ref).status == "preserved"
        problems = [event.problem for event in w.events(e.ResourceSecured) if event.problem]
        assert len(problems) == 1
        assert names_it(problems[0], right, w.namespace)


async def pod_under_a_controller(w: World, kind: str) -> ResourceRef:
    """A pod that its ReplicaSet, StatefulSet or DaemonSet would put back at once."""
    words = {"Repl": "ReplicaSet", "Stat": "StatefulSet", "Daem": "DaemonSet"}
    name = kind.lower()
    await w.make("apps/v1", words[kind], name, spec=workload(w, words[kind], name, replicas=1))

    async def pods() -> list[ResourceRef]:
        found = w.cluster.list("pods", w.namespace, label_selector=f"of={name}")
        return [seen.ref async for seen in found]

    return (await until(pods))[0]


def workload(w: World, kind: str, name: str, *, replicas: int = 0) -> Json:
    template = w.under_test.simulated_template("run", restartPolicy="Always")
    template["metadata"]["labels"] = {"of": name}
    spec: Json = {"selector": {"matchLabels": {"of": name}}, "template": template}
    if kind == "DaemonSet":
        if not replicas:
            template["spec"]["nodeSelector"] = {"no-such": "node"}
        return spec
    more = {"serviceName": "none"} if kind == "StatefulSet" else {}
    return {**spec, **more, "replicas": replicas}


def body_of(w: World, kind: str, name: str, *, replicas: int) -> Json:
    if kind == "ConfigMap":
        return {}
    if kind == "Service":
        return {"spec": {"selector": {"of": name}, "ports": [{"port": 80}], "clusterIP": "None"}}
    if kind == "CronJob":
        job = {"spec": {"template": w.under_test.simulated_template("complete")}}
        return {"spec": {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": job}}
    return {"spec": workload(w, kind, name, replicas=replicas)}


async def track_some(w: World, resource: str, count: int, *, replicas: int = 0) -> str:
    """A scope that is due, with so many objects of the kind."""
    api_version, kind = KINDS[resource]
    scope = w.open_scope("all", test_id=resource)
    for index in range(count):
        name, spec = f"{resource}-{index}", body_of(w, kind, f"{resource}-{index}", replicas=replicas)
        w.track(scope, (await w.make(api_version, kind, name, **spec)).ref)
    w.end(scope)
    return scope


@pytest.mark.needs("rbac", "apps")
async def test_with_the_role_for_other_kinds_they_go_too_and_it_has_nothing_to_spare(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, granted(w, tmp_path, MAIN, OTHER) as rights:
        w.start_run()
        scopes = [await track_some(w, resource, 1) for resource in KINDS]
        await passes_until_quiet(w)
        scopes += [await track_some(w, r, MANY, replicas=int(r == "deployments")) for r in KINDS]
        await until_pods_come(w, MANY)
        await passes_until_quiet(w)
        assert all(w.scope(scope).settled for scope in scopes)
        assert {r.status for scope in scopes for r in w.scope(scope).own()} == {"gone"}
        assert rights.refused == []
        assert set(rights_of(one("Role", OTHER))) <= rights.used
        allowed = {right for name in (MAIN, OTHER) for right in rights_of(one("Role", name))}
        assert rights.used <= allowed


@pytest.mark.needs("rbac")
async def test_with_the_role_for_quotas_the_wait_for_one_works_and_without_it_names_it(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    role = one("Role", QUOTA)
    [right] = rights_of(role)
    async with make_world() as w, granted(w, tmp_path, MAIN, QUOTA) as rights:
        await w.make("v1", "ResourceQuota", "q", spec={"hard": {"pods": "9", "count/jobs.batch": "9"}})
        assert await w.worker_cluster.wait_counted(w.namespace, "q", timeout_seconds=30)
        await w.pod("one")
        await w.worker_cluster.wait_counted(w.namespace, "q", timeout_seconds=30)
        assert rights.refused == []
        assert right in rights.used
        rights.change(without(role, right), right, allowed=False)
        with pytest.raises(PermissionMissing) as caught:
            await w.worker_cluster.wait_counted(w.namespace, "q", timeout_seconds=30)
        assert names_it(str(caught.value), right, w.namespace)


async def until_pods_come(w: World, count: int) -> None:
    async def there() -> bool:
        return len(await w.uids("pods")) >= count

    await until(there)


@pytest.mark.needs("rbac")
async def test_the_cluster_role_bound_in_two_namespaces_serves_both_and_no_third(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w:
        admin, unique = Api(w.under_test.kubeconfig), f"{NAME}-{uuid.uuid4().hex[:8]}"
        role = {**one("ClusterRole", MAIN), "metadata": {"name": unique}}
        admin.post(f"/apis/{GROUP}/v1/clusterroles", role).ok(201)
        second = f"{w.namespace}-2"
        try:
            admin.post("/api/v1/namespaces", {"metadata": {"name": second}}).ok(201)
            await apply(w, [one("ServiceAccount", NAME)])
            for namespace in (w.namespace, second):
                binding = moved(one("RoleBinding", MAIN), w.namespace)
                binding["metadata"]["namespace"] = namespace
                binding["roleRef"] |= {"kind": "ClusterRole", "name": unique}
                await w.cluster.create(binding)
            async with as_service_account(w, tmp_path) as rights:
                await _two_served_and_no_third(w, rights, second)
        finally:
            admin.delete(f"/api/v1/namespaces/{second}").ok(200)
            admin.delete(f"/apis/{GROUP}/v1/clusterroles/{unique}").ok(200)
            admin.close()


async def _two_served_and_no_third(w: World, rights: Granted, second: str) -> None:
    for namespace in (w.namespace, second):
        until_heeded(rights.account, namespace, Right("batch", "jobs", "delete"), allowed=True)
    w.start_run()
    scope, refs = w.open_scope("all"), []
    for namespace in (w.namespace, second):
        spec = {"template": w.under_test.simulated_template("complete"), "suspend": True}
        manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": spec}
        refs.append((await w.cluster.create(manifest, namespace)).ref)
    elsewhere = ResourceRef(w.cluster.name, "default", "jobs.batch", f"none-{w.namespace}")
    w.track(scope, *refs, elsewhere)
    w.end(scope)
    report = await w.run_pass()
    assert {w.resource(scope, ref).status for ref in refs} == {"gone"}
    [failed] = report.of("failed")
    assert "may not get jobs" in failed.reason
    assert "in namespace default" in failed.reason


# ---- one right less ----------------------------------------------------------------------------------------

# which scopes of the story cannot be finished without it (pods of a deleted or suspended Job go all the same)
_WITH_PODS = {"whole job", "finished job", "running job"}
NEEDED_BY = {
    "get pods": {*_WITH_PODS, "pod"},
    "list pods": {*_WITH_PODS, "job without pods"},
    "delete pods": {"finished job", "pod"},
    "get pods/log": {*_WITH_PODS, "pod"},
    "get jobs.batch": {*_WITH_PODS, "job without pods"},
    "list jobs.batch": set[str](),
    "patch jobs.batch": {"running job"},
    "delete jobs.batch": {"whole job", "job without pods"},
}
STORY_RIGHTS = [right for right in rights_of(one("Role", MAIN)) if str(right) in NEEDED_BY]
CONTROLLERS = [right for right in rights_of(one("Role", MAIN)) if right.group == "apps"]


def test_every_right_of_the_main_role_is_taken_away_once() -> None:
    taken = [*STORY_RIGHTS, *CONTROLLERS]
    assert set(taken) == set(rights_of(one("Role", MAIN)))


def names_it(said: str, right: Right, namespace: str) -> bool:
    """Who, what, where, and what to do about it."""
    group, where = right.group, f"in namespace {namespace}"
    rule = f'apiGroups: ["{group}"], resources: ["{right.resource}"], verbs: ["{right.verb}"]'
    who = f"system:serviceaccount:{namespace}:{NAME} may not {right.verb} {right.resource}"
    return who in said and where in said and f"add to the Role {where}: {rule}" in said


@pytest.mark.needs("rbac")
@pytest.mark.parametrize("right", STORY_RIGHTS, ids=str)
async def test_without_it_what_needs_it_stops_naming_it_the_rest_goes_on_and_nothing_is_lost(
    right: Right, make_world: MakeWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    role = one("Role", MAIN)
    async with make_world() as w, granted(w, tmp_path, MAIN) as rights:
        rights.change(without(role, right), right, allowed=False)
        story = Story(w)
        await story.begin()
        with caplog.at_level(logging.WARNING, logger="cleanup_scheduler"):
            report = await passes_until_quiet(w, 2)
        said = [item.reason for item in report.of("failed", "given-up")] + caplog.messages
        assert any(names_it(text, right, w.namespace) for text in said), said
        assert all(names_it(i.reason, right, w.namespace) for i in report.of("failed")), report.items
        assert story.unfinished() == NEEDED_BY[str(right)]
        assert report.exit_code == (1 if NEEDED_BY[str(right)] else 0)
        rights.change(role, right, allowed=True)
        await passes_until_quiet(w, 3)
        await story.assert_done()
        assert [event.missing for event in w.events(e.LogsArchived) if event.missing] == []


@pytest.mark.needs("rbac")
@pytest.mark.parametrize("right", [r for r in STORY_RIGHTS if r.verb == "list"], ids=str)
async def test_a_sweep_leaves_out_what_it_may_not_list_naming_it_and_sweeps_the_rest(
    right: Right, make_world: MakeWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_world() as w, granted(w, tmp_path, MAIN) as rights:
        rights.change(without(one("Role", MAIN), right), right, allowed=False)
        w.start_run(lease_seconds=3600)
        scope = w.open_scope("none")
        w.end(scope)
        leaks = {"jobs": await w.job("leak", suspend=True, meta=labels(w, w.run_id, scope))}
        leaks["pods"] = await w.pod("leak", meta=labels(w, w.run_id, scope))
        with caplog.at_level(logging.WARNING, logger="cleanup_scheduler"):
            report = await w.worker.sweep()
        assert any(names_it(text, right, w.namespace) for text in caplog.messages)
        assert [item.uid for item in report.of("orphan")] == [
            leak.uid for kind, leak in leaks.items() if kind != right.resource
        ]
        rights.change(one("Role", MAIN), right, allowed=True)
        assert [item.uid for item in (await w.worker.sweep()).of("orphan")] == [leaks[right.resource].uid]


@pytest.mark.needs("rbac", "apps")
@pytest.mark.parametrize("right", CONTROLLERS, ids=str)
async def test_without_a_look_at_the_controller_its_pod_is_left_alone_and_the_right_named(
    right: Right, make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, granted(w, tmp_path, MAIN) as rights:
        rights.change(without(one("Role", MAIN), right), right, allowed=False)
        w.start_run()
        pod, scope = await pod_under_a_controller(w, right.resource[:4].title()), w.open_scope("pods")
        w.track(scope, pod)
        w.end(scope)
        [failed] = (await w.run_pass()).of("failed")
        assert names_it(failed.reason, right, w.namespace)
        rights.change(one("Role", MAIN), right, allowed=True)
        await passes_until_quiet(w, 2)
        assert w.resource(scope, pod).rule == "would-be-replaced"


@pytest.mark.needs("rbac", "apps")
async def test_pods_of_foreign_controllers_that_may_not_be_read_hold_nothing_up(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, granted(w, tmp_path, MAIN, OTHER) as rights:
        for role in (one("Role", MAIN), one("Role", OTHER)):
            rules = [rule for rule in role["rules"] if rule["apiGroups"] != ["apps"]]
            rights.admin.put(_role_path(w, role), moved({**role, "rules": rules}, w.namespace)).ok(200)
        until_heeded(rights.account, w.namespace, CONTROLLERS[0], allowed=False)
        w.start_run()
        for kind in ("Repl", "Stat", "Daem"):
            await pod_under_a_controller(w, kind)
        jobs = w.open_scope("all")
        for index in range(MANY):
            w.track(jobs, (await w.job(f"job-{index}", suspend=True)).ref)
        w.end(jobs)
        cron = await track_some(w, "cronjobs", 1)
        report = await w.run_pass()
        assert report.of("failed") == []
        assert w.scope(jobs).settled
        assert w.scope(cron).settled


@pytest.mark.needs("rbac", "apps")
@pytest.mark.parametrize("right", rights_of(one("Role", OTHER)), ids=str)
async def test_without_it_that_kind_waits_naming_it_and_other_kinds_go(
    right: Right, make_world: MakeWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    role = one("Role", OTHER)
    async with make_world() as w, granted(w, tmp_path, MAIN, OTHER) as rights:
        without_it = [without(one("Role", name), right) for name in (MAIN, OTHER)]
        for changed in without_it:
            rights.admin.put(_role_path(w, changed), moved(changed, w.namespace)).ok(200)
        until_heeded(rights.account, w.namespace, right, allowed=False)
        w.start_run()
        bystander = "services" if right.resource != "services" else "configmaps"
        one_by_one = right.verb == "list"  # slower, and that is all
        scope = await track_some(w, right.resource, MANY if one_by_one else 1)
        other = await track_some(w, bystander, 1)
        with caplog.at_level(logging.WARNING, logger="cleanup_scheduler"):
            report = await w.run_pass()
        assert w.scope(other).settled
        said = [item.reason for item in report.of("failed")] + caplog.messages
        assert any(names_it(text, right, w.namespace) for text in said), said
        assert w.scope(scope).settled == one_by_one
        rights.change(role, right, allowed=True)
        await passes_until_quiet(w, 3)
        assert {r.status for r in w.scope(scope).own()} == {"gone"}


def _role_path(w: World, role: Json) -> str:
    return f"/apis/{GROUP}/v1/namespaces/{w.namespace}/roles/{role['metadata']['name']}"
