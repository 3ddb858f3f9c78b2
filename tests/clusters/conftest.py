"""The real cluster, for the tests of the cluster itself; elsewhere they are skipped with the reason."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.clusters.namespaces import Namespaces
from tests.clusters.real import RealCluster, real_cluster
from tests.contracts.kubernetes.wire import Api
from tests.under_test import CHOICE


@pytest.fixture(scope="session")
def real() -> RealCluster:
    if os.environ.get(CHOICE) != "real":
        pytest.skip("needs the real cluster: make test-cluster")
    return real_cluster()


@pytest.fixture(scope="session")
def real_node(real: RealCluster) -> RealCluster:
    """The same, where pods truly run."""
    if not real.has_real_node:
        pytest.skip(f"needs a real node: {real.no_real_node_because}")
    return real


@pytest.fixture(scope="session")
def api(real: RealCluster) -> Iterator[Api]:
    api = Api(real.kubeconfig)
    yield api
    api.close()


@pytest.fixture(scope="session")
def namespaces(api: Api) -> Iterator[Namespaces]:
    made = Namespaces(api)
    yield made
    made.wait_until_all_are_gone()


@pytest.fixture
def namespace(namespaces: Namespaces) -> Iterator[str]:
    """Of this test alone."""
    with namespaces.one() as name:
        yield name
