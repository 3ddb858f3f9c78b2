"""After the test: what is due is freed, inline or by a live worker; the wait; what the summary says."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.ledger import open_ledger
from cleanup_scheduler.testing import EmbeddedCluster

from tests.plugin.project import Project

JOBS = """
    import pytest, time
    from pytest_cleanup_scheduler import managed_test_resources, with_resource_cleanup

    def job(name, command="true"):
        container = {"name": "main", "image": "x", "command": ["sh", "-c", command]}
        pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
                "spec": {"backoffLimit": 3, "template": {"spec": pod}}}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    with EmbeddedCluster(namespace="crucible") as cluster:
        yield cluster


@pytest.fixture
def on_cluster(project: Project, cluster: EmbeddedCluster) -> Project:
    project.environment["KUBECONFIG"] = str(cluster.kubeconfig)
    return project


def write_tests(project: Project, body: str) -> None:
    project.write("test_it.py", JOBS + body)


def statuses(project: Project) -> dict[str, str]:
    """What became of each tracked thing, by its name."""
    scopes = project.scopes().values()
    return {resource.ref.name: resource.status for scope in scopes for resource in scope.tracked()}


def test_level_all_deletes_what_the_test_created_before_the_next_test_begins(on_cluster: Project) -> None:
    write_tests(
        on_cluster,
        """
    @pytest.mark.resource_cleanup("all")
    def test_one(resource_manager):
        created = resource_manager.create(job("all-1", "sleep 60"))
        assert created.labels["cleanup-scheduler/scope"] == resource_manager.scope_id

    @pytest.mark.resource_cleanup("all")
    def test_two(resource_manager):
        resource_manager.create(job("all-1"))  # the name is free again
        """,
    )
    result = on_cluster.pytest("-v")
    assert result.exit_code == 0, result.out
    assert result.out.count("cleanup: freed after") == 2
    assert [payload.intent for payload in on_cluster.said(e.ResourceTracked)] == [True, False, True, False]
    assert statuses(on_cluster) == {"all-1": "gone"}


def test_a_generated_name_is_known_before_the_object_is_created(on_cluster: Project) -> None:
    write_tests(
        on_cluster,
        """
    def test_it(resource_manager):
        manifest = job("x")
        manifest["metadata"] = {"generateName": "generated-"}
        resource_manager.create(manifest)
        """,
    )
    assert on_cluster.pytest("--resource-cleanup", "all").exit_code == 0
    (name,) = {payload.resource.name for payload in on_cluster.said(e.ResourceTracked)}
    assert name.startswith("generated-")
    assert statuses(on_cluster) == {name: "gone"}


def test_a_failed_test_is_preserved_and_the_summary_says_how_to_get_at_it(on_cluster: Project) -> None:
    write_tests(
        on_cluster,
        """
    def test_it(resource_manager):
        resource_manager.create(job("kept-1"))
        assert 0
        """,
    )
    result = on_cluster.pytest("--resource-cleanup", "all")
    assert result.exit_code == 1
    assert statuses(on_cluster) == {"kept-1": "preserved"}
    summary = "\n".join(result.summary())
    assert "1 preserved because the test failed" in summary
    assert "cleanup-cli logs job/kept-1 -n crucible" in summary
    assert "cleanup-cli release job/kept-1 -n crucible" in summary


def test_the_summary_says_what_a_preserved_thing_holds(on_cluster: Project) -> None:
    write_tests(
        on_cluster,
        """
    def test_it(resource_manager):
        main = {"name": "main", "image": "x", "command": ["sleep", "60"],
                "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}}}
        spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [main]}
        metadata = {"name": "kept-2"}
        resource_manager.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        assert 0
        """,
    )
    summary = "\n".join(on_cluster.pytest("--resource-cleanup", "all").summary())
    assert "UTC; holds 1 pod, 100m CPU, 32Mi memory" in summary


def test_force_cleans_a_failed_test_as_if_it_had_passed(on_cluster: Project) -> None:
    write_tests(
        on_cluster,
        """
    def test_it(resource_manager):
        resource_manager.create(job("forced-1"))
        assert 0
        """,
    )
    assert on_cluster.pytest("--resource-cleanup", "all", "--force-cleanup").exit_code == 1
    assert statuses(on_cluster) == {"forced-1": "gone"}


