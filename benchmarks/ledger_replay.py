"""A large ledger: replay, verify, the idle tick and a worker's start, each beside its baseline.

``python -m benchmarks.ledger_replay [sqlite|postgresql] [events]``. Each measurement runs in a process of its
own; its memory is the growth of the peak over that at its start, and what the processes take that it starts.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.resources import make_ref
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger import Ledger, migrate, open_ledger, stretching
from cleanup_scheduler.ledger.chain import GENESIS
from cleanup_scheduler.ledger.folding import COLUMNS
from cleanup_scheduler.ledger.schema import EVENTS
from cleanup_scheduler.ledger.verifying import verify

_START = datetime(2026, 1, 1, tzinfo=UTC)
_PER_RUN = 50
_TURNS = 3  # each side in turns, and the median of each: other work on the machine hits both alike


def history(count: int) -> Iterator[e.NewEvent]:
    """Runs of 50 tests, each with one Job and its pod: opened to gone; ten events a test."""
    number = 0
    while number < count:
        run = new_id()
        payload: e.Event = e.RunStarted(name="suite", mode="pytest", cluster="c", namespace="crucible")
        yield event(payload, run, "", number)
        number += 1
        for test in range(_PER_RUN):
            for payload, scope in one_test(new_id(), test):
                yield event(payload, run, scope, number)
                number += 1
        yield event(e.RunFinished(), run, "", number)
        number += 1


def one_test(scope: str, test: int) -> Iterator[tuple[e.Event, str]]:
    """Everything that is said of a test that passed."""
    job = make_ref("c", "crucible", "jobs", f"evaluation-job-{scope[-8:]}")
    pod = make_ref("c", "crucible", "pods", f"evaluation-job-{scope[-8:]}-x")
    uid, pod_uid = str(uuid.uuid4()), str(uuid.uuid4())
    yield e.ScopeOpened(test_id=f"tests/test_x.py::test_{test}", level="all", level_source="marker"), scope
    yield e.ResourceTracked(resource=job), scope
    yield e.OutcomeRecorded(outcome="passed"), scope
    yield e.ResourceObserved(resource=job, uid=uid, created_at=_START), scope
    yield e.ResourceObserved(resource=pod, uid=pod_uid, created_at=_START, owner=job), scope
    yield (
        e.LogsArchived(resource=pod, uid=pod_uid, container="main", archive_id=scope, size_bytes=2000),
        scope,
    )
    yield e.DeletionRequested(resource=job, uid=uid, rule="passed", token=1), scope
    yield e.DeletionRequested(resource=pod, uid=pod_uid, rule="passed", owner=job, token=1), scope
    yield e.ResourceGone(resource=job, uid=uid, how="deleted"), scope
    yield e.ResourceGone(resource=pod, uid=pod_uid, how="deleted", owner=job), scope


def event(payload: e.Event, run: str, scope: str, number: int) -> e.NewEvent:
    """With a time of its own."""
    return e.NewEvent(
        event_id=new_id(),
        time=_START + timedelta(milliseconds=number),
        producer="bench",
        payload=payload,
        run_id=run,
        scope_id=scope,
    )


def fill(url: str, count: int) -> None:
    """Append that many events, a thousand at a time."""
    with open_ledger(url, timeout_seconds=60) as ledger:
        source = history(count)
        while some := list(islice(source, 1000)):
            ledger.append(*some)


def core_read(ledger: Ledger) -> None:
    """The baseline of a replay: the same rows and columns by SQLAlchemy Core, in batches of 2,000."""
    after = 0
    columns = [EVENTS.c[name] for name in COLUMNS.split(", ")]
    while True:
        query = sa.select(*columns).where(EVENTS.c.position > after).order_by(EVENTS.c.position).limit(2000)
        rows = ledger.backend.read(lambda connection: connection.execute(query).fetchall())  # noqa: B023
        if not rows:
            return
        after = rows[-1].position


def hash_only(ledger: Ledger) -> float:
    """The baseline of verify: hashing the same bytes, already in memory; the seconds it took."""
    after, seconds, last = 0, 0.0, GENESIS
    columns = f"position, {ledger.backend.canonical_column}"
    sql = f"SELECT {columns} FROM events WHERE position > ? ORDER BY position LIMIT 5000"
    while rows := ledger.backend.scan(sql, (after,)):
        bodies = [bytes(row[1]) for row in rows]
        began = time.perf_counter()
        for body in bodies:
            last = hashlib.sha256(last + body).digest()
        seconds += time.perf_counter() - began
        after = rows[-1][0]
    assert last.hex() == ledger.head().hash
    return seconds


def tick(ledger: Ledger) -> list[float]:
    """The times of 200 idle ticks of a worker that has caught up."""
    state = ledger.projection()
    state.catch_up()
    times = []
    for _ in range(200):
        began = time.perf_counter()
        state.catch_up()
        state.open_scopes()
        times.append(time.perf_counter() - began)
    return times


def start(url: str) -> None:
    """What a worker does before its first decision."""
    with open_ledger(url, timeout_seconds=60) as ledger:
        state = ledger.projection()
        state.catch_up()
        state.open_scopes()


def measure(what: str, url: str) -> dict[str, float]:
    """In a process of its own: seconds, and the growth of its peak memory in MB."""
    with open_ledger(url, timeout_seconds=60) as ledger:
        before = peak_mb()
        began = time.perf_counter()
        result: dict[str, float] = {}
        if what == "core":
            core_read(ledger)
        elif what == "replay":
            ledger.rebuild(several_processes=True)
        elif what == "verify":
            assert verify(ledger).intact
        elif what == "hash":
            result["seconds"] = hash_only(ledger)
        elif what == "tick":
            result["seconds"] = statistics.median(tick(ledger))
        elif what == "start":
            times = []
            for _ in range(20):
                again = time.perf_counter()
                start(url)
                times.append(time.perf_counter() - again)
            result["seconds"] = statistics.median(times)
        return {"seconds": time.perf_counter() - began, "mb": peak_mb() - before + others_mb()} | result


def peak_mb() -> float:
    """The peak of this process's memory; getrusage would give the parent's when that was higher."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def others_mb() -> float:
    """Of the processes that this one started and that ended: the largest, as often as there may be some."""
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return largest * (min(os.cpu_count() or 1, stretching.MAX_PROCESSES) - 1)


