"""The whole room against a cluster that answers for itself: the embedded one or a real API server."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cleanup_scheduler.cluster import Cluster, JobStatus, Quota, connect
from cleanup_scheduler.cluster.counting import Counting
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.errors import ClusterError, Conflict, NotFound, PermissionMissing, Refused, UnknownName
from cleanup_scheduler.settings import Settings

from tests.faults.proxy import FaultProxy
from tests.under_test import ClusterUnderTest

Got = TypeVar("Got")
Json = dict[str, Any]


class Bench:
    """A namespace of the test's own, and short ways to fill it."""

    def __init__(self, cluster: Cluster, under_test: ClusterUnderTest, namespace: str) -> None:
        self.cluster, self.under_test, self.namespace = cluster, under_test, namespace

    def ref(self, kind: str, name: str) -> ResourceRef:
        return ResourceRef(self.cluster.name, self.namespace, kind, name)

    async def make(
        self, api_version: str, kind: str, name: str, *, meta: Json | None = None, **body: Any
    ) -> ObservedObject:
        metadata = {"name": name, **(meta or {})}
        manifest = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}
        return await self.cluster.create(manifest, self.namespace)

    async def status_of(self, job: ObservedObject) -> JobStatus:
        status = await self.cluster.job_status(job.ref)
        assert status is not None
        return status

    async def job(self, name: str, behaviour: str = "run", **spec: Any) -> ObservedObject:
        template = self.under_test.simulated_template(behaviour)
        return await self.make(
            "batch/v1", "Job", name, spec={"backoffLimit": 0, "template": template, **spec}
        )

    async def pod(
        self, name: str, *, meta: Json | None = None, behaviour: str = "run", requests: Json | None = None
    ) -> ObservedObject:
        template = self.under_test.simulated_template(behaviour)
        if requests:
            template["spec"]["containers"][0]["resources"] = {"requests": requests}
        metadata = {**template["metadata"], **(meta or {})}
        return await self.make("v1", "Pod", name, meta=metadata, spec=template["spec"])

    async def process(self, name: str, script: str, **spec: Any) -> ObservedObject:
        template = self.under_test.process_template(script, **spec)
        return await self.make("v1", "Pod", name, meta=template["metadata"], spec=template["spec"])

    async def phase(self, ref: ResourceRef) -> str:
        status = await self.cluster.pod_status(ref)
        return status.phase if status else "gone"


async def until(check: Callable[[], Awaitable[Got]], seconds: float = 30) -> Got:
    """The first truthy answer; fails after a deadline."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := await check():
            return answer
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.05)


Benches = Callable[[], AbstractAsyncContextManager[Bench]]


@pytest.fixture
def bench(cluster_under_test: ClusterUnderTest) -> Benches:
    """``async with bench() as b``."""

    @asynccontextmanager
    async def run() -> AsyncIterator[Bench]:
        namespace = f"room-{uuid.uuid4().hex[:8]}"
        async with connect(Settings(kubeconfig=str(cluster_under_test.kubeconfig))) as cluster:
            made = await cluster.create(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            )
            try:
                await until(lambda: has_service_account(cluster, namespace))
                yield Bench(cluster, cluster_under_test, namespace)
            finally:
                await cluster.delete(made.ref, made.uid)

    return run


async def has_service_account(cluster: Cluster, namespace: str) -> bool:
    """Real clusters admit pods only once a controller has made the namespace's default account."""
    if await cluster.get(ResourceRef(cluster.name, namespace, "serviceaccounts", "default")):
        return True
    return cluster.name == "embedded"


async def test_an_object_is_found_and_deleted_by_its_uid(bench: Benches) -> None:
    async with bench() as b:
        made = await b.make("v1", "ConfigMap", "x", meta={"labels": {"app": "evaluation"}})
        seen = await b.cluster.get(b.ref("configmaps", "x"))
        assert seen is not None
        assert (seen.ref, seen.uid, seen.labels) == (made.ref, made.uid, {"app": "evaluation"})
        assert await b.cluster.delete(made.ref, made.uid) is True
        assert await b.cluster.wait_gone({made.ref: made.uid}, timeout_seconds=10) == {}
        assert await b.cluster.delete(made.ref, made.uid) is False


