"""Which cluster the tests run against, which of them it cannot serve, and how processes share them out."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.under_test import BEHAVIOURS, CHOICE, ClusterUnderTest, check_choice, require
from tests.under_test import cluster_under_test as chosen_cluster


def pytest_configure(config: pytest.Config) -> None:
    check_choice()
    names = ", ".join(BEHAVIOURS)
    config.addinivalue_line("markers", f"needs(*behaviours): skipped on a cluster that lacks one of {names}")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # a shell starts what runs in its background with SIGINT ignored, and every child would inherit that:
        # tests that press Ctrl-C would press it on processes that cannot feel it
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def cluster_under_test() -> Iterator[ClusterUnderTest]:
    """The embedded cluster, or a real one when ``CLEANUP_SCHEDULER_TEST_CLUSTER=real``."""
    with chosen_cluster() as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    if needs := [need for marker in request.node.iter_markers("needs") for need in marker.args]:
        require(request.getfixturevalue("cluster_under_test"), *needs)


def pytest_xdist_auto_num_workers() -> int:
    """Two at least, since tests wait more than they compute; each has servers of its own."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(max(processors or 2, 2), 8)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """On the real cluster, which all processes share, tests that would disturb each other stay together:
    those that make the API server forget its history and those who read it, those in the one namespace that
    the document names. (Not by the mark ``xdist_group``: xdist 3.8 does not see it under pytest 9.2.)
    """
    if os.environ.get(CHOICE) != "real":
        return None
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped, unused-ignore]

    class Together(LoadScopeScheduling):  # type: ignore[misc, unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            _, folder, file = nodeid.split("::")[0].split("/", 2)
            return file if folder == "engine" else folder

    return Together(config, log)
