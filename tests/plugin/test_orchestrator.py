"""The orchestrator on an embedded cluster: what it takes, what it says, how suites end that end badly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.errors import SettingsError, UnknownName, UsageError
from cleanup_scheduler.testing import EmbeddedCluster
from pytest_cleanup_scheduler.orchestrator.manifests import plain_template, read_template, suite_job
from pytest_cleanup_scheduler.orchestrator.suites import Suite, choose, known_suites, slug

from tests.plugin.project import Project, Result

SCRIPT = Path(__file__).resolve().parents[1] / "test_orchestrator.py"
MODULE = "pytest_cleanup_scheduler.orchestrator"


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    with EmbeddedCluster(namespace="crucible") as cluster:
        yield cluster


@pytest.fixture
def suites(project: Project, cluster: EmbeddedCluster) -> Project:
    """A project with two suites on a cluster that works."""
    project.environment["KUBECONFIG"] = str(cluster.kubeconfig)
    project.write("tests/integration/test_it.py", "def test_it(): print('hello from the pod')\n")
    project.write("tests/load/test_it.py", "def test_it(): pass\n")
    return project


def orchestrate(project: Project, *arguments: str, env: dict[str, str] | None = None) -> Result:
    return project.run("-m", MODULE, *arguments, env=env)


def start(project: Project, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", MODULE, *arguments],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(file: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} never came"
        time.sleep(0.05)


HANGS = """
    import pathlib, time
    def test_it(resource_manager):
        resource_manager.track_resource("jobs", "never-made")
        pathlib.Path("hanging").touch()
        time.sleep(120)