async def test_a_name_that_was_used_again_is_neither_deleted_nor_patched(bench: Benches) -> None:
    async with bench() as b:
        old = await b.make("v1", "ConfigMap", "x")
        await b.cluster.delete(old.ref, old.uid)
        new = await b.make("v1", "ConfigMap", "x")
        with pytest.raises(Conflict):
            await b.cluster.delete(old.ref, old.uid)
        with pytest.raises(Conflict):
            await b.cluster.patch(old.ref, old.uid, {"data": {"changed": "yes"}})
        assert await b.cluster.wait_gone({old.ref: old.uid}, timeout_seconds=0) == {}
        body = await b.cluster.get_body(new.ref)
        assert body is not None
        assert (body["metadata"]["uid"], body.get("data")) == (new.uid, None)
        await b.cluster.patch(new.ref, new.uid, {"data": {"changed": "yes"}})
        body = await b.cluster.get_body(new.ref)
        assert body is not None
        assert body["data"] == {"changed": "yes"}


async def test_suspending_a_running_job_takes_its_pods_and_keeps_the_job_from_failing(bench: Benches) -> None:
    async with bench() as b:
        job = await b.job("x")
        (pod,) = await until(lambda: b.cluster.pods_of(job))
        with pytest.raises(Conflict):
            await b.cluster.suspend_job(job.ref, "another-uid")
        assert await b.cluster.suspend_job(job.ref, job.uid) is True
        assert await b.cluster.wait_gone({pod.ref: pod.uid}, timeout_seconds=30) == {}
        status = await b.status_of(job)
        assert (status.suspended, status.finished, status.failed) == (True, "", 0)
        assert await b.cluster.pods_of(job) == []
        assert await b.cluster.suspend_job(job.ref, job.uid) is False


async def test_deleting_a_job_takes_its_pods_along(bench: Benches) -> None:
    async with bench() as b:
        job = await b.job("x")
        (pod,) = await until(lambda: b.cluster.pods_of(job))
        assert await b.cluster.delete(job.ref, job.uid) is True
        assert await b.cluster.wait_gone({job.ref: job.uid, pod.ref: pod.uid}, timeout_seconds=60) == {}


async def test_a_job_that_ended_says_how(bench: Benches) -> None:
    async with bench() as b:
        good, bad = await b.job("good", "complete"), await b.job("bad", "fail")

        async def both_ended() -> bool:
            return all([(await b.status_of(job)).finished for job in (good, bad)])

        await until(both_ended)
        assert [(await b.status_of(job)).finished for job in (good, bad)] == ["succeeded", "failed"]
        assert (await b.status_of(bad)).reason == "BackoffLimitExceeded"
        assert await b.cluster.suspend_job(bad.ref, bad.uid) is False


async def test_a_jobs_pods_are_those_it_owns_not_those_that_look_like_it(bench: Benches) -> None:
    async with bench() as b:
        jobs = [await b.job(f"job-{number}") for number in range(6)]
        owned = {}
        for job in jobs:
            (pod,) = await until(lambda job=job: b.cluster.pods_of(job))  # type: ignore[misc]
            owned[job.uid] = pod.uid
        mine = jobs[0]
        labels = {"batch.kubernetes.io/job-name": mine.ref.name, "job-name": mine.ref.name}
        await b.pod("look-alike", meta={"labels": labels})
        stranger = {"apiVersion": "v1", "kind": "ConfigMap", "name": "s", "uid": str(uuid.uuid4())}
        uid_label = {"batch.kubernetes.io/controller-uid": mine.uid}
        await b.pod(
            "of-another", meta={"labels": uid_label, "ownerReferences": [{**stranger, "controller": True}]}
        )
        mention = {"apiVersion": "batch/v1", "kind": "Job", "name": mine.ref.name, "uid": mine.uid}
        await b.pod("not-controlled", meta={"labels": uid_label, "ownerReferences": [mention]})
        assert [pod.uid for pod in await b.cluster.pods_of(mine)] == [owned[mine.uid]]
        many = await b.cluster.pods_of_many(jobs)
        assert {uid: [pod.uid for pod in pods] for uid, pods in many.items()} == {
            uid: [pod] for uid, pod in owned.items()
        }


