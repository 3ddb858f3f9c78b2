"""Who speaks for this process: the pytest session when there is one, else the script itself.

Refuses to be more than a pointer: decorator and context manager ask here, and outside pytest they get a run
of their own that ends with the process. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_cleanup_scheduler.problems import Problems
    from pytest_cleanup_scheduler.runtime import Runtime


class Session:
    """A pytest session as the rest of the package sees it; ``runtime`` is made on first use."""

    def __init__(self, problems: Problems, make_runtime: Callable[[], Runtime]) -> None:
        self.problems = problems
        self._make_runtime = make_runtime
        self.made: Runtime | None = None
        # the wish of the decorated test that runs right now: its wrapper must not open a second scope. Not a
        # context variable: an event loop made by a fixture runs the test in an older context.
        self.handled_wish: object | None = None

    def runtime(self) -> Runtime:
        """The session's runtime."""
        if self.made is None:
            self.made = self._make_runtime()
        return self.made


_sessions: list[Session] = []
_script: list[Runtime] = []


def enter(session: Session) -> None:
    """A pytest session begins; sessions nest (a test of a plugin runs pytest in its own process)."""
    _sessions.append(session)


def leave(session: Session) -> None:
    """It has ended."""
    if session in _sessions:
        _sessions.remove(session)


def session() -> Session | None:
    """The innermost pytest session of this process."""
    return _sessions[-1] if _sessions else None


def runtime() -> Runtime:
    """The runtime of the innermost session, or the script's own."""
    if _sessions:
        return _sessions[-1].runtime()
    if not _script:
        from pytest_cleanup_scheduler.runtime import script_runtime  # heavy, hence only when used

        _script.append(script_runtime())
    return _script[0]


def handles(wish: object) -> bool:
    """Whether pytest itself opened the scope that the decorated function asks for."""
    return bool(_sessions) and _sessions[-1].handled_wish is wish
