"""The time of one connection to the cluster: ticks that say "look", and an end that leaves nothing claimed.

APScheduler holds a few jobs in memory and no work: what is due lives in the ledger. Refuses to spin: while
the cluster or the ledger is out of reach, every job waits for the same growing pause.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]

from cleanup_scheduler.engine.housekeeping import (
    HOUSEKEEPING_SECONDS,
    JOURNALS_SECONDS,
    drain_journals,
    keep_the_archive_small,
)
from cleanup_scheduler.engine.pacing import Limits
from cleanup_scheduler.engine.report import PassReport, printable
from cleanup_scheduler.engine.vitals import Vitals
from cleanup_scheduler.engine.waking import hints
from cleanup_scheduler.engine.worker import Worker
from cleanup_scheduler.errors import LedgerError

logger = logging.getLogger("cleanup_scheduler.engine")
_REST_PER_TICK: Final = 4.0  # woken by events, it still spends at most a fifth of the time on deciding
_REPORTS: Final = 100
_SAY_SECONDS: Final = 2.0
_UNAUTHORIZED: Final = 401


class Serving:
    """Serves until ``end`` is set, by whoever; and sets it when the credentials are refused."""

    def __init__(
        self,
        worker: Worker,
        vitals: Vitals,
        limits: Limits,
        end: asyncio.Event,
        *,
        journals: Path,
        force: bool,
    ) -> None:
        self._worker, self._vitals, self._limits, self._journals = worker, vitals, limits, journals
        self._end, self._force = end, force
        self._ledger, self._settings = worker.ledger, worker.settings
        self._ticking = asyncio.Lock()
        self._answered = 0
        self._asked_at = 0
        self._reports: deque[PassReport] = deque(maxlen=_REPORTS)
        self._busy = PassReport(started_at=worker.clock.now())
        self._said, self._said_at = "", float("-inf")

    async def serve(self) -> None:
        """Returns when everything that was begun has ended or was given back."""
        worker = self._worker
        cluster = printable(worker.api.cluster.name)
        logger.info("worker %s serves cluster %s from %s", worker.worker_id, cluster, self._ledger.url)
        self._vitals.doing = self._doing
        scheduler = self._scheduler()
        scheduler.start()
        listening = asyncio.create_task(self._listen())
        try:
            await self._end.wait()
        finally:
            listening.cancel()
            scheduler.shutdown(wait=False)
            await self._leave()
            await asyncio.wait([listening])

    def _scheduler(self) -> AsyncIOScheduler:
        settings = self._settings
        scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )
        jobs: dict[str, tuple[Callable[[], Awaitable[None]], float]] = {
            "beat": (self._beat, settings.worker_lease_seconds / 3),
            "ask": (self._ask, settings.worker_lease_seconds / 3),
            "tick": (self._tick, settings.tick_seconds),
            "sweep": (self._sweep, settings.sweep_seconds),
            "housekeeping": (self._keep_house, HOUSEKEEPING_SECONDS),
            "journals": (self._drain_journals, JOURNALS_SECONDS),
        }
        for name, (job, seconds) in jobs.items():
            now = datetime.now(UTC)
            scheduler.add_job(job, "interval", seconds=seconds, id=name, name=name, next_run_time=now)
        return scheduler

    def _doing(self) -> str:
        """What it is doing now, in one line; the same as long as nothing happens."""
        busy = self._busy = next((report for report in self._reports if report.items), self._busy)
        brake, waiting = self._reports[0].brake if self._reports else "", self._limits.waiting
        parts = [self._worker.describe()]
        parts += [f"since {busy.started_at:%H:%M:%S} UTC: {busy.summary()}"] if busy.items else []
        parts += [f"brake: {brake}"] if brake else []
        parts += [f"{waiting} requests wait for the rate limit"] if waiting else []
        outages = (self._vitals.ledger_outages, self._vitals.cluster_outages)
        parts += [str(outage) for outage in outages if outage.why]
        return printable("; ".join(parts))

    # ---- the jobs ----------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        worker = self._worker
        self._said, self._said_at = self._doing(), worker.clock.monotonic()
        try:
            await asyncio.to_thread(
                self._ledger.beat,
                "worker",
                worker.worker_id,
                lease_seconds=self._settings.worker_lease_seconds,
                info=worker.api.cluster.name,
                doing=self._said,
            )
        except LedgerError as error:
            logger.warning("no sign of life could be written: %s", error)

    async def _ask(self) -> None:
        """An idle worker asks for nothing: whether the cluster is there, it asks for that reason alone."""
        api = self._worker.api
        if api.answered == self._asked_at and self._vitals.cluster_outages.over:
            await api.ask()
        self._asked_at = api.answered
        self._may_try()

    async def _tick(self) -> None:
        if not self._ticking.locked():
            await self._look()

    async def _say(self) -> None:
        """What it is doing is news for `cleanup-cli status`, every two seconds at most."""
        if self._worker.clock.monotonic() - self._said_at > _SAY_SECONDS and self._doing() != self._said:
            await self._beat()

    async def _look(self) -> None:
        async with self._ticking:
            if self._may_try():
                report = PassReport(started_at=self._worker.clock.now())
                self._reports.appendleft(report)  # filled while the work goes on
                await self._worker.start_pass(report, force=self._force)
                if report.out_of_reach:
                    self._vitals.ledger_outages.happened(report.out_of_reach)
                else:
                    self._vitals.ledger_answers = True
                    self._vitals.ledger_outages.ended(f"the ledger {self._ledger.url}")
                    await self._say()
            self._vitals.turn()

    async def _sweep(self) -> None:
        if not self._may_try():
            return
        report = await self._worker.sweep(force=self._force)
        if report.out_of_reach and self._worker.api.down is None:
            self._vitals.ledger_outages.happened(report.out_of_reach)

    async def _keep_house(self) -> None:
        if self._vitals.ledger_outages.over:
            await keep_the_archive_small(self._ledger, self._settings)

    async def _drain_journals(self) -> None:
        if self._vitals.ledger_outages.over:
            await drain_journals(self._ledger, self._journals)

    async def _listen(self) -> None:
        """New events are looked at at once; the tick finds what becomes due by time."""
        loop = asyncio.get_running_loop()
        async with aclosing(hints(self._ledger, pause_seconds=self._settings.tick_seconds)) as heard:
            async for _ in heard:
                began = loop.time()
                await self._look()
                await asyncio.sleep(_REST_PER_TICK * (loop.time() - began))

    def _may_try(self) -> bool:
        """Not while the pause after an outage lasts; an outage seen since then begins the next one."""
        api, outages = self._worker.api, self._vitals.cluster_outages
        if api.answered > self._answered:
            self._answered = api.answered
            self._vitals.cluster_answers = True
            outages.ended(f"the cluster {printable(api.cluster.name)}")
        down = api.down
        if down is not None:
            api.retry()
            if down.status == _UNAUTHORIZED:
                self._end.set()
            outages.happened(str(down), retry_after_seconds=down.retry_after_seconds)
        return outages.over and self._vitals.ledger_outages.over

    async def _leave(self) -> None:
        """Let what is under way end, within its time; give back what is held."""
        worker = self._worker
        if not await worker.drain(timeout_seconds=self._settings.shutdown_seconds):
            logger.warning("stopped before everything under way had ended; the next worker goes on with it")
        try:
            await asyncio.to_thread(self._ledger.unbeat, "worker", worker.worker_id)
        except LedgerError as error:
            logger.warning("the heartbeat runs out by itself: %s", error)
        logger.info("worker %s has stopped", worker.worker_id)