async def test_pods_that_were_orphaned_by_their_jobs_deletion_still_count(bench: Benches) -> None:
    async with bench() as b:
        job = await b.job("x")
        (pod,) = await until(lambda: b.cluster.pods_of(job))
        await b.cluster.delete(job.ref, job.uid, propagation="Orphan")
        assert await b.cluster.wait_gone({job.ref: job.uid}, timeout_seconds=30) == {}

        async def orphaned() -> bool:
            seen = await b.cluster.get(pod.ref)
            return seen is not None and not seen.owners

        await until(orphaned)
        assert [found.uid for found in await b.cluster.pods_of(job)] == [pod.uid]


async def test_pods_are_found_through_several_controllers(bench: Benches) -> None:
    async with bench() as b:
        template = b.under_test.simulated_template("run")
        cron = await b.make(
            "batch/v1",
            "CronJob",
            "nightly",
            spec={"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}, "suspend": True},
        )
        owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": cron.uid}
        meta = {"ownerReferences": [{**owner, "controller": True}]}
        job = await b.make("batch/v1", "Job", "nightly-1", meta=meta, spec={"template": template})
        other = await b.job("unrelated")
        (pod,) = await until(lambda: b.cluster.pods_of(job))
        await until(lambda: b.cluster.pods_of(other))
        assert [found.uid for found in await b.cluster.pods_of(cron)] == [pod.uid]
        both = await b.cluster.pods_of_many([cron, job])
        assert {uid: [found.uid for found in pods] for uid, pods in both.items()} == {
            cron.uid: [pod.uid],
            job.uid: [pod.uid],
        }
        assert await b.cluster.pods_of(pod) == []


@pytest.mark.needs("apps")
async def test_pods_of_a_deployment_are_found_through_its_replica_set(bench: Benches) -> None:
    async with bench() as b:
        template = b.under_test.simulated_template("run")
        template["spec"].pop("restartPolicy", None)
        template["metadata"]["labels"] = {"app": "web"}
        spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}
        web = await b.make("apps/v1", "Deployment", "web", spec=spec)
        await b.pod("look-alike", meta={"labels": {"app": "webby"}})

        async def both() -> bool:
            return len(await b.cluster.pods_of(web)) == 2

        await until(both)
        assert {pod.ref.name.rsplit("-", 2)[0] for pod in await b.cluster.pods_of(web)} == {"web"}


async def test_what_a_finalizer_holds_is_still_served_and_says_which(bench: Benches) -> None:
    async with bench() as b:
        held = await b.make("v1", "ConfigMap", "held", meta={"finalizers": ["example.com/hold"]})
        free = await b.make("v1", "ConfigMap", "free")
        uids = {one.ref: one.uid for one in (held, free)}
        for one in (held, free):
            assert await b.cluster.delete(one.ref, one.uid) is True
        left = await b.cluster.wait_gone(uids, timeout_seconds=0.3)
        assert list(left) == [held.ref]
        assert left[held.ref].finalizers == ["example.com/hold"]
        assert left[held.ref].deletion_timestamp is not None
        waiting = asyncio.create_task(b.cluster.wait_gone(uids, timeout_seconds=30))
        await b.cluster.patch(held.ref, held.uid, {"metadata": {"finalizers": None}})
        assert await waiting == {}


async def test_many_objects_are_waited_for_by_lists(bench: Benches, tmp_path: Path) -> None:
    async with bench() as b, FaultProxy(b.under_test.kubeconfig, tmp_path) as proxy:
        made = await asyncio.gather(*(b.make("v1", "ConfigMap", f"c-{number}") for number in range(40)))
        async with connect(Settings(kubeconfig=str(proxy.kubeconfig), cluster=b.cluster.name)) as cluster:
            assert len(await cluster.get_many([one.ref for one in made])) == 40
            assert len(proxy.seen) == 1
            await asyncio.gather(*(cluster.delete(one.ref, one.uid) for one in made))
            proxy.seen.clear()
            assert await cluster.wait_gone({one.ref: one.uid for one in made}, timeout_seconds=30) == {}
            assert len(proxy.seen) < 10


