"""After a test: a live worker does what is due, or, when there is none, the same worker runs here once.

Decides nothing and deletes nothing itself. Waits until what was due is freed, at most as long as asked
(``wait = "fixed"``: the whole time). What is not freed by then stays in the ledger for the next pass. A
cluster or ledger that is away never fails a test.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.policy import SCOPE_LABEL
from cleanup_scheduler.domain.resources import JOBS, PODS, singular
from cleanup_scheduler.errors import (
    CleanupSchedulerError,
    ClusterError,
    LedgerError,
    SettingsError,
    UnknownName,
)
from cleanup_scheduler.settings import Settings

from pytest_cleanup_scheduler.background import BackgroundLoop, Result
from pytest_cleanup_scheduler.problems import Problems
from pytest_cleanup_scheduler.quota import QuotaWait

if TYPE_CHECKING:
    from cleanup_scheduler.cluster import Cluster
    from cleanup_scheduler.engine import Worker
    from cleanup_scheduler.ledger import Ledger, Recorder

    from pytest_cleanup_scheduler.manager import ResourceManager

_PAUSE_SECONDS: Final = 0.1
_PAUSE_WHEN_AWAY_SECONDS: Final = 30.0


class Cleaned(NamedTuple):
    """What a cleaning came to. ``by``: ``worker``, ``inline``, or empty when nothing was to be done.

    ``quota`` says how the wait for it ended, where one is named. ``seconds`` is the whole of it.
    """

    seconds: float = 0.0
    by: str = ""
    unfinished: int = 0
    quota: str = ""

    def __str__(self) -> str:
        if not self.by:
            return f"{self.unfinished} put off" if self.unfinished else "nothing to clean"
        done = f"{self.unfinished} still being freed" if self.unfinished else "freed"
        words = f"{done} after {self.seconds:.1f} s"
        words += " by the running worker" if self.by == "worker" else ""
        return f"{words}; {self.quota}" if self.quota else words


class Cleaner:
    """One for each run; connects to the cluster on first use and stays connected."""

    def __init__(self, settings: Settings, recorder: Recorder, cluster_name: str, problems: Problems) -> None:
        self._settings, self._recorder, self._cluster_name = settings, recorder, cluster_name
        self._problems = problems
        self._loop = BackgroundLoop()
        self._connection: AsyncExitStack | None = None
        self._cluster: Cluster | None = None
        self._workers: dict[float, Worker] = {}
        self._reached = False
        self._not_before = 0.0
        self._checked_kinds: set[str] = set()
        self._quota = QuotaWait(settings.quota, problems)
        self._one_at_a_time = threading.Lock()
        self._connecting = asyncio.Lock()

    # ---- cleaning ----------------------------------------------------------------------------------------

    def clean(
        self, managers: Sequence[ResourceManager], wait_seconds: float, *, last: bool = False
    ) -> Cleaned:
        """Have done what is due for these scopes; returns when it is freed or the time is over.

        After a cluster was found out of reach it is left alone for a while; ``last`` asks once more.
        """
        due = [manager for manager in managers if manager.worth_a_pass]
        ledger = self._recorder.ledger() if due else None
        if ledger is None:
            return Cleaned()
        started = time.monotonic()
        by, unfinished, quota = "", len(due), ""
        try:
            if last or time.monotonic() >= self._not_before:
                with self._one_at_a_time:
                    by = self._do(ledger, due, wait_seconds)
            fixed = self._settings.wait == "fixed"
            if by and fixed:
                time.sleep(wait_seconds)
            unfinished = self.count_unfinished(due)
            if by and not fixed and not unfinished:
                quota = self._wait_for_quota(due, wait_seconds - (time.monotonic() - started))
        except (LedgerError, ClusterError, SettingsError) as error:
            self._complain(error)
        return Cleaned(time.monotonic() - started, by, unfinished, quota)

    def _wait_for_quota(self, due: Sequence[ResourceManager], wait_seconds: float) -> str:
        """Once what was cleaned is gone: until the named quota says so, too."""
        if not self._settings.quota or wait_seconds <= 0:
            return ""
        namespaces = {manager.namespace for manager in due}
        return self.run(lambda cluster: self._quota.wait(cluster, namespaces, wait_seconds))

    def _do(self, ledger: Ledger, due: Sequence[ResourceManager], wait_seconds: float) -> str:
        labelled = [manager for manager in due if manager.labels_used and manager.outcome is not None]
        if labelled:
            self.run(lambda cluster: _track_labelled(cluster, labelled))
        if self._is_served(ledger):
            self._wait_for_worker(ledger, due, wait_seconds)
            return "worker"
        if self._loop.run(self._inline(ledger, due, wait_seconds)):
            return "inline"
        return ""

    def count_unfinished(self, managers: Iterable[ResourceManager]) -> int:
        """How many resources are due and not freed yet, as the ledger knows it now."""
        ledger = self._recorder.ledger()
        return 0 if ledger is None else sum(self._unfinished(ledger, manager) for manager in managers)

    def _unfinished(self, ledger: Ledger, manager: ResourceManager) -> int:
        manager.view.refresh(ledger)
        return len(manager.view.unfinished(self._settings.policy_rules()))

    def _is_served(self, ledger: Ledger) -> bool:
        """Whether a live worker serves this cluster."""
        return any(beat.alive and beat.info == self._cluster_name for beat in ledger.heartbeats("worker"))

    def _wait_for_worker(self, ledger: Ledger, due: Sequence[ResourceManager], wait_seconds: float) -> None:
        deadline = time.monotonic() + wait_seconds
        while sum(self._unfinished(ledger, manager) for manager in due) and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)

    async def _inline(self, ledger: Ledger, due: Sequence[ResourceManager], wait_seconds: float) -> bool:
        """Passes of a worker of our own, until all is freed; False when the cluster is out of reach."""
        worker = await self._worker(ledger, wait_seconds)
        await self._check_kinds(due)
        scope_ids = {manager.scope_id for manager in due}
        deadline = time.monotonic() + wait_seconds
        while True:
            report = await worker.run_once(scope_ids)
            if report.out_of_reach:
                self._out_of_reach(report.out_of_reach)
                return False
            if report.brake:
                self._problems.warning(report.brake)
                return True
            left = sum(self._unfinished(ledger, manager) for manager in due)
            if not left or time.monotonic() >= deadline:
                return True
            await asyncio.sleep(_PAUSE_SECONDS)

    # ---- the cluster -------------------------------------------------------------------------------------

    def create(self, manifest: Mapping[str, Any], namespace: str) -> ObservedObject:
        """Create an object; raises what the cluster answers."""
        return self.run(lambda cluster: cluster.create(manifest, namespace))

    def run(self, use: Callable[[Cluster], Coroutine[Any, Any, Result]]) -> Result:
        """Do something with the connected cluster, from any thread; raises what the cluster answers."""

        async def connected() -> Result:
            return await use(await self._connected())

        return self._loop.run(connected())

    async def _connected(self) -> Cluster:
        async with self._connecting:
            return self._cluster or await self._connect()

    async def _connect(self) -> Cluster:
        from cleanup_scheduler.cluster import connect

        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(connect(self._settings))
            await cluster.version()  # finds out whether anybody answers
            self._cluster, self._connection = cluster, stack.pop_all()
        self._reached = True
        return cluster

    async def _worker(self, ledger: Ledger, wait_seconds: float) -> Worker:
        """A worker whose confirmation of deletions takes no longer than this test wants to wait."""
        confirm_seconds = min(self._settings.confirm_seconds, wait_seconds)
        if confirm_seconds not in self._workers:
            from cleanup_scheduler.engine import Worker

            self._workers[confirm_seconds] = Worker(
                ledger,
                await self._connected(),
                msgspec.structs.replace(self._settings, confirm_seconds=confirm_seconds),
                worker_id=f"inline@{socket.gethostname()}/{os.getpid()}/{confirm_seconds:g}",
            )
        return self._workers[confirm_seconds]

    async def _check_kinds(self, due: Sequence[ResourceManager]) -> None:
        """A kind that only the API can know and does not: said with the place where it was tracked."""
        cluster = await self._connected()
        for ref, where in [item for manager in due for item in manager.refs.items()]:
            if singular(ref.kind) != ref.kind or ref.kind in self._checked_kinds:
                continue
            self._checked_kinds.add(ref.kind)
            try:
                await cluster.resolve_kind(ref.kind)
            except UnknownName as error:
                self._problems.bad_input(error, where)

    def _out_of_reach(self, words: str) -> None:
        """Never reached: an address or credential is wrong, somebody must mend it. Lost later: a warning."""
        self._not_before = time.monotonic() + _PAUSE_WHEN_AWAY_SECONDS
        left = "what was tracked stays in the ledger; `cleanup-scheduler run --once` cleans it up later"
        if self._reached:
            self._problems.warning(f"the cluster went out of reach: {words}; {left}")
        else:
            self._problems.bad_input(ClusterError(f"the cluster is out of reach: {words}; {left}"))

    def _complain(self, error: CleanupSchedulerError) -> None:
        if isinstance(error, ClusterError) and error.retryable:
            self._out_of_reach(str(error))
        elif error.retryable:
            self._problems.warning(f"cleaning was put off: {error}")
        else:
            self._problems.bad_input(error)

    def close(self) -> None:
        """Disconnect and stop the thread."""
        if self._connection is not None:
            self._loop.run(self._connection.aclose())
        self._connection = self._cluster = None
        self._workers = {}
        self._loop.close()


async def _track_labelled(cluster: Cluster, managers: Sequence[ResourceManager]) -> None:
    """What was created on a test's behalf with its labels is its own, as if the test had tracked it."""
    for manager in managers:
        for kind in (PODS, JOBS):
            selector = f"{SCOPE_LABEL}={manager.scope_id}"
            async for seen in cluster.list(kind, manager.namespace, label_selector=selector):
                if not seen.owners and seen.ref not in manager.refs:
                    manager.track_found(seen)
