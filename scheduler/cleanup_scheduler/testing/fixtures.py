"""Fixtures for pytest: ``pytest_plugins = ["cleanup_scheduler.testing.fixtures"]`` or an import of the
fixture.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cleanup_scheduler.testing.cluster import EmbeddedCluster


@pytest.fixture(scope="session")
def embedded_cluster() -> Iterator[EmbeddedCluster]:
    """One embedded cluster for the whole session, with namespace ``crucible``."""
    with EmbeddedCluster(namespace="crucible") as cluster:
        yield cluster
