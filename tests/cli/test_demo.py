"""`cleanup-cli demo` ends well only if the end state is right, and leaves nothing behind either way."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cleanup_scheduler.cluster import connect
from cleanup_scheduler.domain.resources import JOBS
from cleanup_scheduler_cli.demo import command, place, stage, story
from cleanup_scheduler_cli.main import run

from tests.databases import wait_until

pytestmark = pytest.mark.timeout(180)
DEMO = (sys.executable, "-m", "cleanup_scheduler_cli", "demo")
Act = Callable[..., None]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the demo makes its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def processes_below(folder: Path) -> list[str]:
    """Processes that know of the folder: the demo's, and those of its cluster's pods."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:  # it ended, or is somebody else's
            continue
        if f"KUBECONFIG={folder}".encode() in environment:
            found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def afterwards(change: Callable[[place.Place], None]) -> Act:
    """The story with something that happens behind its back before it is judged."""
    told = story._sweep_and_release

    def act(stage_: stage.Stage, place_: place.Place, *rest: Any, **more: Any) -> None:
        told(stage_, place_, *rest, **more)
        change(place_)

    return act


def test_the_demo_shows_the_whole_idea_and_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    answer = subprocess.run(DEMO, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    for words in (
        "1 preserved because the test failed",
        "hello from the evaluation",
        "kill -9",
        "orphan job/evaluation-job-",
        "released",
        "6 * 7 = 54",
        "1 left by crashed runs and tracked by nobody: 1 gone",
        "As it should be",
    ):
        assert words in answer.stdout
    assert answer.stderr == ""
    assert "\x1b" not in answer.stdout
    assert list(tmp_path.iterdir()) == []
    assert processes_below(tmp_path) == []


def test_the_demo_fails_when_the_worker_does_nothing(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(stage._PROGRAMS, "cleanup-scheduler", ("-c", "import time; time.sleep(100)"))
    monkeypatch.setattr(command, "_PATIENCE_SECONDS", 3.0)
    assert run(["demo"]) == 1
    assert "it is not true that the crashed run's Jobs are gone" in capfd.readouterr().err
    assert list(scratch.iterdir()) == []
    assert processes_below(scratch) == []


def test_the_demo_fails_when_the_worker_dies(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(stage._PROGRAMS, "cleanup-scheduler", ("-c", "raise SystemExit(7)"))
    assert run(["demo"]) == 1
    assert "the worker ended with exit code 7" in capfd.readouterr().err


def test_the_demo_sees_what_was_left_and_what_was_deleted_behind_the_ledger_s_back(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def meddle(place_: place.Place) -> None:
        async with connect(place_.settings().settings) as cluster:
            kept = await anext(cluster.list(JOBS, place.NAMESPACE))
            await cluster.delete(kept.ref, kept.uid)
            manifest = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "left-over"},
                "spec": {"containers": [{"name": "main", "image": "none"}]},
            }
            await cluster.create(manifest, place.NAMESPACE)

    changed = afterwards(lambda place_: asyncio.run(meddle(place_)))
    monkeypatch.setattr(story, "_sweep_and_release", changed)
    assert run(["demo"]) == 1
    said = capfd.readouterr().out
    assert "WRONG: pods are left: left-over" in said
    assert "WRONG: Jobs are gone that level pods keeps: evaluation-job-" in said
    assert "was deleted without a request in the ledger" in said
    assert "As it should be" not in said


@pytest.mark.parametrize(("how", "when"), [(signal.SIGINT, "$ pytest"), (signal.SIGTERM, "kill -9")])
def test_the_demo_that_is_interrupted_takes_everything_down(
    how: signal.Signals, when: str, tmp_path: Path
) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(DEMO, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if when in line:
                break
        process.send_signal(how)
        process.communicate()
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []
    assert processes_below(tmp_path) == []


def test_the_demo_that_is_killed_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(DEMO, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "worker │" in line:
                break
        process.kill()
    wait_until(lambda: not processes_below(tmp_path) and not list(tmp_path.iterdir()))


def test_on_a_busy_machine_the_demo_waits_longer_before_it_takes_anything_for_dead() -> None:
    quiet, busy = (tomllib.loads(place.settings_text(slowness)) for slowness in (1.0, 6.0))
    changed = {name for name in quiet if quiet[name] != busy[name]}
    assert changed == {"run_lease_seconds", "worker_lease_seconds"}
    assert (quiet["run_lease_seconds"], busy["run_lease_seconds"]) == (3.0, 18.0)
