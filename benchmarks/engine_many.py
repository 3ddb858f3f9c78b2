"""Very many resources that are due at once: the time must grow as their number does; and the peak of memory.

``python -m benchmarks.engine_many [1000 3000 10000] [--per-test 10]``

Pods on the embedded cluster, which is a process of its own, as is each measurement: the figures are of the
worker, not of an API server.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cleanup_scheduler.cluster import connect
from cleanup_scheduler.engine import Worker
from cleanup_scheduler.settings import Settings

from benchmarks.engine_sweep import served
from benchmarks.engine_world import Json, Story, cpu_seconds, fresh_ledger, load, options, peak_mb, say


async def clean(kubeconfig: Path, count: int, per_test: int, folder: Path) -> Json:
    """One pass over that many tracked pods."""
    settings = Settings(kubeconfig=str(kubeconfig), archive_logs=False, confirm_seconds=600)
    names = [f"evaluation-{number:06}" for number in range(count)]
    async with fresh_ledger(folder) as ledger, connect(settings) as cluster:
        story = Story(ledger, cluster.name, "default")
        for start in range(0, count, per_test):
            story.test("pods", names[start : start + per_test], "pods")
        await cluster.version()
        worker = Worker(ledger, cluster, settings)
        cpu, began, before = cpu_seconds(), time.perf_counter(), peak_mb()
        report = await worker.run_once(force=True)
        seconds = time.perf_counter() - began
    assert len(report.of("gone")) == count, report.summary()
    return {
        "what": "due at once",
        "pods": count,
        "per_test": per_test,
        "ours_s": round(seconds, 2),
        "ours_cpu_s": round(cpu_seconds() - cpu, 2),
        "ms_each": round(1e3 * seconds / count, 2),
        "peak_mb": round(peak_mb()),
        "grown_mb": round(peak_mb() - before),
        "load": load(),
    }


def measure(kubeconfig: Path, count: int, per_test: int) -> Json:
    """In the child."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        return asyncio.run(clean(kubeconfig, count, per_test, Path(folder)))


def main(arguments: list[str]) -> None:
    """See the module."""
    parser = options(__doc__)
    parser.add_argument("counts", nargs="*", type=int, default=[1000, 3000, 10_000])
    parser.add_argument("--per-test", type=int, default=10, help="pods tracked by one test")
    parser.add_argument("--child", type=Path, metavar="KUBECONFIG")
    given = parser.parse_args(arguments)
    for count in given.counts:
        if given.child:
            say(measure(given.child, count, given.per_test))
            continue
        with served(count) as kubeconfig:
            command = [sys.executable, "-m", "benchmarks.engine_many", str(count), "--child", str(kubeconfig)]
            command += ["--per-test", str(given.per_test)]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            say(json.loads(said))


if __name__ == "__main__":
    main(sys.argv[1:])
