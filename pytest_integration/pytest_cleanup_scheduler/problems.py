"""What went wrong beside the tests, as lines for the summary. Never stops a test; imports nothing heavy.

A problem is *bad input* when somebody has to mend what they wrote or configured: the session's exit code says
so (2). Everything else that is worth a line is a warning and changes no exit code.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

BAD_INPUT_EXIT_CODE = 2
WISH_ATTRIBUTE = "__resource_cleanup__"  # what the decorator leaves on a test, for the plugin to find
LEDGER_ID_VARIABLE = "CLEANUP_SCHEDULER_SUITE_LEDGER_ID"  # which ledger a suite in a pod must find
TEST_ID_VARIABLE = "TEST_LABEL_ID"  # read by existing platforms as the value of their label `test-id`
_PACKAGE = str(Path(__file__).parent)


class Problem(NamedTuple):
    """One line (what, where, what to do); ``detail`` is a traceback when it was nobody's input."""

    line: str
    bad_input: bool = True
    detail: str = ""


class Problems:
    """Collects each problem once, in the order of their appearance."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, Problem] = {}

    def add(self, problem: Problem) -> None:
        """Remember it; the same line again changes nothing."""
        with self._lock:
            self._seen.setdefault(problem.line, problem)

    def bad_input(self, error: BaseException, where: str = "") -> None:
        """Somebody's input is wrong: the error's own words, with the place in front."""
        self.add(Problem(one_line(f"{where}: {error}" if where else str(error))))

    def warning(self, text: str) -> None:
        """Worth a line, nobody's mistake."""
        self.add(Problem(one_line(text), bad_input=False))

    def all(self) -> list[Problem]:
        """Everything so far."""
        return list(self._seen.values())

    @property
    def any_bad_input(self) -> bool:
        """Whether somebody has to mend something."""
        return any(problem.bad_input for problem in self._seen.values())

    def as_data(self) -> list[list[Any]]:
        """Plain values that can travel between processes."""
        return [list(problem) for problem in self._seen.values()]

    def merge(self, data: list[list[Any]]) -> None:
        """Take over what :meth:`as_data` of another process gave."""
        for line, bad_input, detail in data:
            self.add(Problem(str(line), bool(bad_input), str(detail)))


def one_line(text: str) -> str:
    """``text`` without line breaks and without characters that a terminal would obey."""
    return "".join(ch if ch.isprintable() else " " for ch in " ".join(text.split()))


def caller() -> str:
    """``file:line`` of the nearest frame that is not ours: where somebody wrote what is wrong."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return ""
    file = Path(frame.f_code.co_filename)
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    return f"{shown}:{frame.f_lineno}"
