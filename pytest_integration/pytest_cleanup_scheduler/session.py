"""What the plugin does once a test uses it: a scope for each attempt, its outcome, its cleaning, the end.

Loaded on first use only. Never changes what a test's own result is.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cleanup_scheduler.domain.resources import Outcome
from cleanup_scheduler.errors import CleanupSchedulerError

from pytest_cleanup_scheduler import active
from pytest_cleanup_scheduler.asking import make_wish
from pytest_cleanup_scheduler.decorator import wish_of
from pytest_cleanup_scheduler.hooks import FIXTURE, MARKER
from pytest_cleanup_scheduler.manager import ResourceManager
from pytest_cleanup_scheduler.problems import Problem, Problems, one_line
from pytest_cleanup_scheduler.runtime import Options, Runtime
from pytest_cleanup_scheduler.summary import Leftover
from pytest_cleanup_scheduler.wishes import Wish, check_level


@dataclass
class Attempt:
    """One attempt of one test: its scope and what its phases said so far."""

    manager: ResourceManager
    wish: Wish | None = None
    outcome: Outcome = "passed"

    def note(self, report: pytest.TestReport) -> None:
        """A phase (or a subtest) is over."""
        if report.failed:
            self.outcome = "failed"
            self.manager.failed_so_far = True
        elif report.skipped and self.outcome == "passed":
            self.outcome = "skipped"


class PytestSession:
    """The scopes of one pytest process."""

    def __init__(self, config: pytest.Config, problems: Problems, run_id: str) -> None:
        option = config.getoption("resource_cleanup")
        self.problems = problems
        self.runtime = Runtime(
            Options(
                name=" ".join(["pytest", *map(str, config.invocation_params.args)]),
                mode="pytest",
                start=Path(config.rootpath),
                level=None if option is None else check_level(option),
                force=config.getoption("force_cleanup"),
                run_id=run_id,
            ),
            problems,
        )
        self._attempts: dict[str, list[Attempt]] = {}
        self._open: dict[str, Attempt] = {}

    # ---- one attempt -------------------------------------------------------------------------------------

    def begin(self, item: pytest.Item) -> Attempt:
        """The open attempt of the test; opens its scope on first call."""
        attempt = self._open.get(item.nodeid)
        if attempt is None:
            earlier = self._attempts.setdefault(item.nodeid, [])
            wish = wish_of(getattr(item, "obj", None), getattr(item, "cls", None))
            marker = _marker_wish(item)
            manager = self.runtime.open_scope(
                item.nodeid, argument=wish, marker=marker, attempt=len(earlier) + 1
            )
            # without the fixture the test tracks nothing itself, but what it starts may carry its labels
            manager.labels_used = FIXTURE not in getattr(item, "fixturenames", (FIXTURE,))
            attempt = Attempt(manager, wish)
            earlier.append(attempt)
            self._open[item.nodeid] = attempt
            manager.enter_environment()
        return attempt

    def is_open(self, item: pytest.Item) -> bool:
        """Whether the test has an attempt that has not ended."""
        return item.nodeid in self._open

    def note(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """A phase of the test is over."""
        self._open[item.nodeid].note(report)

    def finish(self, item: pytest.Item) -> str:
        """The attempt's last phase is over: record the outcome, clean. A sentence for the verbose output."""
        attempt = self._open.pop(item.nodeid)
        return self._guarded(lambda: self._finish(item.nodeid, attempt)) or ""

    def _finish(self, nodeid: str, attempt: Attempt) -> str:
        manager = attempt.manager
        manager.leave_environment()
        manager.end(attempt.outcome)
        due = [manager]
        if attempt.outcome == "passed":
            due += self._forgive(nodeid, attempt)
        if not any(each.worth_a_pass for each in due):
            return ""
        if attempt.outcome == "failed" and not manager.forced:
            put_off = self.runtime.cleaner.clean(due, 0.0).unfinished
            return "put off" if put_off else "preserved, because the test failed"
        return str(self.runtime.cleaner.clean(due, manager.wait_after_seconds))

    def _forgive(self, nodeid: str, passed: Attempt) -> list[ResourceManager]:
        """Of a test that was run again, the last attempt decides: what the failed ones left is let go."""
        failed = [a.manager for a in self._attempts[nodeid] if a is not passed and a.outcome == "failed"]
        forgiven = [manager for manager in failed if manager.worth_a_pass]
        for manager in forgiven:
            manager.release("pytest", f"attempt {len(self._attempts[nodeid])} of the test passed")
        return forgiven

    # ---- the end -----------------------------------------------------------------------------------------

    def end(self) -> list[Leftover]:
        """Close what an interrupt left open, one more bounded pass, and what remains for a person to see."""
        return self._guarded(self._end) or []

    def _end(self) -> list[Leftover]:
        for attempt in self._open.values():
            attempt.manager.leave_environment()
            attempt.manager.end("failed" if attempt.outcome == "failed" else "interrupted")
        self._open.clear()
        return self.runtime.clean_last()

    def finish_run(self, exit_code: int) -> None:
        """The whole run is over."""
        self._guarded(lambda: self.runtime.finish(exit_code))

    def _guarded(self, call: Callable[[], Any]) -> Any:
        """No trouble of ours may fail a test or end the session: it becomes a line, with its traceback when
        it is a defect of this program."""
        try:
            return call()
        except CleanupSchedulerError as error:
            counts = self.runtime.settings.ledger_required or not error.retryable
            self.problems.add(Problem(one_line(str(error)), bad_input=counts))
        except Exception as error:  # noqa: BLE001 - the border: shown in full in the summary, exit code 3
            line = f"unexpected {type(error).__name__} while cleaning up: {error}"
            self.problems.add(Problem(line, bad_input=False, detail=traceback.format_exc()))
        return None


def _marker_wish(item: pytest.Item) -> Wish | None:
    marker = item.get_closest_marker(MARKER)
    if marker is None:
        return None
    known = {"level", "force", "wait_after", "test_id"}
    where = f"{item.location[0]}:{(item.location[1] or 0) + 1}, marker {MARKER}"
    unknown = sorted(set(marker.kwargs) - known)
    session = active.session()
    if (unknown or len(marker.args) > 1) and session is not None:
        wrong = unknown[0] if unknown else f"{len(marker.args)} levels"
        session.problems.bad_input(
            ValueError(f"does not take {wrong} (it takes a level, force=, wait_after=, test_id=)"), where
        )
    level = marker.args[0] if marker.args else marker.kwargs.get("level")
    return make_wish(
        level,
        marker.kwargs.get("wait_after"),
        force=marker.kwargs.get("force", False),
        test_id=marker.kwargs.get("test_id"),
        where=where,
    )