"""


# ---- what it takes ---------------------------------------------------------------------------------------


def test_a_suite_is_a_name_a_path_or_a_test(tmp_path: Path) -> None:
    file = tmp_path / "tests" / "load" / "test_x.py"
    file.parent.mkdir(parents=True)
    file.touch()
    known = known_suites(tmp_path, {})
    assert known == [Suite("load", "tests/load")]
    assert choose([], known, tmp_path, Path("/")) == known
    assert choose(["load", "load"], known, tmp_path, Path("/")) == known
    for argument, folder in (("tests/load/test_x.py", Path("/")), ("test_x.py", file.parent)):
        assert choose([argument], known, tmp_path, folder) == [Suite("load-test-x", "tests/load/test_x.py")]
    (one,) = choose(["tests/load/test_x.py::test_a[1]"], known, tmp_path, Path("/"))
    assert one == Suite("load-test-x", "tests/load/test_x.py::test_a[1]")


def test_an_unknown_suite_names_the_nearest_and_lists_the_known(tmp_path: Path) -> None:
    known = [Suite("integration", "a"), Suite("load", "b")]
    with pytest.raises(UnknownName, match=r"did you mean 'integration'.*known: integration, load"):
        choose(["integratoin"], known, tmp_path, tmp_path)


def test_what_lies_outside_the_checkout_is_refused(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (tmp_path / "test_x.py").touch()
    with pytest.raises(UsageError, match="outside"):
        choose(["../test_x.py"], [], checkout, checkout)


def test_a_configured_suite_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="suite 'load' is 'tests/load'"):
        known_suites(tmp_path, {"load": "tests/load"})


@pytest.mark.parametrize("text", ["Tests/Über_Größe.py", "x" * 200, "---", "a.b::c[1-2]"])
def test_every_name_of_a_suite_can_be_part_of_a_jobs_name(text: str) -> None:
    from cleanup_scheduler.domain.resources import check_name

    assert len(check_name(f"suite-{slug(text)}-01234567")) <= 63


def test_of_variables_the_command_line_is_strongest_then_the_template() -> None:
    pod = plain_template("image", Path("/checkout"), [])
    pod.main["env"] = [{"name": "A", "value": "template"}, {"name": "B", "value": "template"}]
    job = suite_job(
        "x",
        Suite("s", "tests/s"),
        pod,
        pytest_arguments=["--resource-cleanup", "pods"],
        environment={"A": "ours", "C": "ours"},
        asked={"B": "asked"},
        timeout_seconds=10,
    )
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert {variable["name"]: variable["value"] for variable in container["env"]} == {
        "A": "template",
        "B": "asked",
        "C": "ours",
    }
    assert [*container["command"], *container["args"]] == [
        *("python", "-m", "pytest", "tests/s"),
        *("--resource-cleanup", "pods"),
    ]
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("text", ["", "just words", "spec: {}", "spec: {containers: [1]}", "{"])
def test_a_pod_template_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=str(file)):
        read_template(file)


# ---- bad input: one line, the documented exit code ---------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "environment", "exit_code", "words"),
    [
        (["integratoin"], {}, 2, "did you mean 'integration'"),
        (["--resource-cleanup", "pod"], {}, 2, "did you mean 'pods'"),
        (["--env", "NOVALUE"], {}, 2, "write NAME=VALUE"),
        (["-n", "Not_A_Namespace"], {}, 2, "Not_A_Namespace"),
        (["-n", "nowhere"], {}, 2, "namespace nowhere does not exist"),
        (["--kubeconfig", "/nowhere"], {}, 2, "/nowhere does not exist"),
        (["--context", "other"], {}, 2, "other"),
        ([], {"CLEANUP_SCHEDULER_LEDGER_URL": "mysql://x/y"}, 2, "mysql"),
        ([], {"CLEANUP_SCHEDULER_LEDGER_URL": "postgresql://u:secret@h/l"}, 2, "holds a password"),
        ([], {"CLEANUP_SCHEDULER_RESOURCE_CLEENUP": "all"}, 2, "RESOURCE_CLEENUP"),
        ([], {"CLEANUP_SCHEDULER_SUITE_POD_TEMPLATE": "nowhere.yaml"}, 2, "nowhere.yaml"),
    ],
)
def test_bad_input_is_one_line(
    suites: Project, arguments: list[str], environment: dict[str, str], exit_code: int, words: str
) -> None:
    result = orchestrate(suites, *arguments, env=environment)
    assert result.exit_code == exit_code, result.err
    lines = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.err
    assert words in lines[0]
    assert "Traceback" not in result.err
    assert "secret" not in result.err


def test_a_cluster_that_refuses_is_exit_code_4(suites: Project) -> None:
    suites.kubeconfig("https://127.0.0.1:1")
    result = orchestrate(suites, "integration")
    assert result.exit_code == 4
    assert result.err.startswith("error: ")
    assert "https://127.0.0.1:1" in result.err
    assert len(result.err.splitlines()) == 1


def test_a_ledger_file_that_no_volume_brings_into_the_pod_is_refused(suites: Project) -> None:
    suites.write("pod.yaml", "spec: {containers: [{name: suite, image: x}]}")
    result = orchestrate(suites, env={"CLEANUP_SCHEDULER_SUITE_POD_TEMPLATE": "pod.yaml"})
    assert result.exit_code == 2
    assert "suite pods cannot reach the ledger" in result.err
    assert "hostPath" in result.err


# ---- what becomes of suites ------------------------------------------------------------------------------


def test_the_script_runs_from_any_folder_and_is_no_test_module(tmp_path: Path) -> None:
    assert os.access(SCRIPT, os.X_OK)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    shown = subprocess.run([SCRIPT, "--help"], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert b"SUITES are suites by name" in shown.stdout
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", SCRIPT],
        cwd=SCRIPT.parents[1],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no tests collected" in collected.stdout
    assert collected.returncode == 5


def test_output_comes_live_and_the_pods_run_belongs_to_the_orchestrators(suites: Project) -> None:
    suites.write("tests/integration/test_it.py", HANGS.replace("time.sleep(120)", "print('it runs')"))
    result = orchestrate(suites, "integration", "--resource-cleanup", "pods", "-e", "PYTEST_ADDOPTS=-s")
    assert result.exit_code == 0, result.err
    assert "it runs" in result.out
    suite, inner = suites.said(e.RunStarted)
    assert (suite.mode, inner.mode) == ("suite", "pytest")
    runs = [event.run_id for event in suites.events() if event.type == "RunStarted"]
    assert inner.parent_run_id == runs[0]


def test_a_suite_that_takes_too_long_is_stopped_and_that_is_said(suites: Project) -> None:
    suites.write("tests/integration/test_it.py", HANGS)
    result = orchestrate(suites, "integration", "--timeout", "3")
    assert result.exit_code == 1
    assert "it did not end within 3 s and was stopped" in result.err


def test_a_suite_whose_pod_vanishes_says_so(suites: Project, cluster: EmbeddedCluster) -> None:
    suites.write("tests/integration/test_it.py", HANGS)
    process = start(suites, "integration", "--resource-cleanup", "pods")
    wait_for(suites.folder / "hanging")
    _delete_suite_pods(cluster)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "vanished while it ran" in talk


def _delete_suite_pods(cluster: EmbeddedCluster) -> None:
    from tests.contracts.kubernetes.wire import Api

    api = Api(cluster.kubeconfig)
    pods = "/api/v1/namespaces/crucible/pods"
    for pod in api.get(pods).ok()["items"]:
        if pod["status"].get("phase") == "Running":
            api.delete(f"{pods}/{pod['metadata']['name']}", {"gracePeriodSeconds": 0})
    api.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_the_suites_and_says_the_runs_end(suites: Project, number: signal.Signals) -> None:
    suites.write("tests/integration/test_it.py", HANGS)
    process = start(suites, "--parallel", "--resource-cleanup", "all")
    wait_for(suites.folder / "hanging")
    process.send_signal(number)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 130, talk
    assert "integration: interrupted" in talk
    assert suites.scopes()["suite integration"].outcome == "interrupted"
    (job,) = suites.scopes()["suite integration"].tracked()
    assert job.status == "gone"
    assert suites.said(e.RunFinished)[-1].exit_code == 130


def test_no_tests_collected_is_a_failure_that_is_said(suites: Project) -> None:
    suites.write("tests/integration/test_it.py", "")
    result = orchestrate(suites, "integration")
    assert result.exit_code == 1
    assert "no tests were collected" in result.err


def test_a_failed_test_decides_over_bad_input_of_another_suite(suites: Project) -> None:
    suites.write("tests/integration/test_it.py", "def test_it(): assert 0\n")
    suites.write(
        "tests/load/test_it.py", "def test_it(resource_manager): resource_manager.cleanup_level = 'x'\n"
    )
    assert orchestrate(suites, "load").exit_code == 2
    result = orchestrate(suites)
    assert result.exit_code == 1
    assert "integration: tests failed" in result.err
    assert "load: interrupted, or bad input" in result.err
