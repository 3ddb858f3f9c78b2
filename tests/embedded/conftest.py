"""One embedded cluster for these tests, and one of its own for those that bend it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from cleanup_scheduler.testing import EmbeddedCluster

from tests.embedded.world import NAMESPACE, World, api_of


@pytest.fixture(scope="session")
def shared() -> Iterator[World]:
    with EmbeddedCluster(namespace=NAMESPACE) as cluster, api_of(cluster) as api:
        yield World(cluster, api)


@pytest.fixture
def own() -> Iterator[World]:
    """A cluster that the test may break or count in."""
    with EmbeddedCluster(namespace=NAMESPACE) as cluster, api_of(cluster) as api:
        yield World(cluster, api)


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return itertools.count()


@pytest.fixture
def unique(_numbers: Iterator[int]) -> Callable[[str], str]:
    """Names that no other test of the session uses."""
    return lambda prefix: f"{prefix}-{next(_numbers)}"
