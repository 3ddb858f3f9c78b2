"""The hooks around each test and around the session: thin, and cheap for tests that ask for nothing.

The outcome of a test is known only after its teardown's report is made, and with pytest-rerunfailures each
attempt makes one, so that is where an attempt ends. Under pytest-xdist the workers do all of it in one shared
run; the controller shows the lines and says the run's end.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_cleanup_scheduler import active
from pytest_cleanup_scheduler.problems import BAD_INPUT_EXIT_CODE, WISH_ATTRIBUTE, Problems

if TYPE_CHECKING:
    from pytest_cleanup_scheduler.runtime import Runtime
    from pytest_cleanup_scheduler.session import PytestSession

FIXTURE = "resource_manager"
MARKER = "resource_cleanup"
_SHARED = "cleanup_scheduler"  # our key in what pytest-xdist carries between processes
_DEFECT_EXIT_CODE = int(pytest.ExitCode.INTERNAL_ERROR)
_MAY_BE_WORSENED = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


class Hooks:
    """One for each pytest session; ``session`` exists once a test has used the plugin."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.problems = Problems()
        self.active = active.Session(self.problems, self._runtime)
        self.session: PytestSession | None = None
        self._workerinput: dict[str, Any] | None = getattr(config, "workerinput", None)
        self._run_id: str = (self._workerinput or {}).get(_SHARED, "")
        self._run_began_elsewhere = False
        self._leftovers: list[list[Any]] = []

    def used(self) -> PytestSession:
        """The session; made by the first test that uses the plugin."""
        if self.session is None:
            from pytest_cleanup_scheduler.session import PytestSession

            self.session = PytestSession(self.config, self.problems, self._run_id)
        return self.session

    def _runtime(self) -> Runtime:
        return self.used().runtime

    def pytest_report_header(self) -> str | None:
        """Only what was asked for on the command line."""
        level, force = self.config.getoption("resource_cleanup"), self.config.getoption("force_cleanup")
        said = [f"level {level}"] if level else []
        said += ["failed tests too"] if force else []
        return f"cleanup-scheduler: {', '.join(said)}" if said else None

    # ---- each test ---------------------------------------------------------------------------------------

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Open the scope before the first fixture, so that fixtures find the labels in the environment."""
        if _asks_for_cleaning(item):
            attempt = self.used().begin(item)
            self.active.handled_wish = attempt.wish

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Outermost, to see what every other plugin made of the outcome."""
        report = yield
        if self.session is not None and self.session.is_open(item):
            self.session.note(item, report)
            if report.when == "teardown":
                self.active.handled_wish = None
                report.__dict__[_SHARED] = self.session.finish(item)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Apart from making the report: under pytest-xdist this one runs where the terminal is."""
        sentence = report.__dict__.get(_SHARED)
        if sentence is None or self._workerinput is not None:
            return
        self._run_began_elsewhere = self.session is None
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if sentence and reporter is not None and self.config.get_verbosity() > 0:
            reporter.ensure_newline()
            reporter.write_line(f"  cleanup: {sentence}", light=True)

    # ---- the end -----------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """After the last teardown (on Ctrl-C pytest tears down in this very hook), before the summary."""
        result = yield
        if self.session is not None:
            from pytest_cleanup_scheduler.summary import as_data

            self._leftovers += as_data(self.session.end())
        if self._workerinput is not None:
            self._report_to_controller()
        else:
            self._end_run(session)
        return result

    def _report_to_controller(self) -> None:
        if self.session is not None:
            self.session.runtime.close()
        self.config.workeroutput[_SHARED] = {  # type: ignore[attr-defined]
            "began": self.session is not None,
            "problems": self.problems.as_data(),
            "leftovers": self._leftovers,
        }

    def _end_run(self, session: pytest.Session) -> None:
        if self._run_began_elsewhere:
            self.used()
        session.exitstatus = self._exit_status(session.exitstatus)
        if self.session is not None:
            self.session.finish_run(int(session.exitstatus))
            session.exitstatus = self._exit_status(session.exitstatus)

    def _exit_status(self, status: int | pytest.ExitCode) -> int | pytest.ExitCode:
        """Failed tests and interrupts keep their own code; a green session with bad input ends with 2."""
        if status not in _MAY_BE_WORSENED:
            return status
        if any(problem.detail for problem in self.problems.all()):
            return _DEFECT_EXIT_CODE
        return BAD_INPUT_EXIT_CODE if self.problems.any_bad_input else status

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Nothing, when there is nothing to say."""
        if not self._leftovers and not self.problems.all():
            return
        from pytest_cleanup_scheduler.summary import from_data, leftover_lines, problem_lines

        terminalreporter.section("cleanup-scheduler")
        for line in (*leftover_lines(from_data(self._leftovers)), *problem_lines(self.problems.all())):
            terminalreporter.write_line(line)

    # ---- pytest-xdist ------------------------------------------------------------------------------------

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """All workers of a session share one run."""
        if not self._run_id:
            from cleanup_scheduler.ids import new_id

            self._run_id = new_id()
        node.workerinput[_SHARED] = self._run_id

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker has ended and says what there is to say; one that crashed says nothing."""
        said = getattr(node, "workeroutput", {}).get(_SHARED)
        if said is not None:
            self._run_began_elsewhere |= bool(said["began"])
            self.problems.merge(said["problems"])
            self._leftovers += said["leftovers"]


def _asks_for_cleaning(item: pytest.Item) -> bool:
    if FIXTURE in getattr(item, "fixturenames", ()) or item.get_closest_marker(MARKER):
        return True
    return any(hasattr(getattr(item, where, None), WISH_ATTRIBUTE) for where in ("obj", "cls"))
