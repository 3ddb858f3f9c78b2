"""The worker as a process: opened patiently, stopped gently; or one pass and no process that stays.

Refuses to end because the cluster or the ledger is out of reach: that is said, and tried again after growing
pauses. The work itself is in ``serving``; what is due lives in the ledger.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import NamedTuple

from cleanup_scheduler.cluster import connect
from cleanup_scheduler.engine.clock import Clock, LedgerClock
from cleanup_scheduler.engine.housekeeping import drain_journals
from cleanup_scheduler.engine.pacing import limits
from cleanup_scheduler.engine.report import PassReport
from cleanup_scheduler.engine.serving import Serving
from cleanup_scheduler.engine.vitals import Vitals
from cleanup_scheduler.engine.worker import Worker, new_worker_id
from cleanup_scheduler.errors import LedgerUnavailable
from cleanup_scheduler.ledger import Ledger, open_ledger
from cleanup_scheduler.settings import Loaded

logger = logging.getLogger("cleanup_scheduler.engine")


class Address(NamedTuple):
    """Where health is answered."""

    host: str
    port: int


async def serve(loaded: Loaded, *, force: bool = False, health: Address | None = None) -> None:
    """Open the ledger, as soon as it can be reached, and serve until SIGTERM or SIGINT.

    Raises :class:`UsageError` when health cannot be answered at that address.
    """
    stop, vitals = asyncio.Event(), Vitals(loaded.settings)

    def told_to_stop() -> None:
        vitals.stopping = True
        stop.set()

    def asked() -> None:
        logger.info("%s", vitals.doing())

    with _signals({signal.SIGTERM: told_to_stop, signal.SIGINT: told_to_stop, signal.SIGUSR1: asked}):
        async with _answering(vitals, health):
            ledger = await _open_patiently(loaded, stop, vitals)
            if ledger is not None:
                with ledger:
                    await Daemon(ledger, loaded, stop, vitals, force=force).serve()


@contextmanager
def _signals(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def _answering(vitals: Vitals, health: Address | None) -> AsyncGenerator[None]:
    async with AsyncExitStack() as stack:
        if health is not None:
            from cleanup_scheduler.engine.health import served  # aiohttp's server: only when asked for

            await stack.enter_async_context(served(vitals, *health))
        yield


async def _open_patiently(loaded: Loaded, stop: asyncio.Event, vitals: Vitals) -> Ledger | None:
    """The ledger; None when told to stop before it could be reached."""
    settings, outages = loaded.settings, vitals.ledger_outages
    vitals.doing = lambda: f"opens the ledger; {outages}" if outages.why else "opens the ledger"
    while not stop.is_set():
        try:
            ledger = await asyncio.to_thread(
                open_ledger,
                loaded.ledger_url,
                timeout_seconds=settings.ledger_timeout_seconds,
                max_event_bytes=settings.max_event_bytes,
            )
        except LedgerUnavailable as error:
            await _wait(stop, outages.happened(str(error)))
        else:
            outages.ended(f"the ledger {ledger.url}")
            return ledger
    return None


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), timeout=seconds)
    except TimeoutError:
        return


class Daemon:
    """Serves until ``stop`` is set."""

    def __init__(
        self, ledger: Ledger, loaded: Loaded, stop: asyncio.Event, vitals: Vitals, *, force: bool = False
    ) -> None:
        self._ledger, self._settings, self._stop, self._force = ledger, loaded.settings, stop, force
        self._vitals, self._journals = vitals, loaded.journal_folder
        self._worker_id = new_worker_id()
        self._clock: Clock = LedgerClock(ledger)
        self._limits = limits(ledger, loaded.settings, self._clock)
        self._end = asyncio.Event()

    async def serve(self) -> None:
        """A connection that is refused (401) is made anew, with whatever credentials there are by then."""
        stopping = asyncio.create_task(self._stop_when_told())
        try:
            while not self._stop.is_set():
                self._end.clear()
                async with connect(self._settings, pace=self._limits) as cluster:
                    worker = Worker(
                        self._ledger,
                        cluster,
                        self._settings,
                        worker_id=self._worker_id,
                        clock=self._clock,
                        several_processes=True,
                    )
                    serving = Serving(
                        worker,
                        self._vitals,
                        self._limits,
                        self._end,
                        journals=self._journals,
                        force=self._force,
                    )
                    await serving.serve()
        finally:
            stopping.cancel()

    async def _stop_when_told(self) -> None:
        await self._stop.wait()
        self._end.set()


async def once(ledger: Ledger, loaded: Loaded, *, force: bool = False, dry_run: bool = False) -> PassReport:
    """One pass over everything: dead runs, what is due, what they left; then what the sweep found."""
    settings, clock = loaded.settings, LedgerClock(ledger)
    if not dry_run:
        await drain_journals(ledger, loaded.journal_folder)
    async with connect(settings, pace=limits(ledger, settings, clock)) as cluster:
        worker = Worker(ledger, cluster, settings, clock=clock, several_processes=True)
        report = await worker.run_once(force=force, dry_run=dry_run)
        if report.out_of_reach:
            return report
        await worker.sweep(force=force, dry_run=dry_run, report=report)
        if dry_run or not report.of("orphan"):
            return report
        return report.joined(await worker.run_once(force=force))