def test_cleanup_in_the_test_frees_at_once_and_never_at_level_none(on_cluster: Project) -> None:
    write_tests(
        on_cluster,
        """
    def test_now(resource_manager):
        resource_manager.cleanup_level = "all"
        resource_manager.create(job("now-1", "sleep 60"))
        assert str(resource_manager.cleanup()).startswith("freed")
        resource_manager.create(job("now-1"))

    def test_forced(resource_manager):
        resource_manager.cleanup_level = "all"
        resource_manager.create(job("now-2"))
        resource_manager.cleanup(force=True)
        resource_manager.create(job("now-3"))
        assert 0

    @pytest.fixture
    def looked_at(resource_manager):
        yield
        resource_manager.cleanup()

    def test_failed_before_it_was_called(resource_manager, looked_at):
        resource_manager.cleanup_level = "all"
        resource_manager.create(job("now-4"))
        assert 0

    def test_none(resource_manager):
        resource_manager.cleanup_level = "none"
        resource_manager.create(job("now-5"))
        assert str(resource_manager.cleanup()) == "nothing to clean"
        """,
    )
    on_cluster.pytest()
    assert statuses(on_cluster) == {
        "now-1": "gone",
        "now-2": "gone",
        "now-3": "gone",
        "now-4": "preserved",
        "now-5": "tracked",
    }


def test_a_block_is_cleaned_when_it_ends_whatever_the_test_does_later(on_cluster: Project) -> None:
    write_tests(
        on_cluster,
        """
    def test_it(resource_manager):
        with managed_test_resources("block", cleanup_level="all") as block:
            block.create(job("block-1"))
        resource_manager.create(job("block-1"))  # gone, so the name is free
        assert 0
        """,
    )
    on_cluster.pytest()
    assert [r.status for r in on_cluster.scopes()["block"].tracked()] == ["gone"]
    assert [r.status for r in on_cluster.scopes()["test_it"].tracked()] == ["preserved"]


def test_the_wait_ends_at_its_limit_and_the_rest_is_named(on_cluster: Project) -> None:
    write_tests(
        on_cluster,
        """
    @pytest.mark.resource_cleanup("all", wait_after=0.5)
    def test_it(resource_manager):
        stubborn = job("slow-1")
        stubborn["metadata"]["finalizers"] = ["example.com/somebody-elses"]
        resource_manager.create(stubborn)
        """,
    )
    on_cluster.configure("wait_after_seconds = 0.5")
    result = on_cluster.pytest("-v")
    assert "1 still being freed after" in result.out, result.out
    assert any("not freed yet" in line for line in result.summary())
    assert result.exit_code == 0


def test_the_wait_goes_on_until_the_named_quota_has_counted_and_says_so(
    on_cluster: Project, cluster: EmbeddedCluster
) -> None:
    spec = {"hard": {"pods": "100"}}
    name = "evaluation-quota"
    cluster.create([{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec}])
    on_cluster.configure('quota = "evaluation-quota"')
    write_tests(
        on_cluster,
        """
    @pytest.mark.resource_cleanup("all", wait_after=30)
    def test_it(resource_manager):
        resource_manager.create(job("quota-1"))
        """,
    )
    result = on_cluster.pytest("-v")
    assert "quota evaluation-quota counted after another" in result.out, result.out
    assert result.exit_code == 0


def test_a_quota_that_is_not_there_is_bad_input_said_once_and_not_waited_for(on_cluster: Project) -> None:
    on_cluster.configure('quota = "no-such"')
    write_tests(
        on_cluster,
        """
    @pytest.mark.parametrize("number", [1, 2])
    def test_it(resource_manager, number):
        resource_manager.cleanup_level = "all"
        resource_manager.create(job(f"no-quota-{number}"))
        """,
    )
    result = on_cluster.pytest()
    said = [line for line in result.summary() if "setting 'quota': there is no quota 'no-such'" in line]
    assert (len(said), result.exit_code) == (1, 2), result.out
    assert set(statuses(on_cluster).values()) == {"gone"}


def test_a_fixed_wait_lasts_the_whole_time(on_cluster: Project) -> None:
    on_cluster.configure('wait = "fixed"')
    write_tests(
        on_cluster,
        """
    @with_resource_cleanup("all", wait_after=2)
    def test_it(resource_manager):
        resource_manager.create(job("fixed-1"))
    ended = []
    def test_next():
        pass
        """,
    )
    result = on_cluster.pytest("-v", "--durations=0")
    seconds = float(result.out.partition("cleanup: freed after ")[2].split()[0])
    assert seconds >= 2


