"""The evaluation service of the examples: a platform that creates Jobs on behalf of tests."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from cleanup_scheduler.cluster import Cluster, connect
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.errors import SettingsError
from cleanup_scheduler.settings import Settings
from cleanup_scheduler.testing.evaluation import (
    ApiSession,
    EvaluationRefused,
    EvaluationService,
    get_evaluation,
    submit_evaluation,
    wait_for_evaluation,
)
from cleanup_scheduler.testing.evaluation_server import NewEvaluation, make_job, read_template

from tests.under_test import ClusterUnderTest


@asynccontextmanager
async def namespace_of(under_test: ClusterUnderTest) -> AsyncIterator[tuple[Cluster, str]]:
    """A namespace of the test's own."""
    name = f"eval-{uuid.uuid4().hex[:8]}"
    async with connect(Settings(kubeconfig=str(under_test.kubeconfig))) as cluster:
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        made = await cluster.create(manifest)
        try:
            yield cluster, name
        finally:
            await cluster.delete(made.ref, made.uid)


def template_file(under_test: ClusterUnderTest, folder: Path) -> Path:
    """A pod template with a ``python3``: this machine's own, mounted where pods have their own files."""
    template = under_test.process_template("")
    container = template["spec"]["containers"][0]
    del container["command"]
    if under_test.name != "embedded":
        mounts = {
            f"host-{index}": path for index, path in enumerate((sys.base_prefix, "/usr", "/lib", "/lib64"))
        }
        template["spec"]["volumes"] = [
            {"name": name, "hostPath": {"path": str(Path(path).resolve())}} for name, path in mounts.items()
        ]
        container["volumeMounts"] = [
            {"name": name, "mountPath": path, "readOnly": True} for name, path in mounts.items()
        ]
        container["env"] = [{"name": "PATH", "value": f"{sys.base_prefix}/bin:/bin"}]
    file = folder / "template.yaml"
    file.write_text(yaml.safe_dump(template))
    return file


@pytest.fixture
def service(cluster_under_test: ClusterUnderTest, tmp_path: Path) -> Callable[[str], EvaluationService]:
    """The service on a namespace."""

    def make(namespace: str) -> EvaluationService:
        template = template_file(cluster_under_test, tmp_path)
        return EvaluationService(cluster_under_test.kubeconfig, namespace=namespace, pod_template=template)

    return make


async def in_thread(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """The helpers of the client block, as tests like it."""
    return await asyncio.to_thread(call, *arguments, **options)


@pytest.mark.needs("process_pods")
async def test_what_is_submitted_runs_in_a_job_that_is_known_by_name(
    cluster_under_test: ClusterUnderTest, service: Callable[[str], EvaluationService]
) -> None:
    async with namespace_of(cluster_under_test) as (cluster, namespace):
        with service(namespace) as running:
            api_session = ApiSession(running.url)
            eval_id = await in_thread(submit_evaluation, api_session, code="print('test')")
            done = await in_thread(wait_for_evaluation, api_session, eval_id)
            assert (done.status, done.exit_code, done.output) == ("succeeded", 0, "test\n")
            ref = ResourceRef(cluster.name, namespace, "jobs.batch", f"evaluation-job-{eval_id}")
            job = await cluster.get(ref)
            assert job is not None
            assert job.labels == {"app": "evaluation"}
            (pod,) = await cluster.pods_of(job)
            assert pod.labels["app"] == "evaluation"
            await cluster.delete(pod.ref, pod.uid, grace_seconds=0)
            await cluster.wait_gone({pod.ref: pod.uid}, timeout_seconds=30)
            without_pod = await in_thread(get_evaluation, running.url, eval_id)
            assert (without_pod.status, without_pod.output) == ("succeeded", None)
            await cluster.delete(job.ref, job.uid)
            await cluster.wait_gone({job.ref: job.uid}, timeout_seconds=30)
            with pytest.raises(EvaluationRefused, match=r"no evaluation .* or it was cleaned up") as caught:
                await in_thread(get_evaluation, running.url, eval_id)
            assert caught.value.status == 404


@pytest.mark.needs("process_pods")
async def test_code_that_fails_says_with_which_exit_code_and_output(
    cluster_under_test: ClusterUnderTest, service: Callable[[str], EvaluationService]
) -> None:
    async with namespace_of(cluster_under_test) as (_, namespace):
        with service(namespace) as running:
            code = "print('before'); raise SystemExit(3)"
            eval_id = await in_thread(submit_evaluation, running.url, code=code)
            done = await in_thread(wait_for_evaluation, running.url, eval_id)
    assert (done.status, done.exit_code, done.output) == ("failed", 3, "before\n")
    assert done.reason == "BackoffLimitExceeded"


@pytest.mark.needs("process_pods")
async def test_a_full_quota_is_told_before_anything_is_created(
    cluster_under_test: ClusterUnderTest, service: Callable[[str], EvaluationService]
) -> None:
    async with namespace_of(cluster_under_test) as (cluster, namespace):
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "evaluation-quota"}}
        await cluster.create({**quota, "spec": {"hard": {"pods": "1"}}}, namespace)
        with service(namespace) as running:
            long = "import time; time.sleep(600)"
            first = await until_taken(running.url, code=long, labels={"test-id": "a"})
            await in_thread(wait_for_evaluation, running.url, first, status="running")
            with pytest.raises(EvaluationRefused) as caught:
                await in_thread(submit_evaluation, running.url, code=long)
            assert caught.value.status == 429
            assert "exceeded quota: evaluation-quota, used: pods=1, limited: pods=1" in str(caught.value)
            jobs = [job async for job in cluster.list("jobs", namespace, label_selector="app=evaluation")]
            assert [job.labels.get("test-id") for job in jobs] == ["a"]
            await cluster.delete(jobs[0].ref, jobs[0].uid)
            assert await until_taken(running.url, code="pass")


