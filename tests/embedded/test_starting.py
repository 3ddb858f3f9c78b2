"""Starting and stopping: by hand, in this process, as a fixture; and nothing is left, whatever ends it."""

from __future__ import annotations

import gc
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cleanup_scheduler.testing import EmbeddedCluster

from tests.contracts.kubernetes.wire import Api
from tests.embedded.world import PODS, World, alive, api_of, eventually, pod, shell

COMMAND = [sys.executable, "-m", "cleanup_scheduler.testing"]


@contextmanager
def started(kubeconfig: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [*COMMAND, "--kubeconfig", str(kubeconfig), *arguments]
    env = {**os.environ, "TMPDIR": str(kubeconfig.parent)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith("ready ")
        yield process
    finally:
        process.kill()
        process.communicate()


def start_sleepers(kubeconfig: Path, folder: Path) -> list[int]:
    """A pod whose process has a child in its group and one that left it. Their process ids."""
    script = (
        f"sleep 1000 & echo $! > {folder}/child; setsid sleep 1000 & echo $! > {folder}/loner; "
        f"echo $$$$ > {folder}/main; touch {folder}/done; wait"
    )
    api = Api(kubeconfig)
    api.post(PODS, pod("sleeper", shell(script))).ok(201)
    api.close()
    eventually((folder / "done").exists, "the pod's processes")
    return [int((folder / name).read_text()) for name in ("main", "child", "loner")]


def temporary_folders(folder: Path) -> list[Path]:
    return list(folder.glob("cleanup-scheduler-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_by_hand_it_says_ready_serves_and_ends_its_processes_with_a_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    with started(kubeconfig, "--namespace", "crucible") as process:
        assert stat.S_IMODE(kubeconfig.stat().st_mode) == 0o600
        pids = start_sleepers(kubeconfig, tmp_path)
        assert all(alive(pid) for pid in pids)
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert not any(alive(pid) for pid in pids)
    assert not kubeconfig.exists(), "a kubeconfig that leads nowhere stayed behind"


def test_killed_with_9_it_leaves_neither_processes_nor_folders(tmp_path: Path) -> None:
    with started(tmp_path / "kubeconfig") as process:
        pids = start_sleepers(tmp_path / "kubeconfig", tmp_path)
        assert temporary_folders(tmp_path)
        process.kill()
        eventually(lambda: not any(alive(pid) for pid in pids), "the pod's processes ended")
        eventually(lambda: not temporary_folders(tmp_path), "the folder of logs removed")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--kubeconfig"),
        (["--kubeconfig", "{folder}/none/kubeconfig"], "none"),
        (["--kubeconfig", "{folder}/k", "--namespace", "Not_A_Name"], "Not_A_Name"),
        (["--kubeconfig", "{folder}/k", "--port", "70000"], "70000"),
        (["--kubeconfig", "{folder}/k", "--port", "{taken}"], "cannot start"),
        (["--kubeconfig", "{folder}/k", "--audit-log", "{folder}/none/audit"], "none"),
        (["--kubeconfig", "{folder}/k", "--unknown"], "--unknown"),
    ],
)
def test_a_bad_argument_is_told_in_one_line_with_exit_code_2(
    tmp_path: Path, arguments: list[str], told: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        values = {"folder": str(tmp_path), "taken": str(other.getsockname()[1])}
        command = [*COMMAND, *(argument.format(**values) for argument in arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert told in done.stderr
    assert done.stdout == ""


def test_a_test_run_that_is_killed_with_9_leaves_nothing_of_its_cluster_either(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from cleanup_scheduler.testing import EmbeddedCluster\n"
        "with EmbeddedCluster() as cluster:\n"
        "    assert cluster.kubeconfig.exists()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False, env=env)
    assert done.returncode == -signal.SIGKILL
    eventually(lambda: not list(tmp_path.iterdir()), "its folder removed")


def test_in_this_process_it_starts_in_less_than_a_second_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    began = time.monotonic()
    with EmbeddedCluster(namespace="crucible") as cluster, api_of(cluster) as api:
        assert time.monotonic() - began < 1.0
        assert api.get("/api/v1/namespaces/crucible").ok(200)["status"]["phase"] == "Active"
        assert temporary_folders(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_stops_while_its_pods_talk_has_nothing_to_complain_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with EmbeddedCluster(namespace="crucible") as cluster, api_of(cluster) as api:
        api.post(PODS, pod("talker", shell("trap '' TERM; while :; do echo talking; done"))).ok(201)
        eventually(lambda: api.get(f"{PODS}/talker/log", limitBytes=7).text == "talking", "its voice")
    gc.collect()
    assert [record.getMessage() for record in caplog.records] == []


def test_it_listens_on_loopback_only(shared: World) -> None:
    assert shared.cluster.server.startswith("https://127.0.0.1:")
    port = int(shared.cluster.server.rpartition(":")[2])
    bound = socket.create_server(("127.0.0.2", port))  # free: nobody listens on all addresses
    bound.close()


def test_stopping_twice_is_harmless_and_using_it_afterwards_is_told() -> None:
    cluster = EmbeddedCluster()
    with pytest.raises(RuntimeError, match="not running"):
        _ = cluster.kubeconfig
    cluster.start()
    cluster.stop()
    cluster.stop()
    with pytest.raises(RuntimeError, match="not running"):
        _ = cluster.server


def test_the_fixture_hands_out_a_running_cluster(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("pytest_plugins = ['cleanup_scheduler.testing.fixtures']")
    (tmp_path / "test_it.py").write_text(
        "def test_it(embedded_cluster):\n"
        "    assert embedded_cluster.namespace == 'crucible'\n"
        "    assert embedded_cluster.kubeconfig.exists()\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