@pytest.mark.needs("short_history")
async def test_a_list_goes_on_after_its_token_has_expired(bench: Benches) -> None:
    async with bench() as b:
        names = {f"c-{number}" for number in range(6)}
        for name in names:
            await b.make("v1", "ConfigMap", name, meta={"labels": {"app": "x"}})
        found = []
        async for one in b.cluster.list("configmaps", b.namespace, label_selector="app=x", page_size=2):
            found.append(one.ref.name)
            if len(found) == 2:
                await b.make("v1", "ConfigMap", "later")  # so that the token's revision is not the present
                await asyncio.to_thread(b.under_test.expire_history)
        assert sorted(found) == sorted(names)


@asynccontextmanager
async def definition(b: Bench, group: str, short_name: str) -> AsyncIterator[ObservedObject]:
    """A CustomResourceDefinition of Widgets in that group, while it lasts."""
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": [short_name]}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": "v1alpha1", "served": True, "storage": True, "schema": schema}]
    crd = await b.cluster.create(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"widgets.{group}"},
            "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": versions},
        }
    )
    try:
        yield crd
    finally:
        await b.cluster.delete(crd.ref, crd.uid)
        await b.cluster.wait_gone({crd.ref: crd.uid}, timeout_seconds=30)


async def test_a_kind_installed_later_is_found_by_every_spelling(bench: Benches) -> None:
    group, short = f"g{uuid.uuid4().hex[:6]}.example.com", f"w{uuid.uuid4().hex[:6]}"
    async with bench() as b:
        with pytest.raises(UnknownName, match=f"has no kind '{short}'"):
            await b.cluster.resolve_kind(short)

        async def resolved() -> str:
            try:
                return str(await b.cluster.resolve_kind(short))
            except UnknownName:
                return ""

        async with definition(b, group, short):
            assert await until(resolved) == f"widgets.{group}"
            for spelling in (f"widgets.{group}", f"widget.{group}", f"Widget.{group}"):
                assert await b.cluster.resolve_kind(spelling) == f"widgets.{group}"

            async def made() -> ObservedObject | None:
                try:
                    return await b.make(f"{group}/v1alpha1", "Widget", "x")
                except NotFound:
                    return None

            widget = await until(made)
            assert widget is not None
            owner = {"apiVersion": f"{group}/v1alpha1", "kind": "Widget", "name": "x", "uid": widget.uid}
            pod = await b.pod("owned", meta={"ownerReferences": [{**owner, "controller": True}]})
            assert [found.uid for found in await b.cluster.pods_of(widget)] == [pod.uid]
            assert await b.cluster.delete(widget.ref, widget.uid) is True
            assert await b.cluster.wait_gone({widget.ref: widget.uid}, timeout_seconds=10) == {}


async def test_a_word_that_two_groups_serve_is_refused_naming_both(bench: Benches) -> None:
    one, two = (f"{letter}{uuid.uuid4().hex[:6]}.example.com" for letter in "ab")
    async with bench() as b, definition(b, one, "wone"), definition(b, two, "wtwo"):

        async def refusal() -> str:
            # anew each time: a cluster that has found one of them asks no more
            async with connect(Settings(kubeconfig=str(b.under_test.kubeconfig))) as fresh:
                try:
                    await fresh.resolve_kind("widget")
                except UnknownName as error:
                    return str(error) if "ambiguous" in str(error) else ""
                return ""

        assert f"write one of: widgets.{one}, widgets.{two}" in await until(refusal)
        assert await b.cluster.resolve_kind(f"widgets.{two}") == f"widgets.{two}"


async def test_a_misspelt_kind_names_the_nearest(bench: Benches) -> None:
    async with bench() as b:
        with pytest.raises(UnknownName, match=r"has no kind 'resourcequota5' \(did you mean .*resourcequota"):
            await b.cluster.resolve_kind("resourcequota5")


async def test_a_full_quota_refuses_and_says_which(bench: Benches) -> None:
    async with bench() as b:
        await b.make("v1", "ResourceQuota", "evaluation-quota", spec={"hard": {"pods": "1"}})

        async def counted() -> bool:
            return (await b.cluster.quota(b.namespace, "evaluation-quota")).used == {"pods": "0"}

        await until(counted)
        await b.pod("first")
        with pytest.raises(Refused, match="exceeded quota: evaluation-quota"):
            await b.pod("second")

        async def full() -> bool:
            return (await b.cluster.quota(b.namespace, "evaluation-quota")).free("pods") == 0

        await until(full)
        with pytest.raises(NotFound, match="no quota 'other'"):
            await b.cluster.quota(b.namespace, "other")


