"""One run of this process: its settings, its recorder, its heartbeat, and the scopes that it opens.

Made on first use, in a pytest session, an orchestrated suite or a script. What is wrong with settings, ledger
or cluster is a problem for the summary in a pytest session (the tests run to their end) and an error anywhere
else (``strict``). Decides no policy and deletes nothing.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cleanup_scheduler.cluster import ClusterName, current_cluster
from cleanup_scheduler.domain.events import Event, NewEvent, RunFinished, RunStarted, ScopeOpened
from cleanup_scheduler.domain.resources import Level
from cleanup_scheduler.errors import CleanupSchedulerError, LedgerError, SettingsError
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger import Recorder
from cleanup_scheduler.settings import Loaded, Settings, load_settings

from pytest_cleanup_scheduler.cleaning import Cleaner
from pytest_cleanup_scheduler.heartbeat import Heartbeat
from pytest_cleanup_scheduler.manager import ResourceManager
from pytest_cleanup_scheduler.problems import (
    LEDGER_ID_VARIABLE,
    TEST_ID_VARIABLE,
    Problem,
    Problems,
    one_line,
)
from pytest_cleanup_scheduler.summary import Leftover, leftover_lines, leftovers_of, problem_lines
from pytest_cleanup_scheduler.wishes import LevelSources, Wish

Mode = Literal["pytest", "suite", "script"]
RUN_ID_VARIABLE = "CLEANUP_SCHEDULER_RUN_ID"
UNKNOWN_CLUSTER = "unknown"


@dataclass(frozen=True)
class Options:
    """What the command line said. ``strict``: bad input is raised instead of kept for a summary."""

    name: str
    mode: Mode
    start: Path
    level: Level | None = None
    default_level: Level = "pods"
    force: bool = False
    strict: bool = False
    run_id: str = ""
    loaded: Loaded | None = None


class Runtime:
    """A run that begins with its first scope."""

    def __init__(self, options: Options, problems: Problems) -> None:
        self.options, self.problems = options, problems
        self.run_id = options.run_id or new_id()
        self.parent_run_id = os.environ.get(RUN_ID_VARIABLE, "")
        self.platform_test_id = os.environ.get(TEST_ID_VARIABLE, "")  # an existing platform's, if it set one
        self._settings_error: SettingsError | None = None
        self.loaded = options.loaded or self._load()
        self.target = self._find_cluster()
        settings = self.settings
        self.recorder = Recorder(
            # without readable settings nobody knows which ledger is meant: all goes into the journal
            "" if self._settings_error else self.loaded.ledger_url,
            self.loaded.journal_folder,
            timeout_seconds=settings.ledger_timeout_seconds,
            max_event_bytes=settings.max_event_bytes,
            required=settings.ledger_required,
        )
        self._expected_ledger_id = os.environ.pop(LEDGER_ID_VARIABLE, "")
        self._producer = f"tests@{socket.gethostname()}/{os.getpid()}"
        self.cleaner = Cleaner(self.settings, self.recorder, self.target.name, problems)
        self.managers: dict[str, ResourceManager] = {}
        self._heartbeat: Heartbeat | None = None
        self._lock = threading.Lock()

    @property
    def settings(self) -> Settings:
        """The settings in force; the defaults when they cannot be read."""
        return self.loaded.settings

    @property
    def started(self) -> bool:
        """Whether the run has begun."""
        return self._heartbeat is not None

    def complain(self, error: CleanupSchedulerError, where: str = "") -> None:
        """Bad input: a line of the summary in a pytest session, the error itself anywhere else."""
        if self.options.strict:
            raise error
        self.problems.bad_input(error, where)

    # ---- settings, cluster, ledger -----------------------------------------------------------------------

    def _load(self) -> Loaded:
        try:
            return load_settings(self.options.start)
        except SettingsError as error:
            self.complain(error)
            self._settings_error = error
            return Loaded(settings=Settings(), sources={}, root=self.options.start)

    def _find_cluster(self) -> ClusterName:
        try:
            return current_cluster(self.settings)
        except SettingsError as error:
            if self._settings_error is None:
                self.complain(error)
            return ClusterName(self.settings.cluster or UNKNOWN_CLUSTER, self.settings.namespace or "default")

    def _heartbeat_failed(self, error: LedgerError) -> None:
        self.problems.warning(f"the run's sign of life could not be stored: {error}")

    def _say_ledger_trouble(self) -> None:
        """One line for whatever kept events out of the ledger, and where they are."""
        error, journal = self.recorder.error, self.recorder.journal
        waiting = journal.waiting() if error is not None or self._settings_error is not None else 0
        if waiting:
            self.problems.warning(
                f"{waiting} events wait in {journal.folder}; the next run or worker here stores them"
            )
        if error is None or self._settings_error is not None:
            return
        if error.retryable:
            self.problems.warning(f"the ledger could not be reached: {error}")
        else:
            self.problems.bad_input(error)

    def append(self, payload: Event, *, scope_id: str = "", event_id: str = "") -> None:
        """Say it: in the ledger, or in the journal beside the checkout, when this returns."""
        event = NewEvent(
            event_id=event_id or new_id(),
            time=datetime.now(UTC),
            producer=self._producer,
            payload=payload,
            run_id=self.run_id,
            scope_id=scope_id,
        )
        try:
            self.recorder.append(event)
        except LedgerError as error:
            if self.options.strict or self.settings.ledger_required:
                raise
            self.problems.add(
                Problem(one_line(f"{event.type} is lost: {error}"), bad_input=not error.retryable)
            )

    # ---- the run -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """RunStarted and the first heartbeat; once. The run's own id as event id: processes that share a run
        (pytest-xdist) store it once."""
        with self._lock:
            if self._heartbeat is not None:
                return
            started = RunStarted(
                name=self.options.name,
                mode=self.options.mode,
                cluster=self.target.name,
                namespace=self.target.namespace,
                host=socket.gethostname(),
                pid=os.getpid(),
                lease_seconds=self.settings.run_lease_seconds,
                parent_run_id=self.parent_run_id,
            )
            self.append(started, event_id=self.run_id)
            if self.options.strict and self.recorder.error is not None and not self.recorder.error.retryable:
                raise self.recorder.error
            self._check_ledger_identity()
            self._heartbeat = Heartbeat(
                self.recorder.ledger,
                self.run_id,
                interval_seconds=self.settings.heartbeat_seconds,
                lease_seconds=self.settings.run_lease_seconds,
                info=self.target.name,
                on_error=self._heartbeat_failed,
            )
            self._heartbeat.start()

    def _check_ledger_identity(self) -> None:
        """A suite in a pod must write into the orchestrator's ledger, not into a file of the pod's own."""
        ledger = self.recorder.ledger() if self._expected_ledger_id else None
        if ledger is not None and ledger.ledger_id != self._expected_ledger_id:
            error = SettingsError(
                f"the ledger {ledger.url} in this pod is not the one of whoever started the suite",
                hint="mount its folder by hostPath at the same path (one node), or use a PostgreSQL",
            )
            self.complain(error)

    def finish(self, exit_code: int) -> None:
        """The run came to its own end: RunFinished, no further heartbeat, everything closed."""
        self.append(RunFinished(exit_code=exit_code))
        self.close(last=True)

    def close(self, *, last: bool = False) -> None:
        """Stop the threads and close the ledger. Not ``last``: other processes go on with the same run."""
        if self._heartbeat is not None:
            self._heartbeat.stop(last=last)
        self.cleaner.close()
        self.recorder.close()
        self._say_ledger_trouble()

    # ---- scopes ------------------------------------------------------------------------------------------

    def open_scope(
        self, test_id: str, *, argument: Wish | None = None, marker: Wish | None = None, attempt: int = 1
    ) -> ResourceManager:
        """A new scope, committed to the ledger when this returns."""
        self.start()
        wishes = [wish for wish in (argument, marker) if wish is not None]
        manager = ResourceManager(
            self,
            test_id=next((wish.test_id for wish in wishes if wish.test_id), test_id),
            sources=LevelSources(
                argument=argument.level if argument else None,
                marker=marker.level if marker else None,
                option=self.options.level,
                settings=self.settings.resource_cleanup,
                settings_source=self.loaded.sources.get("resource_cleanup", "configuration"),
                default=self.options.default_level,
            ),
            forced=self.options.force or any(wish.force for wish in wishes),
            wait_after_seconds=next(
                (wish.wait_after_seconds for wish in wishes if wish.wait_after_seconds is not None),
                self.settings.wait_after_seconds,
            ),
        )
        level, source = manager.chosen
        opened = ScopeOpened(
            test_id=manager.test_id, level=level, level_source=source, forced=manager.forced, attempt=attempt
        )
        manager.append(opened)
        self.managers[manager.scope_id] = manager
        return manager

    def clean_last(self) -> list[Leftover]:
        """One more bounded pass over what is not freed yet; then what remains for a person to see."""
        due = [m for m in self.managers.values() if m.worth_a_pass and self.cleaner.count_unfinished([m])]
        if due:
            self.cleaner.clean(due, self.settings.wait_after_seconds, last=True)
        ledger = self.recorder.ledger()
        if ledger is None:
            return []
        rules = self.settings.policy_rules()
        return [left for manager in self.managers.values() for left in leftovers_of(manager, ledger, rules)]


def script_runtime() -> Runtime:
    """The run of a script outside pytest; it ends with the process."""
    name = Path(sys.argv[0]).name or "python"
    runtime = Runtime(Options(name=name, mode="script", start=Path.cwd(), strict=True), Problems())

    def end() -> None:
        leftovers = runtime.clean_last()
        runtime.finish(0)
        for line in (*leftover_lines(leftovers), *problem_lines(runtime.problems.all())):
            sys.stderr.write(f"cleanup-scheduler: {line}\n")

    atexit.register(end)
    return runtime