def child(what: str, url: str) -> dict[str, float]:
    """Measure in a child."""
    command = [sys.executable, "-m", "benchmarks.ledger_replay", "--child", what, url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    answer: dict[str, float] = json.loads(said)
    return answer


def compare(kind: str, url: str, small_url: str, count: int) -> None:
    """Everything, as lines of JSON."""
    began = time.perf_counter()
    fill(url, count)
    filled = time.perf_counter() - began
    fill(small_url, 1000)
    for each in (url, small_url):
        with open_ledger(each, timeout_seconds=60) as ledger:
            ledger.projection().catch_up()
    say({"what": f"batched append of 1000, {kind}", "events_per_second": round(count / filled)})
    for name, ours, baseline in (("replay", "replay", "core"), ("verify", "verify", "hash")):
        turns = [(child(baseline, url), child(ours, url)) for _ in range(_TURNS)]
        bare, mine = (statistics.median(turn[side]["seconds"] for turn in turns) for side in (0, 1))
        memory = {"factor": round(mine / bare, 2), "mb": round(max(turn[1]["mb"] for turn in turns))}
        seconds = {"baseline_s": round(bare, 2), "ours_s": round(mine, 2)}
        say({"what": f"{name} of {count} events, {kind}"} | seconds | memory)
    for name in ("tick", "start"):
        turns = [(child(name, small_url), child(name, url)) for _ in range(_TURNS)]
        small, large = (statistics.median(turn[side]["seconds"] for turn in turns) * 1e3 for side in (0, 1))
        values = {
            "baseline_ms": round(small, 3),
            "ours_ms": round(large, 3),
            "factor": round(large / small, 2),
        }
        say({"what": f"{name}, {kind}, 1k and {count} events"} | values)


def say(line: dict[str, Any]) -> None:
    """One result."""
    print(json.dumps(line), flush=True)


def on_sqlite(count: int) -> None:
    """In files on a real disk."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        compare("sqlite", f"sqlite:///{folder}/large.db", f"sqlite:///{folder}/small.db", count)


def on_postgresql(count: int) -> None:
    """On a server of its own."""
    from tests.databases import PostgresServer, execute

    server = PostgresServer("fsync=on")
    try:
        urls = []
        for name in ("large", "small"):
            execute(server.url("postgres"), f"CREATE DATABASE {name}")
            migrate(server.url(name))
            urls.append(server.url(name))
        compare("postgresql", urls[0], urls[1], count)
    finally:
        server.stop_for_good()


def main(arguments: list[str]) -> None:
    """Measure one database, or both."""
    if arguments[:1] == ["--child"]:
        print(json.dumps(measure(*arguments[1:])))
        return
    count = int(arguments[1]) if len(arguments) > 1 else 1_000_000
    each: list[tuple[str, Callable[[int], None]]] = [("sqlite", on_sqlite), ("postgresql", on_postgresql)]
    for kind, measured in each:
        if not arguments or arguments[0] in (kind, "both"):
            measured(count)


if __name__ == "__main__":
    main(sys.argv[1:])
