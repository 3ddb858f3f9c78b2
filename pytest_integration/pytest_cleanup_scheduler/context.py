"""``managed_test_resources``: a ``with`` or ``async with`` block is a scope of its own.

Works in tests and in scripts. The block's own outcome counts: it failed when an exception leaves it.
"""

from __future__ import annotations

import asyncio
import sys
import unittest
from types import TracebackType

from cleanup_scheduler.domain.resources import Outcome
from cleanup_scheduler.errors import UsageError

from pytest_cleanup_scheduler import active
from pytest_cleanup_scheduler.asking import make_wish
from pytest_cleanup_scheduler.manager import ResourceManager
from pytest_cleanup_scheduler.wishes import Wish


class ManagedResources:
    """One block. Entering hands out the :class:`ResourceManager`; leaving cleans up."""

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._manager: ResourceManager | None = None

    def __enter__(self) -> ResourceManager:
        if self._manager is not None:
            raise UsageError("this block was entered before", hint="call managed_test_resources() again")
        self._manager = active.runtime().open_scope(self._wish.test_id or "", argument=self._wish)
        self._manager.enter_environment()
        return self._manager

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._manager is None:
            raise UsageError("this block was never entered", hint="use it in a `with` statement")
        self._manager.leave_environment()
        self._manager.end(outcome_of(error))
        self._manager.clean()

    async def __aenter__(self) -> ResourceManager:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.shield(asyncio.to_thread(self.__exit__, kind, error, traceback))


def managed_test_resources(
    test_id: str,
    cleanup_level: str | None = None,
    wait_after: float | None = None,
    force: bool = False,  # noqa: FBT001
) -> ManagedResources:
    """A block whose tracked resources are cleaned up when it ends.

    ``test_id`` names it in reports. ``cleanup_level`` (``none``, ``pods``, ``all``), ``wait_after`` (seconds
    to wait at most until things are freed) and ``force`` (clean even if it failed) are those of the options
    and the configuration when not given. Usable with ``with`` and ``async with``::

        with managed_test_resources("my_test", cleanup_level="all") as resource_manager:
            resource_manager.track_resource("jobs", "evaluation-job-1")
    """
    return ManagedResources(make_wish(cleanup_level, wait_after, force=force, test_id=test_id))


def outcome_of(error: BaseException | None) -> Outcome:
    """What an exception that leaves a block or function says about it."""
    if error is None:
        return "passed"
    outcomes = sys.modules.get("_pytest.outcomes")
    skips: tuple[type[BaseException], ...] = (unittest.SkipTest,)
    stops: tuple[type[BaseException], ...] = (
        KeyboardInterrupt,
        SystemExit,
        GeneratorExit,
        asyncio.CancelledError,
    )
    if outcomes is not None:
        skips = (*skips, outcomes.Skipped)
        stops = (*stops, outcomes.Exit)
    if isinstance(error, skips):
        return "skipped"
    return "interrupted" if isinstance(error, stops) else "failed"