async def until_taken(url: str, **evaluation: Any) -> str:
    """Submit as soon as the quota has been counted, or has been freed."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return str(await in_thread(submit_evaluation, url, **evaluation))
        except EvaluationRefused as refused:
            if refused.status != 429 or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "missing required field `code`"),
        ({"code": ""}, 400, "length >= 1"),
        ({"code": 3}, 400, "Expected `str`"),
        ({"code": "x" * 40_000}, 400, "length <= 30000"),
        ({"code": "pass", "timeout_seconds": -1}, 400, "> 0"),
        ({"code": "pass", "backoff_limit": 1.5}, 400, "Expected `int"),
        ({"code": "pass", "timeout": 3}, 400, "unknown field `timeout`"),
    ],
)
def test_a_bad_request_is_refused_saying_why(
    nowhere: Path, body: dict[str, Any], status: int, words: str
) -> None:
    with EvaluationService(nowhere) as running, pytest.raises(EvaluationRefused) as caught:
        ApiSession(running.url).post("/evaluations", body)
    assert (caught.value.status, words in caught.value.reason) == (status, True)


def test_a_cluster_out_of_reach_is_503_with_the_reason(nowhere: Path) -> None:
    with EvaluationService(nowhere) as running, pytest.raises(EvaluationRefused) as caught:
        submit_evaluation(running.url, code="pass")
    assert caught.value.status == 503
    assert "http://127.0.0.1:1 cannot be reached" in caught.value.reason


def test_an_unknown_path_is_404(nowhere: Path) -> None:
    with EvaluationService(nowhere) as running, pytest.raises(EvaluationRefused) as caught:
        ApiSession(running.url).get("/other")
    assert caught.value.status == 404


def test_the_template_keeps_everything_but_the_command(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    container = {"image": "mine", "command": ["/opt/python3", "-X", "dev"], "args": ["x"], "env": []}
    spec = {"hostNetwork": True, "containers": [container, {"name": "side"}]}
    file.write_text(yaml.safe_dump({"metadata": {"labels": {"team": "a"}}, "spec": spec}))
    wanted = NewEvaluation(code="pass", timeout_seconds=0.4, backoff_limit=2, labels={"test-id": "t"})
    job = make_job("evaluation-job-1", wanted, read_template(file))
    pod = job["spec"]["template"]
    assert pod["metadata"]["labels"] == {"team": "a", "test-id": "t", "app": "evaluation"}
    assert pod["spec"]["hostNetwork"] is True
    assert pod["spec"]["restartPolicy"] == "Never"
    main, side = pod["spec"]["containers"]
    assert main == {
        "name": "main",
        "image": "mine",
        "env": [],
        "command": ["/opt/python3", "-X", "dev", "-c", "pass"],
    }
    assert side == {"name": "side"}
    assert (job["spec"]["backoffLimit"], job["spec"]["activeDeadlineSeconds"]) == (2, 1)


@pytest.mark.parametrize("text", ["", "[]", "spec: 3", "spec: {containers: 3}", "{", "metadata: {}"])
def test_a_template_that_is_none_is_one_line_naming_the_file(
    tmp_path: Path, nowhere: Path, text: str
) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        EvaluationService(nowhere, pod_template=file).start()
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


COMMAND = [sys.executable, "-m", "cleanup_scheduler.testing.evaluation"]


@pytest.fixture
def started(nowhere: Path) -> Iterator[subprocess.Popen[str]]:
    """The service as a program."""
    with subprocess.Popen(
        [*COMMAND, "--kubeconfig", str(nowhere)], stdout=subprocess.PIPE, text=True
    ) as program:
        yield program
        program.kill()


def test_the_program_says_when_it_is_ready_and_ends_when_told(started: subprocess.Popen[str]) -> None:
    assert started.stdout is not None
    ready, url, _ = started.stdout.readline().split()
    assert ready == "ready"
    with pytest.raises(EvaluationRefused) as caught:
        submit_evaluation(url, code="pass")
    assert caught.value.status == 503
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=10) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing option '--kubeconfig'"),
        (["--kubeconfig", "/no/such"], "kubeconfig /no/such does not exist"),
        (["--kubeconfig", "/no/such", "--port", "x"], "'x' is not a valid integer"),
        (["--kubeconfig", "/no/such", "--pod-template", "/none"], "pod template /none cannot be used"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(arguments: list[str], words: str) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_the_url_of_a_service_must_be_one() -> None:
    with pytest.raises(ValueError, match="is not the URL of an evaluation service"):
        ApiSession("file:///etc/passwd")