def test_with_a_live_worker_the_test_process_deletes_nothing_itself(
    on_cluster: Project, cluster: EmbeddedCluster
) -> None:
    write_tests(
        on_cluster,
        """
    @pytest.mark.resource_cleanup("all", wait_after=30)
    def test_it(resource_manager):
        resource_manager.create(job("by-worker"))
        """,
    )
    program = Path(sys.executable).parent / "cleanup-scheduler"
    worker = subprocess.Popen([program, "run"], cwd=on_cluster.folder, env=on_cluster.environment)
    try:
        _wait_for_a_live_worker(on_cluster)
        result = on_cluster.pytest("-v")
    finally:
        worker.terminate()
        worker.wait(timeout=30)
    assert "by the running worker" in result.out, result.out
    assert statuses(on_cluster) == {"by-worker": "gone"}
    producers = {event.producer for event in on_cluster.events() if event.type == "DeletionRequested"}
    assert len(producers) == 1
    assert "inline" not in producers.pop()


def _wait_for_a_live_worker(project: Project) -> None:
    deadline = time.monotonic() + 30
    url = f"sqlite:///{project.folder}/.cleanup-scheduler/ledger.db"
    while time.monotonic() < deadline:
        with open_ledger(url) as ledger:
            if any(beat.alive for beat in ledger.heartbeats("worker")):
                return
        time.sleep(0.1)
    pytest.fail("no worker came alive")


def test_an_unknown_kind_is_named_with_the_line_that_tracks_it(on_cluster: Project) -> None:
    write_tests(
        on_cluster,
        """
    def test_it(resource_manager):
        resource_manager.track_resource("jobz", "x")
        """,
    )
    result = on_cluster.pytest()
    assert result.exit_code == 2, result.out
    line = next(line for line in result.summary() if line.startswith("error"))
    assert "test_it.py:12" in line
    assert "jobz" in line
    assert "jobs" in line


def test_what_carries_the_labels_is_cleaned_although_nobody_tracked_it(
    on_cluster: Project,
) -> None:
    write_tests(
        on_cluster,
        """
    @with_resource_cleanup("all")
    def test_it():
        import os, subprocess, sys
        subprocess.run([sys.executable, "creates.py"], check=True)
        """,
    )
    on_cluster.write(
        "creates.py",
        """
        import asyncio, os
        from cleanup_scheduler.cluster import connect
        from cleanup_scheduler.settings import Settings
        labels = {"cleanup-scheduler/ledger": os.environ["CLEANUP_SCHEDULER_LEDGER_ID"],
                  "cleanup-scheduler/run": os.environ["CLEANUP_SCHEDULER_RUN_ID"],
                  "cleanup-scheduler/scope": os.environ["CLEANUP_SCHEDULER_SCOPE_ID"]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "on-its-behalf", "labels": labels},
               "spec": {"containers": [{"name": "m", "image": "x", "command": ["sleep", "60"]}]}}
        async def main():
            async with connect(Settings()) as cluster:
                await cluster.create(pod)
        asyncio.run(main())
        """,
    )
    result = on_cluster.pytest("-v")
    assert result.exit_code == 0, result.out
    assert statuses(on_cluster) == {"on-its-behalf": "gone"}


def test_a_cluster_that_goes_away_in_mid_session_is_a_warning(project: Project, tmp_path: Path) -> None:
    write_tests(
        project,
        """
    import pathlib
    def test_one(resource_manager):
        resource_manager.create(job("away-1"))
    def test_two(resource_manager):
        resource_manager.create(job("away-2"))
        pathlib.Path("created").touch()
        while not pathlib.Path("stopped").exists():
            time.sleep(0.05)
        """,
    )
    project.configure("request_timeout_seconds = 2")
    with EmbeddedCluster(namespace="crucible") as cluster:
        kubeconfig = project.folder / "copy"
        kubeconfig.write_bytes(cluster.kubeconfig.read_bytes())
        project.environment["KUBECONFIG"] = str(kubeconfig)
        results = []
        thread = threading.Thread(target=lambda: results.append(project.pytest()))
        thread.start()
        while not (project.folder / "created").exists():
            assert thread.is_alive(), results
            time.sleep(0.05)
    (project.folder / "stopped").touch()
    thread.join(timeout=60)
    (result,) = results
    assert (result.exit_code, result.outcomes()) == (0, {"passed": 2}), result.out
    assert any("went out of reach" in line for line in result.summary()), result.summary()
    assert statuses(project) == {"away-1": "kept", "away-2": "tracked"}


def test_what_a_failed_set_up_created_is_cleaned_although_no_teardown_ran(on_cluster: Project) -> None:
    """A failed set-up skipped the teardown: inspect_k8s_sandbox 250."""
    write_tests(
        on_cluster,
        """
    import pytest
    @pytest.fixture
    def platform(resource_manager):
        resource_manager.create(job("half-1"))
        raise RuntimeError("the set-up failed")
        yield
    def test_it(platform):
        pass
        """,
    )
    assert on_cluster.pytest("--resource-cleanup", "all", "--force-cleanup").exit_code == 1
    assert statuses(on_cluster) == {"half-1": "gone"}
