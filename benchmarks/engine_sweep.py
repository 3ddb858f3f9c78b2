"""A sweep over very many pods beside the bare paged list of the same pods, on the embedded cluster.

``python -m benchmarks.engine_sweep [--pods 100000] [--rounds 2] [--tracked]``

All pods match the configured selector and none is anybody's orphan, so the sweep looks at each and takes
none: the ledger has never heard of any, or (``--tracked``) a test that still runs tracked them. The cluster
is a process of its own, and so is each measurement; its memory is the growth of the peak over that before
the sweep.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cleanup_scheduler.cluster import connect
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.resources import make_ref
from cleanup_scheduler.engine import Worker
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger import Ledger
from cleanup_scheduler.settings import Settings
from cleanup_scheduler.testing import EmbeddedCluster

from benchmarks.engine_world import (
    METADATA_LIST,
    Json,
    Story,
    bare_client,
    cpu_seconds,
    fresh_ledger,
    load,
    options,
    peak_mb,
    say,
)

_PATH = "/api/v1/namespaces/default/pods"
_SELECTOR = "app=evaluation"
_PAGE = "500"


def pods(count: int) -> Iterator[Json]:
    """Waiting for a scheduler that nobody runs: nothing happens to them."""
    for number in range(count):
        yield {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name_of(number),
                "labels": {"app": "evaluation", "test-id": f"test-{number % 500}"},
            },
            "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "busybox:test"}]},
        }


def name_of(number: int) -> str:
    """Of a pod."""
    return f"evaluation-{number:06}"


async def bare_list(kubeconfig: Path) -> Json:
    """Page after page, decoded and thrown away."""
    async with bare_client(kubeconfig) as bare:
        await bare.json("GET", "/version")
        cpu, began, before, seen, token = cpu_seconds(), time.perf_counter(), peak_mb(), 0, ""
        while True:
            query = [
                ("labelSelector", _SELECTOR),
                ("limit", _PAGE),
                *([("continue", token)] if token else []),
            ]
            page = await bare.json("GET", _PATH, query=query, accept=METADATA_LIST)
            seen += len(page["items"] or ())
            token = page["metadata"].get("continue", "")
            if not token:
                return measured(began, cpu, before) | {"seen": seen}


async def sweep(kubeconfig: Path, folder: Path, tracked: int) -> Json:
    """One sweep of a ledger that knows a dead run, so that the window rule is at work. It died long ago, or,
    when pods are tracked, just now."""
    settings = Settings(kubeconfig=str(kubeconfig), selector=_SELECTOR)
    async with fresh_ledger(folder) as ledger, connect(settings) as cluster:
        story = Story(ledger, cluster.name, "default")
        ledger.append(*a_dead_run(story, died_days_ago=0 if tracked else 2))
        track(ledger, story, tracked)
        await cluster.version()
        worker = Worker(ledger, cluster, settings)
        await worker.clock.refresh()
        cpu, began, before = cpu_seconds(), time.perf_counter(), peak_mb()
        report = await worker.sweep()
        assert not report.items, report.summary()
        assert not report.out_of_reach, report.out_of_reach
        return measured(began, cpu, before)


def a_dead_run(story: Story, *, died_days_ago: int) -> list[e.NewEvent]:
    """It began two days ago."""
    then = datetime.now(UTC) - timedelta(days=2)
    last_heartbeat = datetime.now(UTC) - timedelta(days=died_days_ago)
    started = e.RunStarted(name="old", mode="pytest", cluster=story.cluster, namespace=story.namespace)
    said: list[e.Event] = [started, e.RunAbandoned(last_heartbeat=last_heartbeat)]
    return [
        e.NewEvent(event_id=new_id(), time=then, producer="bench", payload=payload, run_id="f" * 32)
        for payload in said
    ]


def track(ledger: Ledger, story: Story, count: int) -> None:
    """A hundred pods a test, of a run that still lives."""
    run, now = "e" * 32, datetime.now(UTC)

    def said(payload: e.Event, scope: str = "") -> e.NewEvent:
        return e.NewEvent(
            event_id=new_id(), time=now, producer="bench", payload=payload, run_id=run, scope_id=scope
        )

    started = e.RunStarted(name="now", mode="pytest", cluster=story.cluster, namespace=story.namespace)
    ledger.append(said(started))
    for first in range(0, count, 100):
        scope = new_id()
        refs = [make_ref(story.cluster, story.namespace, "pods", name_of(first + n)) for n in range(100)]
        opened = e.ScopeOpened(test_id=f"test_{first}", level="all", level_source="test")
        ledger.append(said(opened, scope), *(said(e.ResourceTracked(resource=ref), scope) for ref in refs))
    ledger.projection().catch_up()


def measured(began: float, cpu: float, before_mb: float) -> Json:
    """Seconds, CPU seconds, and the growth of the peak."""
    return {
        "seconds": time.perf_counter() - began,
        "cpu": cpu_seconds() - cpu,
        "mb": peak_mb() - before_mb,
    }


def child(what: str, kubeconfig: Path, tracked: int) -> Json:
    """Measure in a process of its own."""
    given = [what, str(kubeconfig), str(tracked)]
    command = [sys.executable, "-m", "benchmarks.engine_sweep", "--child", *given]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    answer: Json = json.loads(said)
    return answer


def measure(what: str, kubeconfig: Path, tracked: int) -> Json:
    """In the child."""
    if what == "list":
        return asyncio.run(bare_list(kubeconfig))
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        return asyncio.run(sweep(kubeconfig, Path(folder), tracked))


def serve(count: int) -> None:
    """A cluster with that many pods: says where, and ends with its input."""
    with EmbeddedCluster() as cluster:
        cluster.create(pods(count))
        print(cluster.kubeconfig, flush=True)
        sys.stdin.read()


@contextmanager
def served(count: int) -> Iterator[Path]:
    """The kubeconfig of a cluster, in a process of its own, with that many pods."""
    command = [sys.executable, "-m", "benchmarks.engine_sweep", "--serve", str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdin
        try:
            yield Path(server.stdout.readline().strip())
        finally:
            server.stdin.close()


def compare(count: int, rounds: int, *, tracked: bool) -> Json:
    """In turns; the best of each side counts."""
    lists, sweeps = [], []
    with served(count) as kubeconfig:
        for _ in range(rounds):
            lists.append(child("list", kubeconfig, 0))
            sweeps.append(child("sweep", kubeconfig, count if tracked else 0))
    assert all(one["seen"] == count for one in lists), lists
    return {
        "what": "sweep of tracked pods" if tracked else "sweep",
        "pods": count,
        "baseline_s": [round(one["seconds"], 2) for one in lists],
        "ours_s": [round(one["seconds"], 2) for one in sweeps],
        "ours_cpu_s": [round(one["cpu"], 2) for one in sweeps],
        "factor": round(min(s["seconds"] for s in sweeps) / min(one["seconds"] for one in lists), 2),
        "ours_mb": round(max(one["mb"] for one in sweeps), 1),
        "load": load(),
    }


def main(arguments: list[str]) -> None:
    """See the module."""
    parser = options(__doc__)
    parser.add_argument("--pods", type=int, default=100_000)
    parser.add_argument("--tracked", action="store_true")
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "KUBECONFIG", "TRACKED"))
    parser.add_argument("--serve", type=int)
    given = parser.parse_args(arguments)
    if given.child:
        print(json.dumps(measure(given.child[0], Path(given.child[1]), int(given.child[2]))))
    elif given.serve is not None:
        serve(given.serve)
    else:
        small = compare(1000, given.rounds, tracked=given.tracked)
        large = compare(given.pods, given.rounds, tracked=given.tracked)
        say(small)
        say(large | {"mb_more_than_1000_pods": round(large["ours_mb"] - small["ours_mb"], 1)})


if __name__ == "__main__":
    main(sys.argv[1:])
