"""`/healthz` and `/readyz` of a real worker: alive is not the same as ready, and it says why not."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cleanup_scheduler.engine.vitals import Vitals
from cleanup_scheduler.settings import Settings
from cleanup_scheduler.testing.clock import ManualClock

from tests.engine.conftest import MakeWorld
from tests.engine.processes import Process, daemon
from tests.engine.world import until
from tests.faults.proxy import FaultProxy, answer


async def get(process: Process, path: str) -> tuple[int, Any]:
    """Status and body, once the worker listens."""

    async def listens() -> list[str]:
        assert process.popen.poll() is None, process.log
        return re.findall(r"health is answered on 127\.0\.0\.1:(\d+)", process.log)

    [port] = await until(listens)
    url = f"http://127.0.0.1:{port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        text = await response.text()
        assert "\n" not in text
        return response.status, await response.json()


async def until_answer(process: Process, path: str, expected: Callable[[int, Any], bool]) -> Any:
    async def matches() -> bool:
        return expected(*await get(process, path))

    await until(matches)


async def test_it_is_ready_once_ledger_and_cluster_have_answered_and_says_which_has_not(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, FaultProxy(w.under_test.kubeconfig, tmp_path) as proxy:
        proxy.arm(answer(503), times=100_000)
        settings = {"cluster": w.cluster.name, "worker_lease_seconds": "1", "backoff_max_seconds": "1"}
        with daemon(w, tmp_path, proxy.kubeconfig, "--health-port", "0", **settings) as process:
            await until_answer(
                process, "/readyz", lambda status, body: status == 503 and "out of reach" in str(body["why"])
            )
            assert await get(process, "/healthz") == (200, {"live": True})
            proxy.disarm()
            await until_answer(process, "/readyz", lambda *said: said == (200, {"ready": True}))
            proxy.arm(answer(503), times=100_000)
            await until_answer(process, "/readyz", lambda status, _: status == 503)  # though it is idle
            proxy.disarm()


async def test_it_lives_and_is_not_ready_while_its_ledger_cannot_be_opened(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w:
        w.ledger_url = "postgresql://nobody@127.0.0.1:1/nothing"
        with daemon(w, tmp_path, None, "--health-port", "0", ledger_timeout_seconds="0.5") as process:
            await until_answer(
                process, "/readyz", lambda status, body: status == 503 and "127.0.0.1:1" in str(body["why"])
            )
            assert await get(process, "/healthz") == (200, {"live": True})
            process.popen.send_signal(signal.SIGUSR1)

            async def said() -> bool:
                return "opens the ledger; " in process.log

            await until(said)


async def test_told_to_stop_it_is_not_ready_at_once_and_lives_until_what_is_under_way_has_ended(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    async with make_world() as w, FaultProxy(w.under_test.kubeconfig, tmp_path) as proxy:
        held = asyncio.Event()

        async def hold(_request: Any, forward: Any) -> Any:
            await held.wait()
            return await forward()

        proxy.arm(hold, method="DELETE")
        with daemon(w, tmp_path, proxy.kubeconfig, "--health-port", "0", cluster=w.cluster.name) as process:
            await until_answer(process, "/readyz", lambda status, _: status == 200)
            w.start_run()
            scope = w.open_scope("all")
            job = await w.finished_job("evaluation")
            w.track(scope, job.ref)
            w.end(scope)

            async def deleting() -> bool:
                return any(seen.method == "DELETE" for seen in proxy.seen)

            await until(deleting)
            process.popen.send_signal(signal.SIGTERM)
            await until_answer(
                process, "/readyz", lambda *said: said == (503, {"ready": False, "why": ["told to stop"]})
            )
            assert await get(process, "/healthz") == (200, {"live": True})
            assert process.popen.poll() is None
            held.set()
            assert await asyncio.to_thread(process.wait) == 0
        assert "stopped before" not in process.log


def test_a_port_in_use_is_one_clear_line_and_exit_code_2(kubeconfig: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = Process(tmp_path, "run", "--health-port", port, kubeconfig=str(kubeconfig))
        assert process.wait() == 2
    [line] = process.log.splitlines()
    assert line.startswith(
        f"cleanup-scheduler: health cannot be answered on 127.0.0.1 port {port}: address al"
    )
    assert "--health-port" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--health-port", "70000"], "70000"),
        (["--health-port", "http"], "http"),
        (["--health-port", "0", "--health-host", "256.0.0.1"], "256.0.0.1"),
        (["--health-port", "0", "--once"], "--once"),
    ],
)
def test_a_bad_place_for_health_is_one_clear_line_and_exit_code_2(
    arguments: list[str], words: str, kubeconfig: Path, tmp_path: Path
) -> None:
    process = Process(tmp_path, "run", *arguments, kubeconfig=str(kubeconfig))
    assert process.wait() == 2
    [line] = process.log.splitlines()
    assert line.startswith("cleanup-scheduler: ")
    assert words in line


def test_a_worker_whose_ticks_do_not_end_is_not_alive_any_more() -> None:
    clock = ManualClock()
    vitals = Vitals(Settings(), clock.monotonic)
    clock.advance(hours=1)
    assert vitals.stuck() == "", "a ledger that cannot be opened is no reason for a new process"
    vitals.turn()
    clock.advance(299)
    assert vitals.stuck() == ""
    clock.advance(2)
    assert vitals.stuck() == "no tick has ended for 301 s"
    vitals.turn()
    assert vitals.stuck() == ""


def test_a_worker_that_looks_seldom_is_given_the_time(tmp_path: Path) -> None:
    clock = ManualClock()
    vitals = Vitals(Settings(tick_seconds=3600), clock.monotonic)
    vitals.turn()
    clock.advance(hours=2)
    assert vitals.stuck() == ""
    clock.advance(hours=2)
    assert vitals.stuck() != ""
