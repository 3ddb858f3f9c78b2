"""Which cluster the tests run against, and which tests it cannot serve."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.under_test import BEHAVIOURS, ClusterUnderTest, check_choice, require
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
