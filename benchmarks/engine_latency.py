"""From the end of a test with one finished Job to its pod's end, beside three bare calls: list, delete, get.

``python -m benchmarks.engine_latency [inline] [live] [--samples 200] [--archive]``

``inline``: one pass of a worker in this process, as the plugin runs it when no worker is alive. ``live``: a
`cleanup-scheduler run` process; the time counts from the append of the outcome to the pod's DELETED event in
a watch. Samples of both sides in turns. Needs ``make cluster``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from cleanup_scheduler.cluster import connect
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.engine import Worker
from cleanup_scheduler.ledger import Ledger, open_ledger
from cleanup_scheduler.settings import Settings

from benchmarks.engine_world import (
    METADATA_LIST,
    Json,
    Place,
    Story,
    fresh_place,
    job,
    load,
    options,
    say,
    settings_for,
    the_cluster,
    until,
)

OneTest = Callable[[str], Awaitable[float]]


class Gone:
    """When each pod's DELETED event came."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._at: dict[str, asyncio.Future[float]] = {}

    def when(self, job_name: str) -> asyncio.Future[float]:
        """Of the pod of that Job."""
        return self._at.setdefault(job_name, asyncio.get_running_loop().create_future())

    async def watch(self) -> None:
        """Until cancelled."""
        query = [("watch", "true"), ("allowWatchBookmarks", "false"), ("timeoutSeconds", "3600")]
        async for line in self._place.bare.lines(self._place.pods, query):
            event = msgspec.json.decode(line)
            if event["type"] == "DELETED":
                future = self.when(event["object"]["metadata"]["labels"]["batch.kubernetes.io/job-name"])
                if not future.done():
                    future.set_result(time.perf_counter())


async def finished_job(place: Place, name: str) -> None:
    """One more Job with its pod, both done."""
    template = place.cluster.simulated_template("complete")
    await place.bare.json("POST", place.jobs, body=job(name, template))

    async def finished() -> bool:
        seen = await place.bare.json("GET", f"{place.jobs}/{name}")
        return any(c["type"] == "Complete" for c in seen.get("status", {}).get("conditions") or ())

    await until(finished, 0.05)


async def three_calls(place: Place, name: str) -> float:
    """The baseline: list the Job's pods, delete, get."""
    selector = f"batch.kubernetes.io/job-name={name}"
    began = time.perf_counter()
    query = [("labelSelector", selector)]
    [pod] = (await place.bare.json("GET", place.pods, query=query, accept=METADATA_LIST))["items"]
    await place.bare.delete(place.pods, pod)
    status, _ = await place.bare.ask("GET", f"{place.pods}/{pod['metadata']['name']}")
    assert status == 404, status
    return time.perf_counter() - began


@asynccontextmanager
async def inline(place: Place, ledger: Ledger, settings: Settings) -> AsyncIterator[OneTest]:
    """The pass itself, until it returns."""
    async with connect(settings) as cluster:
        story, worker = Story(ledger, cluster.name, place.namespace), Worker(ledger, cluster, settings)
        await cluster.version()

        async def one(name: str) -> float:
            scope_id = story.test("pods", [name])
            began = time.perf_counter()
            report = await worker.run_once({scope_id})
            seconds = time.perf_counter() - began
            assert [item.ref.kind for item in report.of("gone")] == ["pods"], report.summary()
            return seconds

        yield one


@asynccontextmanager
async def live(place: Place, ledger: Ledger, settings: Settings) -> AsyncIterator[OneTest]:
    """A worker process; from the outcome's append to the watch's DELETED."""
    async with connect(settings) as cluster:
        story = Story(ledger, cluster.name, place.namespace)
    gone = Gone(place)
    watching = asyncio.create_task(gone.watch())
    environment = {
        "CLEANUP_SCHEDULER_LEDGER_URL": ledger.backend.address.url,
        "CLEANUP_SCHEDULER_KUBECONFIG": settings.kubeconfig,
        "CLEANUP_SCHEDULER_ARCHIVE_LOGS": str(settings.archive_logs).lower(),
    }
    process = subprocess.Popen(  # noqa: ASYNC220 - once, before anything is measured
        [sys.executable, "-m", "cleanup_scheduler", "run"],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    async def alive() -> bool:
        assert process.poll() is None, "the worker has ended"
        return any(beat.alive for beat in ledger.heartbeats("worker"))

    async def one(name: str) -> float:
        scope_id = story.open_test("pods", [name])
        await asyncio.sleep(0.2)  # the test itself: the worker has seen what was tracked
        began = time.perf_counter()
        await asyncio.to_thread(ledger.append, story.event(e.OutcomeRecorded(outcome="passed"), scope_id))
        return await asyncio.wait_for(gone.when(name), 60) - began

    try:
        await until(alive)
        yield one
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 60)
        watching.cancel()


async def measure(what: str, samples: int, *, archive: bool, folder: Path) -> None:
    """Both sides in turns, one Job each."""
    cluster = the_cluster()
    settings = settings_for(cluster, archive_logs=archive)
    side = {"inline": inline, "live": live}[what]
    bare, ours = list[float](), list[float]()
    async with fresh_place(cluster) as place:
        with open_ledger(f"sqlite:///{folder}/{what}.db") as ledger:
            async with side(place, ledger, settings) as one:
                for number in range(samples + 1):
                    await finished_job(place, f"bare-{number}")
                    await finished_job(place, f"ours-{number}")
                    bare.append(await three_calls(place, f"bare-{number}"))
                    ours.append(await one(f"ours-{number}"))
    say({"what": what, "archive": archive} | compared(bare[1:], ours[1:]) | {"load": load()})


def compared(bare: list[float], ours: list[float]) -> Json:
    """Without the first of each, which opens connections."""
    p95 = [statistics.quantiles(times, n=20)[-1] for times in (bare, ours)]
    return {
        "samples": len(ours),
        "baseline_p50_ms": round(1e3 * statistics.median(bare), 1),
        "baseline_p95_ms": round(1e3 * p95[0], 1),
        "ours_p50_ms": round(1e3 * statistics.median(ours), 1),
        "ours_p95_ms": round(1e3 * p95[1], 1),
        "factor": round(statistics.median(ours) / statistics.median(bare), 2),
    }


def main(arguments: list[str]) -> None:
    """See the module."""
    parser = options(__doc__)
    parser.add_argument("chosen", nargs="*", choices=["inline", "live", []])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument(
        "--archive", action="store_true", help="with the logs, which the three calls do not read"
    )
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        for what in given.chosen or ["inline", "live"]:
            asyncio.run(measure(what, given.samples, archive=given.archive, folder=Path(folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
