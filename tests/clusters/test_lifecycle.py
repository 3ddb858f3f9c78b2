"""A second cluster beside the one under test: what stays behind of it, and what a killed start leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.real import RealCluster
from tests.clusters.test_real_cluster import PLAYED, create_pod, until_phase
from tests.contracts.kubernetes.wire import Api
from tools.cluster import facts, lifecycle, node, node_init
from tools.cluster.places import CHECKOUT, STATE, Places

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def second(real: RealCluster, tmp_path: Path) -> Iterator[Places]:
    """Its folders; whatever a test leaves of it is taken down."""
    if real.etcd is None:
        pytest.skip("needs the programs of a cluster of ours")
    here = Places(tmp_path / "cluster")
    yield here
    run(here, "down")


def run(here: Places, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environment(here), cwd=CHECKOUT, capture_output=True, text=True
    )


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tools.cluster", *arguments]


def environment(here: Places) -> dict[str, str]:
    return {**os.environ, STATE: str(here.state)}


def processes_that_mention(text: str) -> list[str]:
    listed = subprocess.run(
        ["ps", "-ww", "-e", "-o", "pid=,command="], capture_output=True, text=True, check=True
    )
    return [line for line in listed.stdout.splitlines() if text in line and "ps -ww" not in line]


def assert_nothing_is_left(here: Places) -> None:
    assert not here.state.exists()
    assert node.what_is_left(here) == []
    assert processes_that_mention(str(here.state)) == []


def kernel_settings() -> dict[str, str]:
    files = [Path("/proc/sys", name) for name in node_init.KERNEL_SETTINGS]
    return {str(file): file.read_text() for file in files if file.exists()}


def test_up_says_ready_twice_and_down_leaves_nothing(second: Places) -> None:
    settings_before = kernel_settings()
    started = run(second, "up")
    assert started.returncode == 0, started.stderr
    last = started.stdout.splitlines()[-1]
    assert last.startswith("ready")
    assert str(second.kubeconfig) in last
    assert str(second.audit_log) in last
    began = time.monotonic()
    assert run(second, "up").stdout.splitlines() == [last]
    assert time.monotonic() - began < 10, "up of a running cluster started another one"
    assert run(second, "status").returncode == 0

    known = facts.load(second)
    assert known
    if known.real_node:
        run_stubborn_pod(second)
    assert kernel_settings() == settings_before
    stopped = run(second, "down")
    assert (stopped.returncode, stopped.stdout) == (0, "stopped\n"), stopped.stderr
    assert_nothing_is_left(second)
    assert run(second, "down").stdout == "nothing to stop\n"
    assert run(second, "status").returncode == 1


def run_stubborn_pod(here: Places) -> None:
    """One that SIGTERM does not end, with a network of its own."""
    api = Api(here.kubeconfig)
    template = {
        "spec": {
            "nodeSelector": {facts.REAL_NODE_LABEL: "true"},
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {
                    "name": "main",
                    "image": facts.IMAGE,
                    "imagePullPolicy": "Never",
                    "command": ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
                }
            ],
        }
    }
    create_pod(api, "default", "stubborn", template)
    until_phase(api, "default", "stubborn", "Running")
    assert node.interfaces(here), "the pod has no network of its own"
    api.close()


def test_a_start_that_was_killed_is_cleared_away_by_the_next(second: Places) -> None:
    killed = subprocess.Popen(
        command("up", "--no-real-node"),
        env=environment(second),
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not processes_that_mention(str(second.kwok_cluster)):
        assert time.monotonic() < deadline, "it started nothing"
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    started = run(second, "up", "--no-real-node")
    assert started.returncode == 0, started.stderr
    api = Api(second.kubeconfig)
    create_pod(api, "default", "plain", PLAYED)
    until_phase(api, "default", "plain", "Running")
    api.close()
    assert run(second, "down").returncode == 0
    assert_nothing_is_left(second)


def test_a_cluster_that_runs_without_limits_is_not_taken_for_one_with(
    second: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STATE, str(second.state))
    lifecycle.up(lifecycle.Wanted(real_node=False))
    refused = run(second, "up", "--no-real-node", "--rate-limits")
    assert refused.returncode == 1
    assert refused.stderr == (
        "error: the cluster runs without rate limits and is wanted with: stop it first (down)\n"
    )
