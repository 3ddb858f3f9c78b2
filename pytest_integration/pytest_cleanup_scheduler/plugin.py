"""The pytest plugin: options, marker, fixture. The hooks around each test are in :mod:`hooks`.

pytest imports this module at every start, used or not, so it imports nothing but pytest and small modules of
ours; everything else comes with the first test that asks for it. Decides nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_cleanup_scheduler import active
from pytest_cleanup_scheduler.hooks import Hooks
from pytest_cleanup_scheduler.problems import BAD_INPUT_EXIT_CODE

if TYPE_CHECKING:
    from pytest_cleanup_scheduler.manager import ResourceManager

_LEVELS = ("none", "pods", "all")  # repeated here: the core's own tuple costs an import
_HOOKS = pytest.StashKey[Hooks]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The two options; the first has an older name too."""
    group = parser.getgroup("cleanup-scheduler", "cleaning up what tests leave in Kubernetes")
    group.addoption(
        "--resource-cleanup",
        "--cleanup-level",
        metavar="none|pods|all",
        default=None,
        help="what is cleaned up after each test: none, pods (jobs stay) or all; "
        "none beats every decorator, marker and fixture",
    )
    group.addoption(
        "--force-cleanup",
        action="store_true",
        help="clean up after failed tests too, instead of preserving what they left",
    )


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Refuse an unknown level in one line, before anything has begun."""
    level = config.getoption("resource_cleanup")
    if level is None or level in _LEVELS:
        return None
    import difflib
    import sys

    nearest = difflib.get_close_matches(str(level).lower(), _LEVELS, n=1, cutoff=0.5)
    guess = f"did you mean {nearest[0]}? " if nearest else ""
    sys.stderr.write(f"error: --resource-cleanup: unknown level {level!r} ({guess}use none, pods or all)\n")
    return BAD_INPUT_EXIT_CODE


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker; begin."""
    config.addinivalue_line(
        "markers",
        "resource_cleanup(level, force=False, wait_after=None): clean up after this test what it tracked; "
        "level is none, pods or all",
    )
    hooks = config.stash[_HOOKS] = Hooks(config)
    config.pluginmanager.register(hooks, "cleanup-scheduler-hooks")
    active.enter(hooks.active)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End."""
    if _HOOKS in config.stash:
        active.leave(config.stash[_HOOKS].active)


@pytest.fixture
def resource_manager(request: pytest.FixtureRequest) -> ResourceManager:
    """Track what the test creates in Kubernetes; it is cleaned up after the test."""
    return request.config.stash[_HOOKS].used().begin(request.node).manager
