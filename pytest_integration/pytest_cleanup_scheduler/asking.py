"""Checks what somebody asks for in a decorator, marker or context manager, and says where it stands.

In a pytest session what is wrong becomes a line of the summary and the safe choice holds (level ``none``, the
configured wait): the tests run to their end. Anywhere else it is raised.
"""

from __future__ import annotations

from typing import Any

from cleanup_scheduler.domain.resources import Level
from cleanup_scheduler.errors import UsageError

from pytest_cleanup_scheduler import active
from pytest_cleanup_scheduler.problems import caller
from pytest_cleanup_scheduler.wishes import Wish, check_level, check_wait


def make_wish(
    level: Any, wait_after: Any, *, force: Any = False, test_id: Any = None, where: str = ""
) -> Wish:
    """A checked wish. ``where`` is the place to name; the caller's line when not given."""
    where = where or caller()
    checked_level: Level | None = None
    wait_seconds: float | None = None
    try:
        checked_level = None if level is None else check_level(level)
    except UsageError as error:
        _complain(error, where)
        checked_level = "none"  # nothing is deleted on the strength of a misspelt word
    try:
        wait_seconds = None if wait_after is None else check_wait(wait_after)
    except UsageError as error:
        _complain(error, where)
    return Wish(checked_level, wait_seconds, bool(force), None if test_id is None else str(test_id), where)


def _complain(error: UsageError, where: str) -> None:
    session = active.session()
    if session is None:
        raise error
    session.problems.bad_input(error, where)
