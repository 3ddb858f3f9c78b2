"""Finished Jobs with their pods, cleaned by the worker and by hand, in turns, on the real control plane.

``python -m benchmarks.engine_cleaning [all] [archive] [pods] [--jobs 1000] [--per-test 1] [--rounds 2]``

``all`` and ``archive`` stand beside 16 deletions in flight (Jobs, then pods; ``archive`` reads each log
first), ``pods`` beside ``kubectl delete pods -l``. Needs ``make cluster``.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from cleanup_scheduler.cluster import connect
from cleanup_scheduler.domain.resources import Level
from cleanup_scheduler.engine import Worker

from benchmarks.engine_world import (
    Place,
    Story,
    cpu_seconds,
    delete_by_hand,
    fresh_ledger,
    fresh_place,
    in_flight,
    load,
    options,
    say,
    settings_for,
    the_cluster,
)
from tests.under_test import ClusterUnderTest

Side = Callable[[Place], Awaitable[float]]


async def by_hand(place: Place) -> float:
    """The raw loop; the seconds it took."""
    began = time.perf_counter()
    await delete_by_hand(place)
    return time.perf_counter() - began


async def by_hand_with_logs(place: Place) -> float:
    """The same loop, each log read (and kept in memory) first."""
    began = time.perf_counter()
    pods = await place.bare.list(place.pods)
    logs = await in_flight(
        lambda pod: place.bare.ask(
            "GET", f"{place.pods}/{pod['metadata']['name']}/log", query=[("container", "main")]
        ),
        pods,
    )
    assert all(status == 200 for status, _ in logs), [status for status, _ in logs if status != 200][:3]
    await delete_by_hand(place)
    return time.perf_counter() - began


async def by_kubectl(place: Place) -> float:
    """What the document tells people to type; it waits until they are gone, as it does by default."""
    kubectl = place.cluster.kubectl
    assert kubectl, "no kubectl: `make cluster` builds one"
    command = [str(kubectl), "--kubeconfig", str(place.cluster.kubeconfig), "-n", place.namespace]
    command += ["delete", "pods", "-l", "app=evaluation"]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "KUBECACHEDIR": cache}
        began = time.perf_counter()
        await asyncio.to_thread(
            subprocess.run, command, check=True, env=environment, stdout=subprocess.DEVNULL
        )
        return time.perf_counter() - began


class Ours:
    """One pass of the worker over everything, until the ledger says that it is gone."""

    def __init__(self, folder: Path, level: Level, *, archive: bool, per_test: int) -> None:
        self._folder, self._level, self._archive, self._per_test = folder, level, archive, per_test
        self.cpu = 0.0

    async def __call__(self, place: Place) -> float:
        settings = settings_for(place.cluster, archive_logs=self._archive)
        names = sorted(one["metadata"]["name"] for one in await place.bare.list(place.jobs))
        async with fresh_ledger(self._folder) as ledger, connect(settings) as cluster:
            story = Story(ledger, cluster.name, place.namespace)
            for start in range(0, len(names), self._per_test):
                story.test(self._level, names[start : start + self._per_test])
            await cluster.version()
            cpu, began = cpu_seconds(), time.perf_counter()
            report = await Worker(ledger, cluster, settings).run_once(force=True)
            seconds = time.perf_counter() - began
            self.cpu = cpu_seconds() - cpu
        pods = [item for item in report.of("gone") if item.ref.kind == "pods"]
        assert len(pods) == len(names), (len(pods), report.summary())
        assert not await place.bare.list(place.pods)
        assert bool(await place.bare.list(place.jobs)) == (self._level == "pods")
        return seconds


async def one(side: Side, cluster: ClusterUnderTest, jobs: int) -> float:
    """One side, in a namespace of its own."""
    async with fresh_place(cluster) as place:
        await place.fill(jobs)
        return await side(place)


async def compare(
    what: str, baseline: Side, ours: Ours, cluster: ClusterUnderTest, jobs: int, rounds: int
) -> None:
    """In turns; the best of each side counts, all are shown."""
    hand, mine, cpu = [], [], []
    for _ in range(rounds):
        hand.append(await one(baseline, cluster, jobs))
        mine.append(await one(ours, cluster, jobs))
        cpu.append(ours.cpu)
    say(
        {
            "what": what,
            "jobs": jobs,
            "baseline_s": [round(seconds, 2) for seconds in hand],
            "ours_s": [round(seconds, 2) for seconds in mine],
            "ours_cpu_s": [round(seconds, 2) for seconds in cpu],
            "factor": round(min(mine) / min(hand), 3),
            "load": load(),
        }
    )


async def measure(chosen: list[str], jobs: int, per_test: int, rounds: int) -> None:
    """Those that were chosen."""
    cluster = the_cluster()
    sides: dict[str, tuple[Side, Level, bool]] = {
        "all": (by_hand, "all", False),
        "archive": (by_hand_with_logs, "all", True),
        "pods": (by_kubectl, "pods", False),
    }
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        for name in chosen:
            baseline, level, archive = sides[name]
            ours = Ours(Path(folder), level, archive=archive, per_test=per_test)
            what = f"{name}, {per_test} Jobs a test"
            await compare(what, baseline, ours, cluster, jobs, 1 if name == "pods" else rounds)


def main(arguments: list[str]) -> None:
    """See the module."""
    parser = options(__doc__)
    parser.add_argument("chosen", nargs="*", choices=["all", "archive", "pods", []])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--per-test", type=int, default=1, help="Jobs tracked by one test")
    given = parser.parse_args(arguments)
    chosen = given.chosen or ["all", "archive", "pods"]
    gc.freeze()  # as `cleanup-scheduler run` does
    asyncio.run(measure(chosen, given.jobs, given.per_test, given.rounds))


if __name__ == "__main__":
    main(sys.argv[1:])
