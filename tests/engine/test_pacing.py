"""Requests are spaced out in time: for one worker, for all of them, and while the ledger is out of reach."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cleanup_scheduler.engine.outages import Outages
from cleanup_scheduler.engine.pacing import OwnPace, SharedPace
from cleanup_scheduler.errors import LedgerUnavailable
from cleanup_scheduler.settings import Settings
from cleanup_scheduler.testing.clock import ManualClock

from tests.engine.conftest import MakeWorld
from tests.engine.processes import daemon, until_alive
from tests.engine.world import until
from tests.faults.proxy import FaultProxy


class Stepping(ManualClock):
    """Whoever sleeps moves it; ``sent`` are the times of requests."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    async def send(self, pace: Any, times: int = 1) -> None:
        for _ in range(times):
            await pace.turn()
            self.sent.append(self.monotonic())


class Stuck(ManualClock):
    """Whoever sleeps sleeps until ``awake`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep, self.awake = asyncio.Event(), asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.asleep.set()
        await self.awake.wait()


class SharedTime:
    """What the ledger does, for one name, by the test's clock; may be out of reach."""

    def __init__(self, clock: ManualClock, workers: int) -> None:
        self._clock, self._workers = clock, workers
        self._taken_until = 0.0
        self.asked = 0
        self.away = False

    async def take(self, seconds: float) -> float:
        self.asked += 1
        if self.away:
            raise LedgerUnavailable("gone")
        begins = max(self._taken_until, self._clock.monotonic())
        self._taken_until = begins + seconds
        return begins - self._clock.monotonic()

    async def count(self) -> int:
        if self.away:
            raise LedgerUnavailable("gone")
        return self._workers

    def pace(self, per_second: float) -> SharedPace:
        outages = Outages(Settings(), self._clock.monotonic)
        return SharedPace(per_second, self._clock, outages, take_time=self.take, workers=self.count)


def most_in(seconds: float, times: list[float]) -> int:
    """The largest number of them in any window that long."""
    times = sorted(times)
    return max(bisect_left(times, begin + seconds) - index for index, begin in enumerate(times))


async def test_a_worker_sends_no_more_than_its_limit_and_a_quarter_of_a_second_more_after_a_rest() -> None:
    clock = Stepping()
    pace = OwnPace(20, clock)
    await clock.send(pace, 200)
    assert clock.monotonic() == pytest.approx(195 / 20)
    assert most_in(1, clock.sent) <= 25
    clock.advance(hours=1)
    clock.sent.clear()
    await clock.send(pace, 100)
    assert most_in(0.01, clock.sent) == 5
    assert most_in(1, clock.sent) <= 25


@pytest.mark.parametrize("per_second", [0.5, 1, 20, 400])
@pytest.mark.parametrize("workers", [1, 3])
async def test_all_workers_together_send_no_more_than_the_limit(workers: int, per_second: float) -> None:
    clock = Stepping()
    shared = SharedTime(clock, workers)
    paces = [shared.pace(per_second) for _ in range(workers)]
    for turn in range(300):
        await clock.send(paces[turn % workers])
    piece = max(1, per_second / 4)
    assert most_in(1, clock.sent) <= per_second + 2 * piece
    assert clock.monotonic() >= (300 - 2 * piece) / per_second * 0.95


async def test_a_busy_worker_asks_the_ledger_a_few_times_a_second_only() -> None:
    clock = Stepping()
    shared = SharedTime(clock, 1)
    await clock.send(shared.pace(100), 2000)
    assert shared.asked <= 4 * clock.monotonic() + 10
    assert clock.monotonic() == pytest.approx(20, rel=0.1), "the limit is made use of"


async def test_what_a_worker_does_not_use_is_not_saved_for_later() -> None:
    clock = Stepping()
    pace = SharedTime(clock, 1).pace(100)
    await clock.send(pace, 300)
    clock.advance(hours=1)
    clock.sent.clear()
    await clock.send(pace, 300)
    assert most_in(1, clock.sent) <= 150


async def test_while_the_ledger_is_out_of_reach_each_worker_keeps_to_its_share() -> None:
    clock = Stepping()
    shared = SharedTime(clock, 4)
    pace = shared.pace(20)
    await clock.send(pace)
    shared.away = True
    clock.advance(1)
    clock.sent.clear()
    await clock.send(pace, 50)
    assert most_in(1, clock.sent) <= 6  # a quarter of 20, and the one at the end of the window
    assert shared.asked < 15, "it asks after growing pauses"
    shared.away = False
    clock.advance(hours=1)
    clock.sent.clear()
    await clock.send(pace, 100)
    assert most_in(1, clock.sent) > 10, "and goes on together with the others"


async def test_a_worker_that_never_reached_the_ledger_sends_a_request_a_second() -> None:
    clock = Stepping()
    shared = SharedTime(clock, 4)
    shared.away = True
    await clock.send(shared.pace(1000), 10)
    assert clock.monotonic() >= 9


async def test_who_gives_up_waiting_leaves_nothing_to_be_sent_too_early() -> None:
    clock = Stuck()
    shared = SharedTime(clock, 2)
    other, pace = shared.pace(20), shared.pace(20)
    await other.turn()  # the first piece of the time; the next begins in the future
    gone = asyncio.create_task(pace.turn())
    await clock.asleep.wait()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    clock.asleep.clear()
    next_one = asyncio.create_task(pace.turn())
    await clock.asleep.wait()
    assert not next_one.done()
    clock.awake.set()
    await next_one


class CountingProxy(FaultProxy):
    """Remembers when each request came."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.times: list[float] = []

    async def __aenter__(self) -> CountingProxy:
        await super().__aenter__()
        return self

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.times.append(time.monotonic())
        return await super()._handle(request)


@pytest.mark.parametrize(
    ("workers", "setting", "database"),
    [
        (1, "max_requests_per_second", "sqlite"),
        (3, "max_requests_per_second_all_workers", "postgresql"),
    ],
    indirect=["database"],
)
async def test_the_api_sees_no_more_requests_than_the_limit(
    workers: int, setting: str, make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, CountingProxy(w.under_test.kubeconfig, tmp_path) as proxy:
        w.start_run()
        scopes = [w.open_scope("all") for _ in range(12)]
        for number, scope in enumerate(scopes):
            w.track(scope, (await w.finished_job(f"evaluation-{number}")).ref)
        settings = {"cluster": w.cluster.name, "worker_lease_seconds": "60", setting: "10"}
        with ExitStack() as stack:
            for number in range(workers):
                stack.enter_context(daemon(w, tmp_path, proxy.kubeconfig, log=f"{number}.log", **settings))
            await until_alive(w, workers)
            for scope in scopes:
                w.end(scope)

            async def settled() -> bool:
                return all(w.scope(scope).settled for scope in scopes)

            await until(settled, 60)
        assert len(proxy.times) > 40, "too little to tell"
        assert most_in(2, proxy.times) <= 30, "more than 20, and room for a machine that stutters"
