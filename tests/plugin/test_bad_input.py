"""Bad input: one line with what, where and what to do; exit code 2; the tests still run to their end."""

from __future__ import annotations

from pathlib import Path

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.ledger import open_ledger

from tests.plugin.project import Project, Result

PASSES = """
    def test_it(resource_manager):
        resource_manager.track_resource("jobs", "evaluation-job-1")
    def test_plain(): pass
"""


def the_line(result: Result, *words: str) -> str:
    """The one line of the summary that holds these words; both tests passed, the exit code is 2."""
    assert result.outcomes() == {"passed": 2}, result.out
    assert result.exit_code == 2, result.out
    assert "Traceback" not in result.out + result.err
    lines = [line for line in result.summary() if line.startswith("error: ")]
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0]
    return lines[0]


def test_an_unknown_level_on_the_command_line_is_refused_before_anything_begins(project: Project) -> None:
    project.write("test_it.py", PASSES)
    result = project.pytest("--resource-cleanup", "pod")
    assert result.exit_code == 2
    assert result.err == (
        "error: --resource-cleanup: unknown level 'pod' (did you mean pods? use none, pods or all)\n"
    )
    assert not (project.folder / ".cleanup-scheduler").exists()


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ('@pytest.mark.resource_cleanup("podz")', "test_it.py:4, marker resource_cleanup"),
        ('@with_resource_cleanup("podz")', "test_it.py:4"),
        ("@pytest.mark.resource_cleanup(levle='pods')", "does not take levle"),
        ("@with_resource_cleanup(wait_after='soon')", "wait_after is 'soon'"),
    ],
)
def test_a_wrong_marker_or_decorator_is_named_with_its_line(
    project: Project, source: str, where: str
) -> None:
    project.write(
        "test_it.py",
        f"""
        import pytest
        from pytest_cleanup_scheduler import with_resource_cleanup
        {source}
        def test_it(resource_manager): pass
        def test_plain(): pass
        """,
    )
    the_line(project.pytest(), where)


def test_an_unknown_level_set_in_a_test_deletes_nothing(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        def test_it(resource_manager):
            resource_manager.cleanup_level = "everything"
            assert resource_manager.cleanup_level == "none"
        def test_plain(): pass
        """,
    )
    the_line(project.pytest(), "test_it.py:3", "'everything'", "none, pods, all")


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("jobs", "Evaluation_Job", "is not a resource name"),
        ("jobs", "x" * 254, "is not a resource name"),
        ("no kind", "x", "is not a resource kind"),
        ("jobs", "\\x1b[31mred", "is not a resource name"),
    ],
)
def test_a_malformed_resource_is_named_with_the_line_that_tracks_it(
    project: Project, kind: str, name: str, reason: str
) -> None:
    project.write(
        "test_it.py",
        f"""
        def test_it(resource_manager):
            resource_manager.track_resource("{kind}", "{name}")
        def test_plain(): pass
        """,
    )
    line = the_line(project.pytest("--resource-cleanup", "none"), "test_it.py:3", reason)
    assert "\x1b" not in line
    assert project.said(e.ResourceTracked) == []


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('resource_cleenup = "all"', "'resource_cleenup'"),
        ('resource_cleanup = "podz"', "use one of: none, pods, all"),
        ('wait_after_seconds = "long"', "wait_after_seconds"),
    ],
)
def test_a_wrong_setting_is_named_and_what_tests_said_is_kept(
    project: Project, setting: str, words: str
) -> None:
    project.configure(setting)
    project.write("test_it.py", PASSES)
    the_line(project.pytest(), str(project.folder / "pyproject.toml"), words)
    project.configure("")
    project.pytest("--resource-cleanup", "none")  # mended: the next run stores what waited
    assert len(project.said(e.ResourceTracked)) == 2


def test_a_missing_kubeconfig_is_named_and_what_tests_said_is_in_the_ledger(project: Project) -> None:
    project.write("test_it.py", PASSES)
    result = project.pytest("--resource-cleanup", "none", env={"KUBECONFIG": "/nowhere/kubeconfig"})
    the_line(result, "/nowhere/kubeconfig does not exist")
    assert len(project.said(e.ResourceTracked)) == 1


def test_a_cluster_that_refuses_is_named_once_and_what_tests_said_is_in_the_ledger(project: Project) -> None:
    project.write("test_it.py", PASSES)
    the_line(project.pytest(), "https://127.0.0.1:1", "cannot be reached", "cleanup-scheduler run --once")
    assert len(project.said(e.ResourceTracked)) == 1


@pytest.mark.parametrize(
    "url", ["mysql://host/ledger", "no url at all", "sqlite:///", "postgresql://host:port/x"]
)
def test_a_wrong_ledger_url_is_named_and_what_tests_said_waits_in_the_journal(
    project: Project, url: str
) -> None:
    project.write("test_it.py", PASSES)
    environment = {"CLEANUP_SCHEDULER_LEDGER_URL": url}
    the_line(project.pytest("--resource-cleanup", "none", env=environment), "ledger")
    project.pytest("--resource-cleanup", "none")
    assert len(project.said(e.ResourceTracked)) == 2


def test_a_ledger_that_is_away_is_a_warning_and_fails_nothing(project: Project) -> None:
    project.write("test_it.py", PASSES)
    environment = {"CLEANUP_SCHEDULER_LEDGER_URL": "postgresql://127.0.0.1:1/ledger"}
    result = project.pytest("--resource-cleanup", "none", env=environment)
    assert (result.exit_code, result.outcomes()) == (0, {"passed": 2}), result.out
    assert [line for line in result.summary() if line.startswith("error")] == []
    assert any("could not be reached" in line for line in result.summary())
    assert any("events wait in" in line for line in result.summary())


def test_a_required_ledger_that_is_away_fails_the_tests_that_need_it(project: Project) -> None:
    project.configure("ledger_required = true")
    project.write("test_it.py", PASSES)
    environment = {"CLEANUP_SCHEDULER_LEDGER_URL": "postgresql://127.0.0.1:1/ledger"}
    result = project.pytest("--resource-cleanup", "none", env=environment)
    assert (result.exit_code, result.outcomes()) == (1, {"passed": 1, "error": 1}), result.out


def test_failed_tests_keep_their_own_exit_code(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        def test_it(resource_manager):
            resource_manager.track_resource("jobs", "Not_A_Name")
            assert 0
        """,
    )
    result = project.pytest()
    assert result.exit_code == 1
    assert any("Not_A_Name" in line for line in result.summary())


def test_a_suite_in_a_pod_that_finds_another_ledger_says_so(project: Project, tmp_path: Path) -> None:
    project.write("test_it.py", PASSES)
    with open_ledger(f"sqlite:///{tmp_path}/other.db") as other:
        environment = {"CLEANUP_SCHEDULER_SUITE_LEDGER_ID": other.ledger_id}
    the_line(project.pytest("--resource-cleanup", "none", env=environment), "not the one of whoever started")


def test_start_up_imports_nothing_that_costs(project: Project) -> None:
    project.write(
        "test_it.py",
        """
        import sys
        def test_it():
            heavy = {"sqlalchemy", "kubernetes", "msgspec", "yaml", "click", "aiohttp", "asyncio.runners"}
            assert "pytest_cleanup_scheduler.plugin" in sys.modules
            ours = {name for name in sys.modules if name.startswith("cleanup_scheduler")}
            assert not (heavy & set(sys.modules) | ours)
        """,
    )
    result = project.pytest("-p", "no:xdist", "-p", "no:rerunfailures", "-p", "no:hypothesispytest")
    assert result.exit_code == 0, result.out