@pytest.mark.parametrize("key", ["pods", "count/pods", "requests.cpu"])
async def test_the_wait_for_a_quota_ends_when_its_count_has_caught_up(bench: Benches, key: str) -> None:
    async with bench() as b:
        await b.make("v1", "ResourceQuota", "evaluation-quota", spec={"hard": {key: "4"}})

        async def used(amount: int) -> bool:
            return (await b.cluster.quota(b.namespace, "evaluation-quota")).used == {key: str(amount)}

        await until(lambda: used(0))
        pod = await b.pod("first", requests={"cpu": "1"})
        await until(lambda: used(1))
        assert await b.cluster.wait_counted(b.namespace, "evaluation-quota", timeout_seconds=30)
        await b.cluster.delete(pod.ref, pod.uid)
        assert not await b.cluster.wait_gone({pod.ref: pod.uid}, timeout_seconds=30)
        assert await b.cluster.wait_counted(b.namespace, "evaluation-quota", timeout_seconds=30)
        assert await used(0)


@pytest.mark.parametrize("key", ["pods", "count/pods", "count/jobs.batch", "requests.memory"])
async def test_a_quota_that_counts_more_than_there_is_lags_behind(bench: Benches, key: str) -> None:
    counts = ["2", "1", "0"]

    async def read() -> Quota:
        return Quota(hard={key: "4"}, used={key: counts.pop(0) if len(counts) > 1 else counts[0]})

    async with bench() as b:
        counting = Counting(b.cluster._objects)
        assert not await counting.wait_counted(read, b.namespace, timeout_seconds=0)
        assert counts == ["1", "0"]
        assert await counting.wait_counted(read, b.namespace, timeout_seconds=30)


async def test_a_namespace_that_is_not_there_or_on_its_way_out_refuses(bench: Benches) -> None:
    async with bench() as b:
        with pytest.raises(NotFound, match='namespaces "no-such" not found'):
            await b.cluster.create(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}, "no-such"
            )
        held = await b.make("v1", "ConfigMap", "held", meta={"finalizers": ["example.com/hold"]})
        namespace = await b.cluster.get(ResourceRef(b.cluster.name, "", "namespaces", b.namespace))
        assert namespace is not None
        await b.cluster.delete(namespace.ref, namespace.uid)
        with pytest.raises(Refused, match="is being deleted"):
            await b.make("v1", "ConfigMap", "late")
        await b.cluster.patch(held.ref, held.uid, {"metadata": {"finalizers": None}})


async def test_what_exists_already_is_a_conflict(bench: Benches) -> None:
    async with bench() as b:
        await b.make("v1", "ConfigMap", "x")
        with pytest.raises(Conflict, match="already exists"):
            await b.make("v1", "ConfigMap", "x")


async def test_what_is_not_valid_is_refused_with_the_apis_reason(bench: Benches) -> None:
    async with bench() as b:
        with pytest.raises(Refused) as caught:
            await b.make("batch/v1", "Job", "x", spec={"backoffLimit": -1, "template": {}})
        assert caught.value.status == 422
        assert "spec.backoffLimit" in str(caught.value)


