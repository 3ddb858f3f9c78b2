"""Runs the chosen suites: a Job and a scope for each, their output, their outcome, their cleaning.

The orchestrator's own run has the mode ``suite``; a failed suite's Job is preserved like a failed test's.
Ctrl-C stops every suite that still runs. Deletes nothing by itself.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

import msgspec
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.resources import Level, Outcome
from cleanup_scheduler.errors import NotFound, SettingsError, UsageError
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.settings import Loaded

from pytest_cleanup_scheduler.manager import ResourceManager
from pytest_cleanup_scheduler.orchestrator.manifests import SuitePod, plain_template, read_template, suite_job
from pytest_cleanup_scheduler.orchestrator.output import Output
from pytest_cleanup_scheduler.orchestrator.suites import Suite
from pytest_cleanup_scheduler.orchestrator.watching import Follower, SuiteEnd, stop
from pytest_cleanup_scheduler.problems import BAD_INPUT_EXIT_CODE, LEDGER_ID_VARIABLE, Problems
from pytest_cleanup_scheduler.runtime import RUN_ID_VARIABLE, Options, Runtime
from pytest_cleanup_scheduler.summary import leftover_lines, problem_lines

DEFAULT_NAMESPACE: Final = "crucible"
_SHORT_ID_DIGITS: Final = 8
_MEANINGS: Final = {
    0: "passed",
    1: "tests failed",
    2: "interrupted, or bad input",
    3: "pytest failed inside",
    4: "pytest was used wrongly",
    5: "no tests were collected",
}


@dataclass(frozen=True)
class Order:
    """What somebody asked for, checked."""

    suites: Sequence[Suite]
    root: Path
    loaded: Loaded
    level: Level | None = None
    force: bool = False
    parallel: bool = False
    kubeconfig: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


class Orchestrator:
    """One invocation of the command."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._problems = Problems()
        self._runtime = Runtime(
            Options(
                name=" ".join(["orchestrator", *(suite.name for suite in order.suites)]),
                mode="suite",
                start=order.root,
                level=order.level,
                default_level="none",
                force=order.force,
                strict=True,
                loaded=_with_namespace(order.loaded),
            ),
            self._problems,
        )
        self._pod = self._template()
        self._stopping = threading.Event()
        self._running: dict[str, ObservedObject] = {}

    # ---- all suites --------------------------------------------------------------------------------------

    def run(self) -> int:
        """Run them; the exit code. Raises what keeps any suite from starting."""
        self._check_ledger_can_be_reached()
        exit_code = 1
        try:
            self._runtime.cleaner.run(lambda cluster: cluster.version())
            ends = self._run_all()
            exit_code = worst(ends)
        except KeyboardInterrupt:
            self._stop_all()
            exit_code = 130
            raise
        finally:
            leftovers = self._runtime.clean_last() if self._runtime.started else []
            if self._runtime.started:
                self._runtime.finish(exit_code)
            for line in (*leftover_lines(leftovers), *problem_lines(self._problems.all())):
                _say(line)
        return exit_code

    def _run_all(self) -> list[SuiteEnd]:
        suites = self._order.suites
        if not self._order.parallel:
            return [self._run_one(suite) for suite in suites]
        pool = ThreadPoolExecutor(max_workers=len(suites), thread_name_prefix="suite")
        try:
            futures = [pool.submit(self._run_one, suite) for suite in suites]
            return [future.result() for future in futures]
        except BaseException:
            self._stop_all()
            raise
        finally:
            pool.shutdown(wait=True)

    def _stop_all(self) -> None:
        self._stopping.set()
        for job in list(self._running.values()):
            self._stop(job)

    def _stop(self, job: ObservedObject) -> None:
        self._runtime.cleaner.run(lambda cluster: stop(cluster, job))

    # ---- one suite ---------------------------------------------------------------------------------------

    def _run_one(self, suite: Suite) -> SuiteEnd:
        output = Output(f"[{suite.name}] " if self._order.parallel else "")
        manager = self._runtime.open_scope(f"suite {suite.name}")
        outcome: Outcome = "interrupted"
        end = SuiteEnd(problem="interrupted")
        started = time.monotonic()
        try:
            job = self._create(suite, manager)
            self._running[suite.name] = job
            end = self._follow(job, suite, output)
            outcome = "passed" if end.exit_code == 0 else "failed"
            if self._stopping.is_set():
                outcome, end = "interrupted", SuiteEnd(problem="interrupted")
        except Exception:
            outcome = "failed"
            raise
        finally:
            output.close()
            self._end(suite, manager, outcome, end, time.monotonic() - started)
        return end

    def _create(self, suite: Suite, manager: ResourceManager) -> ObservedObject:
        settings = self._runtime.settings
        ours = ["--force-cleanup"] if self._order.force else []
        manifest = suite_job(
            f"suite-{suite.name}-{new_id()[-_SHORT_ID_DIGITS:]}",
            suite,
            self._pod,
            pytest_arguments=[
                *(["--resource-cleanup", self._order.level] if self._order.level else []),
                *ours,
            ],
            environment=self._variables(manager),
            asked=self._order.environment,
            timeout_seconds=settings.suite_timeout_seconds,
        )
        try:
            job = manager.create(manifest)
        except NotFound as error:
            namespace = self._runtime.target.namespace
            raise UsageError(
                f"namespace {namespace} does not exist in cluster {self._runtime.target.name}",
                hint=f"kubectl create namespace {namespace}, or name another with -n",
            ) from error
        _say(f"{suite.name}: {suite.target} runs in {job.ref}")
        return job

    def _follow(self, job: ObservedObject, suite: Suite, output: Output) -> SuiteEnd:
        seconds = self._runtime.settings.suite_timeout_seconds
        end = self._runtime.cleaner.run(
            lambda cluster: Follower(
                cluster, job, output.write, lambda text: _say(f"{suite.name}: {text}")
            ).follow(seconds)
        )
        if end.exit_code is None:
            self._stop(job)
        return end

    def _end(
        self, suite: Suite, manager: ResourceManager, outcome: Outcome, end: SuiteEnd, seconds: float
    ) -> None:
        job = self._running.get(suite.name)
        if outcome == "interrupted" and job is not None:
            self._stop(job)
        self._running.pop(suite.name, None)
        manager.end(outcome)
        how = end.problem or _MEANINGS.get(end.exit_code or 0, f"exit code {end.exit_code}")
        _say(f"{suite.name}: {how} ({seconds:.1f} s)")
        if manager.worth_a_pass:
            preserved = outcome == "failed" and not manager.forced
            cleaned = self._runtime.cleaner.clean([manager], 0.0 if preserved else manager.wait_after_seconds)
            _say(f"{suite.name}: cleanup: {'preserved, because it failed' if preserved else cleaned}")

    # ---- the pod -----------------------------------------------------------------------------------------

    def _template(self) -> SuitePod:
        settings, root = self._runtime.settings, self._order.root
        if settings.suite_pod_template:
            return read_template(root / settings.suite_pod_template)
        files = [Path(settings.kubeconfig)] if self._order.kubeconfig else []
        ledger = self._sqlite_file()
        return plain_template(settings.suite_image, root, [*files, *([ledger.parent] if ledger else [])])

    def _sqlite_file(self) -> Path | None:
        url = self._runtime.loaded.ledger_url
        return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None

    def _check_ledger_can_be_reached(self) -> None:
        """What tests in a pod say must arrive: refuse to begin when it cannot."""
        ledger_variable = "CLEANUP_SCHEDULER_LEDGER_URL"
        if any(variable.get("name") == ledger_variable for variable in self._pod.main.get("env") or []):
            return
        file = self._sqlite_file()
        if file is not None and not self._pod.writes_to(PurePosixPath(file)):
            raise SettingsError(
                f"suite pods cannot reach the ledger {file}: no volume of the pod template mounts its folder",
                hint="mount it by hostPath at the same path (one node), or set ledger_url to a PostgreSQL",
            )
        if file is None and urlsplit(self._runtime.loaded.ledger_url).password:
            raise SettingsError(
                "the ledger's URL holds a password, which does not belong into a pod's manifest",
                hint=f"give the pod template's container {ledger_variable} from a Secret",
            )

    def _variables(self, manager: ResourceManager) -> dict[str, str]:
        settings, target = self._runtime.settings, self._runtime.target
        ledger = self._runtime.recorder.ledger()
        variables = {
            "CLEANUP_SCHEDULER_LEDGER_URL": self._runtime.loaded.ledger_url,
            "CLEANUP_SCHEDULER_CLUSTER": target.name,
            "CLEANUP_SCHEDULER_NAMESPACE": target.namespace,
            RUN_ID_VARIABLE: manager.run_id,
            "PYTHONUNBUFFERED": "1",
        }
        if ledger is not None:
            variables[LEDGER_ID_VARIABLE] = ledger.ledger_id
        if self._order.level is None:
            # weaker than what a test says for itself, as a default has to be
            variables["CLEANUP_SCHEDULER_RESOURCE_CLEANUP"] = settings.resource_cleanup or "none"
        if self._order.kubeconfig and not self._pod.template["spec"].get("serviceAccountName"):
            variables["KUBECONFIG"] = settings.kubeconfig
            if settings.context:
                variables["CLEANUP_SCHEDULER_CONTEXT"] = settings.context
        return variables


def worst(ends: Sequence[SuiteEnd]) -> int:
    """The exit code: failed tests count more than bad input, and that more than all passed."""
    codes = {end.exit_code for end in ends}
    if codes <= {0}:
        return 0
    return BAD_INPUT_EXIT_CODE if codes <= {0, BAD_INPUT_EXIT_CODE} else 1


def _with_namespace(loaded: Loaded) -> Loaded:
    """Suites go into ``crucible`` when neither the settings nor the kubeconfig say otherwise."""
    from cleanup_scheduler.cluster import current_cluster

    if loaded.settings.namespace or current_cluster(loaded.settings).namespace != "default":
        return loaded
    settings = msgspec.structs.replace(loaded.settings, namespace=DEFAULT_NAMESPACE)
    return msgspec.structs.replace(loaded, settings=settings)


def _say(text: str) -> None:
    """Talk goes to stderr; stdout belongs to the suites' output."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
