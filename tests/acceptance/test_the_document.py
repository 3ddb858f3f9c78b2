"""Every line of the mission document, as it is written there."""

from __future__ import annotations

import pytest

from tests.acceptance.world import World, passed

pytestmark = [pytest.mark.timeout(600), pytest.mark.needs("process_pods")]
TESTS = 4  # in the suite `integration`


def test_no_cleanup_by_default(world: World) -> None:
    """``./tests/test_orchestrator.py integration``"""
    done = world.orchestrator("integration").well()
    assert passed(done.out) == TESTS, done.out
    assert list(world.jobs("suite-integration-")), "the suite ran in a Job, which is kept"
    assert world.job_of("test_evaluation") in world.jobs()
    assert any(pod.startswith(world.job_of("test_evaluation")) for pod in world.pods())
    # what a test asks for itself is stronger than the default
    concurrent = [resource.ref.name for resource in world.tracked("test_concurrent_evaluations")]
    assert set(concurrent) <= set(world.jobs())
    assert not [pod for pod in world.pods() if pod.startswith(tuple(concurrent))]
    assert world.job_of("my_test") not in world.jobs()


def test_level_none_deletes_nothing_at_all(world: World) -> None:
    """``--resource-cleanup none``"""
    done = world.orchestrator("integration", "--resource-cleanup", "none").well()
    assert passed(done.out) == TESTS
    assert len(world.jobs()) == 6
    assert len(world.pods()) == 6


def test_level_pods_frees_pods_keeps_jobs_and_their_logs(world: World) -> None:
    """``./tests/test_orchestrator.py integration --resource-cleanup pods``"""
    done = world.orchestrator("integration", "--resource-cleanup", "pods").well()
    assert passed(done.out) == TESTS
    running = world.job_of("test_an_evaluation_that_still_runs_when_its_test_is_done")
    assert world.pods() == [], "the pods are gone and none came anew"
    assert set(world.jobs()) == {
        *[resource.ref.name for resource in world.tracked("test_concurrent_evaluations")],
        world.job_of("test_evaluation"),
        running,
    }
    job = world.jobs()[running]
    assert job["spec"]["suspend"] is True, "stopped before its pods went, with three retries left"
    held = {one["type"] for one in job["status"].get("conditions") or [] if one["status"] == "True"}
    assert held == {"Suspended"}, (
        "not marked Failed: a real controller counts the pod, but keeps its result open"
    )
    assert "test\n" in world.cli("logs", f"job/{world.job_of('test_evaluation')}").well().out
    assert "begun" in world.cli("logs", f"job/{running}").well().out
    (suite,) = world.jobs("suite-integration-")
    assert world.pods("suite-") == []
    assert f"{TESTS} passed" in world.cli("logs", f"job/{suite}").well().out


def test_level_all_leaves_nothing(world: World) -> None:
    """``--resource-cleanup all``"""
    world.orchestrator("integration", "--resource-cleanup", "all").well()
    assert world.pods() == []
    left = set(world.jobs())
    # its decorator asks for pods, which is stronger than the command line
    assert left == {resource.ref.name for resource in world.tracked("test_concurrent_evaluations")}
    assert world.jobs("suite-") == {}
    assert world.pods("suite-") == []


def test_load_suite_with_a_hundred_tracked_jobs_in_one_test(world: World) -> None:
    """``./tests/test_orchestrator.py load --resource-cleanup all``"""
    done = world.orchestrator("load", "--resource-cleanup", "all", *world.simulated_evaluations()).well()
    assert passed(done.out) == 1
    assert world.jobs() == {}
    assert world.pods() == []
    hundred = world.tracked("test_a_hundred_evaluations")
    assert [resource.status for resource in hundred] == ["gone"] * 100


def test_no_suite_named_runs_all_of_them_in_parallel(world: World) -> None:
    """``./tests/test_orchestrator.py --resource-cleanup pods --parallel``"""
    done = world.orchestrator("--resource-cleanup", "pods", "--parallel").well()
    lines = done.out.splitlines()
    assert any(line.startswith("[integration] ") and "passed" in line for line in lines), done.out
    assert any(line.startswith("[load] ") and "passed" in line for line in lines), done.out
    assert len(world.jobs("suite-integration-")) == len(world.jobs("suite-load-")) == 1


def test_a_test_file_can_be_named_and_failed_tests_keep_what_they_made(world: World) -> None:
    """Failed tests: resources preserved for debugging (unless forced)."""
    done = world.orchestrator("tests/acceptance/suites/fails.py", "--resource-cleanup", "pods")
    assert done.exit_code == 1, done.out + done.err
    failed, passed_ = world.job_of("test_fails"), world.job_of("test_passes")
    forced, block = world.job_of("test_fails_forced"), world.job_of("forced_block")
    assert failed in world.jobs()
    assert [pod for pod in world.pods() if pod.startswith(failed)]
    assert passed_ in world.jobs()
    assert not [pod for pod in world.pods() if pod.startswith(passed_)]
    assert not {forced, block} & set(world.jobs()), "forced, both are gone"
    assert f"cleanup-cli logs job/{failed}" in done.out, "the summary says how to look at it"
    (suite,) = world.jobs("suite-")
    assert world.pods("suite-"), "the failed suite's own pod is preserved, too"
    assert f"cleanup-cli release job/{suite}" in done.err


def test_release_cleans_what_was_preserved(world: World) -> None:
    world.orchestrator("tests/acceptance/suites/fails.py", "--resource-cleanup", "pods")
    failed = world.job_of("test_fails")
    world.cli("release", f"job/{failed}").well()
    world.scheduler("run", "--once")
    assert not [pod for pod in world.pods() if pod.startswith(failed)]
    assert "evidence" in world.cli("logs", f"job/{failed}").well().out


def test_force_cleanup_cleans_failed_tests_too(world: World) -> None:
    """``--force-cleanup``"""
    done = world.orchestrator(
        "tests/acceptance/suites/fails.py", "--resource-cleanup", "all", "--force-cleanup"
    )
    assert done.exit_code == 1
    assert world.jobs() == {}
    assert world.jobs("suite-") == {}
    assert world.pods() + world.pods("suite-") == []


@pytest.mark.needs("kubectl")
def test_a_full_quota_is_freed_by_cleaning(world: World) -> None:
    """``kubectl get resourcequota evaluation-quota -n crucible``"""
    world.quota(pods=3)  # the suite's own pod is one of them
    done = world.orchestrator(
        "tests/load/test_quota.py", "--resource-cleanup", "all", "--env", "EVALUATION_QUOTA_PODS=3"
    ).well()
    assert passed(done.out) == 2, done.out
    shown = world.kubectl("get resourcequota evaluation-quota -n crucible").well().out
    assert "evaluation-quota" in shown
    assert world.pods() == []


@pytest.mark.needs("kubectl")
def test_the_documents_kubectl_lines_do_not_disturb_the_ledger(world: World) -> None:
    """Manual cleaning, and looking at logs, as the document's troubleshooting has it."""
    world.orchestrator("tests/acceptance/suites/fails.py", "--resource-cleanup", "pods")
    failed = world.job_of("test_fails")
    assert "evidence" in world.kubectl(f"logs job/{failed} -n crucible").well().out
    world.kubectl(f"delete job {failed} -n crucible").well()
    world.kubectl("delete pods -n crucible -l app=evaluation").well()
    world.kubectl("delete jobs -n crucible -l app=evaluation").well()
    assert world.jobs() == {}
    world.cli("release", f"job/{failed}")
    world.scheduler("run", "--once")
    (resource,) = world.tracked("test_fails")
    assert resource.status == "gone"