@pytest.mark.needs("rbac")
async def test_a_missing_right_is_named_with_the_user_the_verb_and_the_resource(
    bench: Benches, tmp_path: Path
) -> None:
    async with bench() as b:
        job = await b.job("x")
        role = [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get"]}]
        await b.make("rbac.authorization.k8s.io/v1", "Role", "reader", rules=role)
        await b.make(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            "reader",
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            subjects=[{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
        )
        async with (
            FaultProxy(b.under_test.kubeconfig, tmp_path, impersonate="reader") as proxy,
            connect(Settings(kubeconfig=str(proxy.kubeconfig), cluster=b.cluster.name)) as limited,
        ):

            async def granted() -> bool:
                try:
                    return (await limited.get(job.ref)) is not None
                except PermissionMissing:
                    return False

            await until(granted)
            pod = b.ref("pods", "x-1")
            asked: dict[str, Awaitable[Any]] = {
                "delete jobs x": limited.delete(job.ref, job.uid),
                "patch jobs x": limited.suspend_job(job.ref, job.uid),
                "list pods": limited.pods_of(job),
                "get pods/log x-1": limited.logs(pod, "main", max_bytes=1, timeout_seconds=5),
                "get resourcequotas q": limited.quota(b.namespace, "q"),
            }
            for missing, call in asked.items():
                with pytest.raises(PermissionMissing) as caught:
                    await call
                assert f"reader may not {missing} in namespace {b.namespace}" in str(caught.value)
                verb, resource = missing.split()[:2]
                assert f'resources: ["{resource}"], verbs: ["{verb}"]' in str(caught.value)


@pytest.mark.needs("admission")
async def test_an_admission_policy_that_refuses_a_deletion_is_passed_on(bench: Benches) -> None:
    async with bench() as b:
        name = f"keep-{b.namespace}"
        policy = await b.cluster.create(
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingAdmissionPolicy",
                "metadata": {"name": name},
                "spec": {
                    "matchConstraints": {
                        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": b.namespace}},
                        "resourceRules": [
                            {
                                "apiGroups": [""],
                                "apiVersions": ["v1"],
                                "operations": ["DELETE"],
                                "resources": ["configmaps"],
                            }
                        ],
                    },
                    "validations": [
                        {"expression": "oldObject.metadata.name != 'kept'", "message": "we keep it"}
                    ],
                },
            }
        )
        binding = await b.cluster.create(
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingAdmissionPolicyBinding",
                "metadata": {"name": name},
                "spec": {"policyName": name, "validationActions": ["Deny"]},
            }
        )

        async def refusal() -> ClusterError | None:
            made = await b.make("v1", "ConfigMap", "kept")
            try:
                await b.cluster.delete(made.ref, made.uid)
            except ClusterError as error:
                return error
            return None  # the policy does not hold yet

        try:
            refused = await until(refusal)
        finally:
            for one in (binding, policy):
                await b.cluster.delete(one.ref, one.uid)
        assert isinstance(refused, Refused)
        assert "we keep it" in str(refused)


LINES = 'i=0; while [ $i -lt 100 ]; do echo "line $i"; i=$((i+1)); done'


@pytest.mark.needs("process_pods")
async def test_logs_of_all_containers_can_be_had_from_a_pod_that_ended(bench: Benches) -> None:
    async with bench() as b:
        template = b.under_test.process_template("echo from main; exit 3")
        first = b.under_test.process_template("echo from init")["spec"]["containers"][0]
        template["spec"]["initContainers"] = [{**first, "name": "first"}]
        pod = await b.make("v1", "Pod", "x", meta=template["metadata"], spec=template["spec"])

        async def ended() -> bool:
            return await b.phase(pod.ref) == "Failed"

        await until(ended)
        status = await b.cluster.pod_status(pod.ref)
        assert status is not None
        assert [(c.name, c.role, c.exit_code) for c in status.containers] == [
            ("first", "init", 0),
            ("main", "main", 3),
        ]
        assert status.exit_code == 3
        logs = [
            (await b.cluster.logs(pod.ref, c.name, max_bytes=1000, timeout_seconds=10)).body
            for c in status.containers
        ]
        assert logs == [b"from init\n", b"from main\n"]


@pytest.mark.needs("process_pods")
async def test_a_long_log_keeps_its_end_and_says_what_is_left_out(bench: Benches) -> None:
    async with bench() as b:
        pod = await b.process("x", LINES)

        async def ended() -> bool:
            return await b.phase(pod.ref) == "Succeeded"

        await until(ended)
        log = await b.cluster.logs(pod.ref, "main", max_bytes=30, timeout_seconds=10)
        assert log.body == b"line 97\nline 98\nline 99\n"
        assert (log.truncated, log.note) == (True, "its first 766 bytes are left out")
        whole = await b.cluster.logs(pod.ref, "main", max_bytes=10_000, timeout_seconds=10)
        assert (len(whole.body), whole.truncated, whole.note) == (790, False, "")


@pytest.mark.needs("process_pods")
async def test_a_log_is_followed_through_the_termination_of_its_pod(bench: Benches) -> None:
    async with bench() as b:
        script = 'trap "echo bye; exit 0" TERM; echo hello; while true; do sleep 0.1; done'
        pod = await b.process("x", script)

        async def says_hello() -> bool:
            log = await b.cluster.logs(pod.ref, "main", max_bytes=1000, timeout_seconds=10)
            return log.body == b"hello\n"

        await until(says_hello)
        following = asyncio.create_task(
            b.cluster.logs(pod.ref, "main", follow=True, max_bytes=1000, timeout_seconds=20)
        )
        streamed = asyncio.create_task(collect(b.cluster.stream_logs(pod.ref, "main", timeout_seconds=20)))
        await until(lambda: any_log_request_started(b, pod))
        await b.cluster.delete(pod.ref, pod.uid)
        log = await following
        assert log.body.startswith(b"hello\n")
        assert log.body.endswith(b"bye\n")  # between them a shell may say that its sleep was terminated
        assert not log.truncated
        assert await streamed == log.body


async def collect(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def any_log_request_started(b: Bench, pod: ObservedObject) -> bool:
    """One more request after the following ones has been answered, so those were sent."""
    return bool((await b.cluster.logs(pod.ref, "main", max_bytes=1000, timeout_seconds=10)).body)


@pytest.mark.needs("process_pods")
async def test_following_stops_when_its_time_is_over(bench: Benches) -> None:
    async with bench() as b:
        pod = await b.process("x", "echo hello; exec sleep 600")

        async def runs() -> bool:
            return await b.phase(pod.ref) == "Running"

        await until(runs)
        log = await b.cluster.logs(pod.ref, "main", follow=True, max_bytes=1000, timeout_seconds=1)
        assert log.body == b"hello\n"
        assert log.truncated
        assert log.note == "reading stopped after 1 s, before its end"
        await b.cluster.delete(pod.ref, pod.uid, grace_seconds=0)


@pytest.mark.needs("process_pods")
async def test_the_log_before_a_restart_can_be_had(bench: Benches) -> None:
    async with bench() as b:
        template = b.under_test.process_template("echo once; sleep 1; exit 1")
        template["spec"]["restartPolicy"] = "OnFailure"
        pod = await b.make("v1", "Pod", "x", meta=template["metadata"], spec=template["spec"])

        async def restarted() -> bool:
            status = await b.cluster.pod_status(pod.ref)
            return bool(status is not None and status.containers[0].restarts)

        await until(restarted)
        log = await b.cluster.logs(pod.ref, "main", previous=True, max_bytes=1000, timeout_seconds=10)
        assert (log.body, log.missing) == (b"once\n", "")
        await b.cluster.delete(pod.ref, pod.uid, grace_seconds=0)


@pytest.mark.needs("process_pods")
async def test_a_log_that_cannot_be_had_says_why(bench: Benches) -> None:
    async with bench() as b:
        template = b.under_test.process_template("echo never")
        first = b.under_test.process_template("exec sleep 600")["spec"]["containers"][0]
        template["spec"]["initContainers"] = [{**first, "name": "first"}]
        waits = await b.make("v1", "Pod", "waits", meta=template["metadata"], spec=template["spec"])
        ran = await b.process("ran", "echo once")

        async def ended() -> bool:
            return await b.phase(ran.ref) == "Succeeded"

        async def first_runs() -> bool:
            return await b.phase(waits.ref) == "Pending" and (await initial(waits.ref)) == "running"

        async def initial(ref: ResourceRef) -> str:
            status = await b.cluster.pod_status(ref)
            return status.containers[0].state if status else ""

        await until(ended)
        await until(first_runs)

        async def why(ref: ResourceRef, container: str = "main", *, previous: bool = False) -> str:
            log = await b.cluster.logs(ref, container, previous=previous, max_bytes=1000, timeout_seconds=10)
            assert log.body == b""
            return str(log.missing)

        assert await why(b.ref("pods", "no-such")) == "the pod is gone"
        assert "not found" in await why(ran.ref, previous=True)
        assert "other" in await why(ran.ref, "other")
        assert "is waiting to start: " in await why(waits.ref)
        await b.cluster.delete(waits.ref, waits.uid, grace_seconds=0)
