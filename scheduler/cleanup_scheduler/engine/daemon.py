"""The worker as a process: ticks that say "look", and a way to stop that leaves nothing half-claimed.

APScheduler holds three jobs in memory and no work: what is due lives in the ledger. Refuses to spin: an
outage of the cluster or the ledger is said once, and tried again after growing pauses.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]

from cleanup_scheduler.cluster import connect
from cleanup_scheduler.engine.clock import Clock, LedgerClock
from cleanup_scheduler.engine.outages import Outages
from cleanup_scheduler.engine.report import PassReport, printable
from cleanup_scheduler.engine.worker import Worker, new_worker_id
from cleanup_scheduler.errors import LedgerError, LedgerUnavailable
from cleanup_scheduler.ledger import Ledger, open_ledger
from cleanup_scheduler.settings import Loaded, Settings

logger = logging.getLogger("cleanup_scheduler.engine")
_LISTEN_SECONDS: Final = 0.1
_REST_PER_TICK: Final = 4.0  # woken by events, it still spends at most a fifth of the time on deciding
_UNAUTHORIZED: Final = 401


async def serve(loaded: Loaded, *, force: bool = False) -> None:
    """Open the ledger, as soon as it can be reached, and serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        ledger = await _open_patiently(loaded, stop)
        if ledger is not None:
            with ledger:
                await Daemon(ledger, loaded.settings, stop, force=force).serve()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _open_patiently(loaded: Loaded, stop: asyncio.Event) -> Ledger | None:
    """The ledger; None when told to stop before it could be reached."""
    settings = loaded.settings
    outages = Outages(settings, time.monotonic)
    while not stop.is_set():
        try:
            return await asyncio.to_thread(
                open_ledger,
                loaded.ledger_url,
                timeout_seconds=settings.ledger_timeout_seconds,
                max_event_bytes=settings.max_event_bytes,
            )
        except LedgerUnavailable as error:
            await _wait(stop, outages.happened(str(error)))
    return None


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), timeout=seconds)
    except TimeoutError:
        return


class Daemon:
    """Serves until ``stop`` is set."""

    def __init__(
        self, ledger: Ledger, settings: Settings, stop: asyncio.Event, *, force: bool = False
    ) -> None:
        self._ledger, self._settings, self._stop, self._force = ledger, settings, stop, force
        self._worker_id = new_worker_id()
        self._clock: Clock = LedgerClock(ledger)
        self._outages = Outages(settings, self._clock.monotonic)
        self._end = asyncio.Event()

    async def serve(self) -> None:
        """A connection that is refused (401) is made anew, with whatever credentials there are by then."""
        stopping = asyncio.create_task(self._stop_when_told())
        try:
            while not self._stop.is_set():
                self._end.clear()
                async with connect(self._settings) as cluster:
                    worker = Worker(
                        self._ledger, cluster, self._settings, worker_id=self._worker_id, clock=self._clock
                    )
                    await _Serving(worker, self._outages, self._end, force=self._force).serve()
        finally:
            stopping.cancel()

    async def _stop_when_told(self) -> None:
        await self._stop.wait()
        self._end.set()


class _Serving:
    """One connection's time."""

    def __init__(self, worker: Worker, outages: Outages, end: asyncio.Event, *, force: bool) -> None:
        self._worker, self._outages, self._end, self._force = worker, outages, end, force
        self._ledger, self._settings = worker.ledger, worker.settings
        self._ledger_outages = Outages(worker.settings, worker.clock.monotonic)
        self._ticking = asyncio.Lock()
        self._answered = 0
        self._position = -1

    async def serve(self) -> None:
        worker, loop = self._worker, asyncio.get_running_loop()
        cluster = printable(worker.api.cluster.name)
        logger.info("worker %s serves cluster %s from %s", worker.worker_id, cluster, self._ledger.url)
        loop.add_signal_handler(signal.SIGUSR1, lambda: logger.info("%s", worker.describe()))
        scheduler = self._scheduler()
        scheduler.start()
        listening = asyncio.create_task(self._listen())
        try:
            await self._end.wait()
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)
            listening.cancel()
            scheduler.shutdown(wait=False)
            await self._leave()

    def _scheduler(self) -> AsyncIOScheduler:
        settings = self._settings
        scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )
        jobs: dict[str, tuple[Callable[[], Awaitable[None]], float]] = {
            "beat": (self._beat, settings.worker_lease_seconds / 3),
            "tick": (self._tick, settings.tick_seconds),
            "sweep": (self._sweep, settings.sweep_seconds),
        }
        for name, (job, seconds) in jobs.items():
            now = datetime.now(UTC)
            scheduler.add_job(job, "interval", seconds=seconds, id=name, name=name, next_run_time=now)
        return scheduler

    # ---- the jobs ----------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        worker = self._worker
        try:
            await asyncio.to_thread(
                self._ledger.beat,
                "worker",
                worker.worker_id,
                lease_seconds=self._settings.worker_lease_seconds,
                info=worker.api.cluster.name,
            )
        except LedgerError as error:
            logger.warning("no sign of life could be written: %s", error)

    async def _tick(self) -> None:
        if self._ticking.locked() or not self._may_try():
            return
        async with self._ticking:
            report = PassReport(started_at=self._worker.clock.now())
            await self._worker.start_pass(report, force=self._force)
            if report.out_of_reach:
                self._ledger_outages.happened(report.out_of_reach)
            else:
                self._ledger_outages.ended(f"the ledger {self._ledger.url}")

    async def _sweep(self) -> None:
        if not self._may_try():
            return
        report = await self._worker.sweep(force=self._force)
        if report.out_of_reach and self._worker.api.down is None:
            self._ledger_outages.happened(report.out_of_reach)

    async def _listen(self) -> None:
        """New events are looked at at once; the tick finds what becomes due by time."""
        loop = asyncio.get_running_loop()
        rest = _LISTEN_SECONDS
        while True:
            await asyncio.sleep(max(rest, _LISTEN_SECONDS))
            try:
                position = (await asyncio.to_thread(self._ledger.head)).position
            except LedgerError:
                rest = self._settings.tick_seconds  # the tick says so
                continue
            rest = 0.0
            if position != self._position:
                self._position = position
                began = loop.time()
                await self._tick()
                rest = _REST_PER_TICK * (loop.time() - began)

    def _may_try(self) -> bool:
        """Not while the pause after an outage lasts; an outage seen since then begins the next one."""
        api = self._worker.api
        if api.answered > self._answered:
            self._answered = api.answered
            self._outages.ended(f"the cluster {printable(api.cluster.name)}")
        down = api.down
        if down is not None:
            api.retry()
            if down.status == _UNAUTHORIZED:
                self._end.set()
            self._outages.happened(str(down), retry_after_seconds=down.retry_after_seconds)
        return self._outages.over and self._ledger_outages.over

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


async def once(
    ledger: Ledger, settings: Settings, *, force: bool = False, dry_run: bool = False
) -> PassReport:
    """One pass over everything: dead runs, what is due, what they left; then what the sweep found."""
    async with connect(settings) as cluster:
        worker = Worker(ledger, cluster, settings)
        report = await worker.run_once(force=force, dry_run=dry_run)
        if report.out_of_reach:
            return report
        await worker.sweep(force=force, dry_run=dry_run, report=report)
        if dry_run or not report.of("orphan"):
            return report
        return report.joined(await worker.run_once(force=force))
