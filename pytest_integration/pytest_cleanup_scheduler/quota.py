"""Where the setting ``quota`` names one, the wait goes on until its count has caught up, or the time is over.

What was cleaned is gone by then; it is the count that the next test's pods would be refused by. Refuses to
hold tests up for a quota that is not there or may not be read: that is said once, and not waited for again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cleanup_scheduler.errors import ClusterError, NotFound

from pytest_cleanup_scheduler.problems import Problems

if TYPE_CHECKING:
    from cleanup_scheduler.cluster import Cluster


class QuotaWait:
    """One for each run."""

    def __init__(self, name: str, problems: Problems) -> None:
        self._name, self._problems = name, problems
        self._given_up: set[str] = set()

    async def wait(self, cluster: Cluster, namespaces: Iterable[str], timeout_seconds: float) -> str:
        """How it ended, in words; empty when there was nothing to wait for."""
        if not self._name:
            return ""
        started = time.monotonic()
        counted = []
        for namespace in sorted(set(namespaces) - self._given_up):
            left = max(0.0, timeout_seconds - (time.monotonic() - started))
            try:
                counted.append(await cluster.wait_counted(namespace, self._name, timeout_seconds=left))
            except ClusterError as error:
                self._complain(error, namespace)
        if not counted:
            return ""
        said = "counted" if all(counted) else "not counted yet"
        return f"quota {self._name} {said} after another {time.monotonic() - started:.1f} s"

    def _complain(self, error: ClusterError, namespace: str) -> None:
        if error.retryable:
            self._problems.warning(f"the quota {self._name} was not waited for: {error}")
            return
        self._given_up.add(namespace)
        if isinstance(error, NotFound):
            self._problems.bad_input(
                NotFound(f"setting 'quota': {error.message}", hint="`kubectl get resourcequota` lists them")
            )
        else:
            self._problems.warning(f"the quota {self._name} is not waited for: {error}")
