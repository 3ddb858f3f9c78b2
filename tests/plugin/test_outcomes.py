"""What the ledger hears of a test: written ahead, and the outcome only once the whole test is known."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cleanup_scheduler.domain import events as e

from tests.plugin.project import Project


def test_what_a_test_tracks_is_in_the_ledger_before_the_test_goes_on(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        import os
        def test_dies(resource_manager):
            resource_manager.track_resource("jobs", "evaluation-job-1")
            os._exit(9)
        """,
    )
    assert project.pytest("--resource-cleanup", "none").exit_code == 9
    assert [event.type for event in project.events()] == ["RunStarted", "ScopeOpened", "ResourceTracked"]
    assert project.said(e.ResourceTracked)[0].resource.short == "job/evaluation-job-1"


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("pass", "passed"),
        ("assert 0", "failed"),
        ("pytest.skip('not here')", "skipped"),
        ("pytest.xfail('known')", "skipped"),
        ("raise SystemExit(3)", "failed"),
    ],
)
def test_the_outcome_is_the_one_that_pytest_reports(project: Project, body: str, outcome: str) -> None:
    project.write(
        "test_it.py",
        f"""
        import pytest
        def test_it(resource_manager):
            {body}
        """,
    )
    project.pytest("--resource-cleanup", "none")
    assert project.scopes()["test_it"].outcome == outcome


def test_a_failure_in_setup_or_teardown_counts_as_failed(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        import pytest
        @pytest.fixture
        def broken_start(resource_manager):
            resource_manager.track_resource("jobs", "a")
            raise RuntimeError
        @pytest.fixture
        def broken_end(resource_manager):
            yield
            raise RuntimeError
        def test_start(broken_start): pass
        def test_end(broken_end): pass
        """,
    )
    result = project.pytest("--resource-cleanup", "none")
    assert result.outcomes() == {"passed": 1, "error": 2}
    assert {name: scope.outcome for name, scope in project.scopes().items()} == {
        "test_start": "failed",
        "test_end": "failed",
    }


def test_a_failed_subtest_fails_the_scope(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        def test_it(resource_manager, subtests):
            with subtests.test("one"):
                assert 0
        """,
    )
    project.pytest("--resource-cleanup", "none")
    assert project.scopes()["test_it"].outcome == "failed"


