"""One append, beside the same insert by the bare driver: 1 and 8 processes, SQLite and PostgreSQL.

Both take turns in short windows of the same run, so that a busy machine slows both; the factor is that of the
medians over all windows. The worst append of 8 processes is that of one window of 30 s, ours and then raw.
``python -m benchmarks.ledger_append [both|sqlite|postgresql] [seconds-per-window]``
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cleanup_scheduler.domain.events import NewEvent, ScopeOpened
from cleanup_scheduler.ids import new_id
from cleanup_scheduler.ledger import migrate, open_ledger
from cleanup_scheduler.ledger.rows import to_row, to_text

WINDOWS = 30
SATURATION_SECONDS = 30.0
_GUARDS = ("events_no_update", "events_no_delete", "events_only_append")


def an_event() -> NewEvent:
    """A typical event: its payload has 57 bytes."""
    payload = ScopeOpened(test_id="test_x", level="pods", level_source="test")
    return NewEvent(
        event_id=new_id(),
        time=datetime.now(UTC),
        producer="bench",
        payload=payload,
        run_id="run-1",
        scope_id="s1",
    )


def raw_sqlite(path: str) -> Callable[[], object]:
    """The bare driver: same file settings, same columns and indexes; no chain, no triggers, no queue."""
    import sqlite3

    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    connection.execute("PRAGMA synchronous = FULL")
    sql = (
        "INSERT INTO events (event_id, type, version, run_id, scope_id, time, producer, payload, hash)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    )
    payload, hash_ = '{"level":"pods","level_source":"test","test_id":"test_x"}', bytes(32)

    def append() -> None:
        connection.execute("BEGIN IMMEDIATE")
        time_text = "2026-01-31T12:00:00.000001Z"
        values = (new_id(), "ScopeOpened", 1, "run-1", "s1", time_text, "bench", payload, hash_)
        connection.execute(sql, values)
        connection.execute("COMMIT")

    return append


def raw_postgresql(url: str) -> Callable[[], object]:
    """Bare psycopg calling the same SQL function."""
    import psycopg

    connection = psycopg.connect(url, autocommit=True)
    sql = b"SELECT cleanup_append(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    row = to_row(an_event(), max_event_bytes=10_000, now=datetime.now(UTC))
    columns = [[value] for value in row]

    def append() -> object:
        columns[0] = [new_id()]
        columns[5] = [to_text(datetime.now(UTC))]
        return connection.execute(sql, (*columns, None, None)).fetchone()

    return append


def ours(url: str) -> Callable[[], object]:
    """The ledger's own append."""
    ledger = open_ledger(url, timeout_seconds=60)
    return lambda: ledger.append(an_event())


def work(kind: str, url: str, raw_url: str) -> None:
    """A child: told by lines ``raw|ours SECONDS``, answers with the times of its appends in that window."""
    raw = raw_sqlite(raw_url) if kind == "sqlite" else raw_postgresql(raw_url)
    appends = {"ours": ours(url), "raw": raw}
    print("ready", flush=True)
    for line in sys.stdin:
        who, seconds = line.split()
        append, times = appends[who], []
        end = time.perf_counter() + float(seconds)
        while time.perf_counter() < end:
            began = time.perf_counter()
            append()
            times.append(time.perf_counter() - began)
        print(json.dumps(times), flush=True)


class Children:
    """That many processes which append when they are told to."""

    def __init__(self, kind: str, url: str, raw_url: str, processes: int) -> None:
        command = [sys.executable, "-m", "benchmarks.ledger_append", "--child", kind, url, raw_url]
        self.processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        for process in self.processes:
            assert process.stdout is not None
            process.stdout.readline()

    def window(self, who: str, seconds: float) -> list[float]:
        """The times of all their appends in one window."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(f"{who} {seconds}\n")
            process.stdin.flush()
        answers: list[float] = []
        for process in self.processes:
            assert process.stdout is not None
            answers += json.loads(process.stdout.readline())
        return answers

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.communicate()


def measure(kind: str, url: str, raw_url: str, processes: int, seconds: float) -> dict[str, Any]:
    """Alternate windows over that many processes."""
    times: dict[str, list[list[float]]] = {"raw": [], "ours": []}
    with Children(kind, url, raw_url, processes) as children:
        for _ in range(WINDOWS):
            for who, windows in times.items():
                windows.append(children.window(who, seconds))
    each = {
        # at saturation the time of one append is the window shared out among all appends
        who: statistics.median(processes * seconds / len(window) for window in windows)
        for who, windows in times.items()
    }
    return {
        "what": f"one append, {kind}, {processes} processes",
        "raw_us": round(each["raw"] * 1e6),
        "ours_us": round(each["ours"] * 1e6),
        "factor": round(each["ours"] / each["raw"], 2),
    }


def saturate(kind: str, url: str, raw_url: str, processes: int) -> dict[str, Any]:
    """One long window of ours, then one of the bare driver: how long the unluckiest append waited."""
    with Children(kind, url, raw_url, processes) as children:
        times = {who: sorted(children.window(who, SATURATION_SECONDS)) for who in ("ours", "raw")}
    said: dict[str, Any] = {"what": f"saturation, {kind}, {processes} processes, {SATURATION_SECONDS:g} s"}
    for who, values in times.items():
        said[f"{who}_appends"] = len(values)
        said[f"{who}_median_ms"] = round(statistics.median(values) * 1e3, 2)
        said[f"{who}_worst_ms"] = round(values[-1] * 1e3)
    return said


def on_sqlite(seconds: float) -> None:
    """Two files beside each other: the raw one without guards."""
    import sqlite3

    for processes in (1, 8):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            paths = [Path(folder) / name for name in ("ours.db", "raw.db")]
            for path in paths:
                open_ledger(f"sqlite:///{path}").close()
            raw = sqlite3.connect(paths[1])
            for guard in _GUARDS:
                raw.execute(f"DROP TRIGGER {guard}")
            raw.close()
            where = ("sqlite", f"sqlite:///{paths[0]}", str(paths[1]), processes)
            print(json.dumps(measure(*where, seconds)), flush=True)
            if processes > 1:
                print(json.dumps(saturate(*where)), flush=True)


def on_postgresql(seconds: float) -> None:
    """Two databases of one server that syncs its commits."""
    from tests.databases import PostgresServer, execute

    server = PostgresServer("fsync=on")
    try:
        urls = []
        for name in ("ours", "raw"):
            execute(server.url("postgres"), f"CREATE DATABASE {name}")
            migrate(server.url(name))
            urls.append(server.url(name))
        for processes in (1, 8):
            print(json.dumps(measure("postgresql", urls[0], urls[1], processes, seconds)))
    finally:
        server.stop_for_good()


def main(arguments: list[str]) -> None:
    """Measure one database, or both."""
    if arguments[:1] == ["--child"]:
        work(*arguments[1:])
        return
    seconds = float(arguments[1]) if len(arguments) > 1 else 0.3
    for kind, measured in (("sqlite", on_sqlite), ("postgresql", on_postgresql)):
        if not arguments or arguments[0] in (kind, "both"):
            measured(seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
