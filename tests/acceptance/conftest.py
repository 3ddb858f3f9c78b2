"""A user's machine, for each test: the cluster with its namespace ``crucible``, a ledger, the commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.world import World
from tests.under_test import ClusterUnderTest, require


@pytest.fixture
def world(cluster_under_test: ClusterUnderTest, tmp_path: Path) -> Iterator[World]:
    """Nothing of an earlier test is in the namespace; afterwards every delete is held against the ledger."""
    require(cluster_under_test, "process_pods")
    world = World(cluster_under_test, tmp_path)
    try:
        world.prepare()
        yield world
        world.assert_every_delete_was_requested()
    finally:
        world.close()