def test_a_strict_xfail_that_passes_counts_as_failed(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        import pytest
        @pytest.mark.xfail(strict=True)
        def test_it(resource_manager): pass
        """,
    )
    project.pytest("--resource-cleanup", "none")
    assert project.scopes()["test_it"].outcome == "failed"


def test_ctrl_c_records_interrupted_and_the_run_still_says_its_end(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        import pathlib, time
        def test_passes(resource_manager): pass
        def test_hangs(resource_manager):
            resource_manager.track_resource("jobs", "a")
            pathlib.Path("hanging").touch()
            time.sleep(60)
        def test_never(resource_manager): pass
        """,
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "--resource-cleanup", "none"],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
    )
    _wait_for(project.folder / "hanging", process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 2
    outcomes = {name: scope.outcome for name, scope in project.scopes().items()}
    assert outcomes == {"test_passes": "passed", "test_hangs": "interrupted"}
    assert project.events()[-1].type == "RunFinished"


def _wait_for(file: Path, process: subprocess.Popen[bytes]) -> None:
    while not file.exists():
        with pytest.raises(subprocess.TimeoutExpired):  # it must not end before
            process.wait(timeout=0.05)


def test_pytest_exit_in_a_test_interrupts_its_scope(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        import pytest
        def test_it(resource_manager):
            pytest.exit("enough", returncode=5)
        """,
    )
    assert project.pytest("--resource-cleanup", "none").exit_code == 5
    assert project.scopes()["test_it"].outcome == "interrupted"


def test_each_rerun_is_an_attempt_and_the_last_one_decides(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        import pathlib, pytest
        @pytest.mark.flaky(reruns=3)
        def test_it(resource_manager):
            count = len(list(pathlib.Path(".").glob("tried*")))
            pathlib.Path(f"tried{count}").touch()
            resource_manager.track_resource("jobs", f"attempt-{count}")
            assert count == 2
        """,
    )
    result = project.pytest("--resource-cleanup", "pods")
    assert result.outcomes() == {"passed": 1, "rerun": 2}
    assert [event.attempt for event in project.said(e.ScopeOpened)] == [1, 2, 3]
    assert [event.outcome for event in project.said(e.OutcomeRecorded)] == ["failed", "failed", "passed"]
    released = [event.scope_id for event in project.events() if event.type == "ReleaseRequested"]
    opened = [event.scope_id for event in project.events() if event.type == "ScopeOpened"]
    assert released == opened[:2]


def test_a_test_that_stays_red_through_its_reruns_keeps_what_each_attempt_left(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        import pytest
        @pytest.mark.flaky(reruns=1)
        def test_it(resource_manager):
            resource_manager.track_resource("jobs", "a")
            assert 0
        """,
    )
    project.pytest("--resource-cleanup", "pods")
    assert [event.outcome for event in project.said(e.OutcomeRecorded)] == ["failed", "failed"]
    assert project.said(e.ReleaseRequested) == []


def test_xdist_workers_share_one_run_which_the_controller_ends(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        import pytest
        @pytest.mark.parametrize("n", range(6))
        def test_it(resource_manager, n):
            resource_manager.track_resource("jobs", f"job-{n}")
        def test_bad(resource_manager):
            resource_manager.track_resource("jobs", "Not_A_Name")
        """,
    )
    result = project.pytest("-n", "2", "--resource-cleanup", "none")
    assert result.outcomes() == {"passed": 7}
    assert result.exit_code == 2, "the bad name was seen in a worker, the controller says so"
    assert any("Not_A_Name" in line for line in result.summary())
    events = project.events()
    assert len({event.run_id for event in events}) == 1
    assert [event.type for event in events].count("RunStarted") == 1
    assert events[-1].type == "RunFinished"
    assert all(scope.outcome == "passed" for scope in project.scopes().values())
    assert len(project.scopes()) == 7


def test_a_test_that_asks_for_nothing_makes_no_ledger(project: Project) -> None:
    project.write("test_it.py", "def test_it(): pass")
    result = project.pytest("--resource-cleanup", "pods")
    assert result.exit_code == 0
    assert result.summary() == []
    assert not (project.folder / ".cleanup-scheduler").exists()


def test_a_dynamically_requested_fixture_opens_its_scope_too(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        def test_it(request):
            request.getfixturevalue("resource_manager").track_resource("po", "x")
        """,
    )
    project.pytest("--resource-cleanup", "none")
    assert project.scopes()["test_it"].outcome == "passed"


def test_the_run_beats_while_a_test_blocks_and_falls_silent_at_its_end(project: Project) -> None:
    project.configure("heartbeat_seconds = 0.05")
    project.write(
        "test_it.py",
        """
        import time
        from cleanup_scheduler.ledger import open_ledger
        def test_it(resource_manager):
            with open_ledger("sqlite:///.cleanup-scheduler/ledger.db") as ledger:
                first = ledger.heartbeats("run")[0]
                assert first.id == resource_manager.run_id
                deadline = time.monotonic() + 10
                while ledger.heartbeats("run")[0].at == first.at:
                    assert time.monotonic() < deadline
        """,
    )
    result = project.pytest("--resource-cleanup", "none")
    assert result.exit_code == 0, result.out
    from cleanup_scheduler.ledger import open_ledger

    with open_ledger(f"sqlite:///{project.folder}/.cleanup-scheduler/ledger.db") as ledger:
        assert ledger.heartbeats("run") == []


def test_programs_started_by_a_test_find_their_labels_in_the_environment(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        import os
        def test_it(resource_manager):
            labels = resource_manager.labels
            assert os.environ["CLEANUP_SCHEDULER_SCOPE_ID"] == labels["cleanup-scheduler/scope"]
            assert os.environ["CLEANUP_SCHEDULER_RUN_ID"] == labels["cleanup-scheduler/run"]
            assert os.environ["CLEANUP_SCHEDULER_LEDGER_ID"] == labels["cleanup-scheduler/ledger"]
            assert os.environ["TEST_LABEL_ID"] == labels["test-id"]
        def test_afterwards_they_are_gone():
            assert "CLEANUP_SCHEDULER_SCOPE_ID" not in os.environ
            assert "TEST_LABEL_ID" not in os.environ
        """,
    )
    result = project.pytest("--resource-cleanup", "none")
    assert result.outcomes() == {"passed": 2}, result.out


def test_the_id_of_an_existing_platform_is_kept(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        import os
        def test_it(resource_manager):
            assert resource_manager.labels["test-id"] == os.environ["TEST_LABEL_ID"] == "theirs"
        """,
    )
    result = project.pytest("--resource-cleanup", "none", env={"TEST_LABEL_ID": "theirs"})
    assert result.exit_code == 0, result.out
