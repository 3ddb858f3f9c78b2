"""What happens in the demo, act by act. Everything is done by the commands that are shown."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cleanup_scheduler_cli.demo.ending import Expected, look
from cleanup_scheduler_cli.demo.place import NAMESPACE, PODS_ALLOWED, QUOTA, Place
from cleanup_scheduler_cli.demo.stage import DemoFailed, Stage, stop

if TYPE_CHECKING:
    from cleanup_scheduler_cli.demo.stage import Background

_TESTS_FAILED: Final = 1
_LAST_WORDS: Final = "running, not yet tracked"
_PAUSE_SECONDS: Final = 0.1


def tell(stage: Stage, place: Place, *, patience_seconds: float) -> list[str]:
    """The whole story; what is not as it should be in the end."""
    expected = Expected()
    stage.act("1  A small cluster, made for this demo")
    stage.say(f"namespace {NAMESPACE}, quota {QUOTA} of {PODS_ALLOWED} pods, an evaluation service that runs")
    stage.say("code in Jobs. No Kubernetes is needed; all of it is on loopback and gone in the end.")
    _suite(stage, place, expected)
    _crash(stage, place, expected)
    _sweep_and_release(stage, place, expected, patience_seconds)
    stage.act("6  The report")
    stage.run("cleanup-cli", "report")
    stage.run("cleanup-cli", "report", "last")
    return look(place, expected)


def _suite(stage: Stage, place: Place, expected: Expected) -> None:
    stage.act("2  A test suite: three tests pass, one fails")
    stage.say("No worker runs yet: the tests clean up after themselves, as on a laptop.")
    stage.run(
        "pytest",
        "-q",
        "--tb=no",
        "--resource-cleanup",
        "pods",
        "test_evaluations.py",
        expect=(_TESTS_FAILED,),
    )
    jobs = expected.note_suite(place)
    stage.say(
        f"Pods left: {place.cluster.count('pods', NAMESPACE)}, of the failed test's Job, which is preserved."
    )
    stage.say("The Job that still ran was suspended: no new pod took the place of the one deleted.")
    stage.act("3  Logs outlive their pods")
    stage.run("cleanup-cli", "logs", f"job/{jobs['test_hello']}")


def _crash(stage: Stage, place: Place, expected: Expected) -> None:
    stage.act("4  A run is killed half-way")
    lines, process = stage.run_until(
        _LAST_WORDS, "pytest", "-s", "-q", "--resource-cleanup", "all", "test_crash.py"
    )
    stop(process, signal.SIGKILL)
    stage.say(f"kill -9 {process.pid}: no teardown ran, and one of its Jobs nobody ever heard of.")
    stage.say(f"Pods left: {place.cluster.count('pods', NAMESPACE)}")
    expected.note_crash([name for line in lines for name in re.findall(r"job/(evaluation-job-\w+)", line)])


def _sweep_and_release(stage: Stage, place: Place, expected: Expected, patience_seconds: float) -> None:
    stage.act("5  A worker finds out, and a person decides")
    worker = stage.start("cleanup-scheduler", "run")
    try:
        _wait(
            lambda: expected.crash_is_cleaned(place),
            worker,
            patience_seconds,
            "the crashed run's Jobs are gone",
        )
        stage.say("The heartbeat had stopped: its Jobs are gone, the one that nobody tracked too.")
        job = f"job/{expected.failed_job}"
        stage.say("The failed test's Job is still there, and will be for a day. Somebody looks, and is done:")
        stage.run("cleanup-cli", "logs", job)
        stage.run("cleanup-cli", "release", job, "--why", "6 * 7 is 42, fixed")
        _wait(
            lambda: expected.failed_is_released(place), worker, patience_seconds, f"the pod of {job} is gone"
        )
        stage.say("Its pod is gone, its log is not:")
        stage.run("cleanup-cli", "logs", job)
        stage.run("cleanup-cli", "status")
    finally:
        expected.worker_exit_code = worker.stop()


def _wait(condition: Callable[[], bool], worker: Background, patience_seconds: float, what: str) -> None:
    deadline = time.monotonic() + patience_seconds
    while not condition():
        if worker.ended is not None:
            raise DemoFailed(f"the worker ended with exit code {worker.ended} before {what}")
        if time.monotonic() > deadline:
            raise DemoFailed(f"after {patience_seconds:g} s it is not true that {what}")
        time.sleep(_PAUSE_SECONDS)
