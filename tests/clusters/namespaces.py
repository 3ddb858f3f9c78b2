"""A namespace for each test, on a cluster that others use at the same time."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from tests.contracts.kubernetes.space import eventually
from tests.contracts.kubernetes.wire import Api

WITHIN_SECONDS = 90


class Namespaces:
    """Makes them for the tests of a session. An API server takes five seconds or more to empty one: each test
    only asks for that, and the session waits once, at its end.
    """

    def __init__(self, api: Api, prefix: str = "test") -> None:
        self._api, self._prefix = api, prefix
        self._made: list[str] = []

    @contextmanager
    def one(self) -> Iterator[str]:
        """Its name; pods can be created in it at once."""
        name = f"{self._prefix}-{uuid.uuid4().hex[:12]}"
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        self._api.post("/api/v1/namespaces", manifest).ok(201)
        self._made.append(name)
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        try:
            eventually(lambda: self._api.get(account).status == 200, "the default service account")
            yield name
        finally:
            self._drop(name)

    def _drop(self, name: str) -> None:
        """Its pods first and without grace: a namespace with pods in it waits for half of theirs."""
        self._api.delete(f"/apis/batch/v1/namespaces/{name}/jobs", {"propagationPolicy": "Background"})
        self._api.delete(f"/api/v1/namespaces/{name}/pods", {"gracePeriodSeconds": 0})
        self._api.delete(f"/api/v1/namespaces/{name}")

    def wait_until_all_are_gone(self) -> None:
        for name in self._made:
            eventually(
                lambda name=name: self._api.get(f"/api/v1/namespaces/{name}").status == 404,  # type: ignore[misc]
                f"{name} is gone",
                within_seconds=WITHIN_SECONDS,
            )
