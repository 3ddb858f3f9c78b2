"""What every contract test gets: the API of the cluster under test, a namespace of its own, pods that run
there.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.contracts.kubernetes.space import Space, eventually
from tests.contracts.kubernetes.wire import Api, Json
from tests.under_test import ClusterUnderTest

SpaceMaker = Callable[[], Space]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each contract cites its source, or it is only our belief."""
    for item in items:
        if isinstance(item, pytest.Function) and "contracts/kubernetes" in item.path.as_posix():
            text = item.function.__doc__ or ""
            if "Source: " not in text:
                raise pytest.UsageError(f"{item.nodeid} cites no source: its docstring needs 'Source: …'")


@pytest.fixture(scope="session")
def api(cluster_under_test: ClusterUnderTest) -> Iterator[Api]:
    api = Api(cluster_under_test.kubeconfig)
    yield api
    api.close()


@pytest.fixture(scope="session")
def new_space(api: Api) -> Iterator[SpaceMaker]:
    """Makes namespaces; at the session's end they must all go, so that nothing stays behind."""
    made: list[Space] = []

    def make() -> Space:
        space = Space(api, f"contract-{uuid.uuid4().hex[:12]}")
        name = {"metadata": {"name": space.namespace, "labels": {"app": "contract"}}}
        api.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", **name}).ok(201)
        made.append(space)
        eventually(lambda: takes_pods(space), "the default service account")
        return space

    yield make
    for space in made:
        drop(space)
        free(space)
    eventually(
        lambda: all(gone(space) for space in made), "every namespace of the tests gone", within_seconds=90
    )


@pytest.fixture
def space(new_space: SpaceMaker) -> Iterator[Space]:
    """A namespace of this test."""
    space = new_space()
    yield space
    drop(space)


@pytest.fixture(scope="module")
def shared_space(new_space: SpaceMaker) -> Iterator[Space]:
    """A namespace of this module, for objects that its tests only read."""
    space = new_space()
    yield space
    drop(space)


def takes_pods(space: Space) -> bool:
    """A pod is refused before its namespace has the default service account; some clusters know none at
    all.
    """
    reply = space.api.get(space.path("serviceaccounts", "default"))
    return reply.status == 200 or not reply.headers["Content-Type"].startswith("application/json")


def drop(space: Space) -> None:
    assert space.api.delete(f"/api/v1/namespaces/{space.namespace}").status in (200, 202, 404, 409)


def free(space: Space) -> None:
    """Take off what a test that failed half-way left on: a namespace would never end."""
    for kind in ("configmaps", "pods"):
        for item in space.items(kind):
            if any(
                finalizer.startswith("example.com/") for finalizer in item["metadata"].get("finalizers", [])
            ):
                space.finish(kind, item["metadata"]["name"])


def gone(space: Space) -> bool:
    return space.api.get(f"/api/v1/namespaces/{space.namespace}").status == 404


Template = Callable[..., Json]


@pytest.fixture(scope="session")
def running(cluster_under_test: ClusterUnderTest) -> Template:
    """``running(script, **spec)``: a pod template whose container truly runs this shell script (needs
    process_pods).
    """

    def template(script: str, **spec: Any) -> Json:
        return cluster_under_test.process_template(script, **spec)

    return template


@pytest.fixture(scope="session")
def playing(cluster_under_test: ClusterUnderTest) -> Template:
    """``playing("complete" | "run" | "fail")``: a pod template that only goes through the states of such a
    pod.
    """

    def template(behaviour: str, **spec: Any) -> Json:
        return cluster_under_test.simulated_template(behaviour, **spec)

    return template
