"""From the return of an append to the moment at which a listener in another process has heard of it.

``python -m benchmarks.ledger_wakeup [both|sqlite|postgresql] [samples]``. The appends come at odd times, some
right after another: a hint that is held back for a moment counts, too. The limit is 50 ms.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time

from cleanup_scheduler.ledger import Ledger, migrate, open_ledger

from benchmarks.ledger_append import an_event

_LONGEST_PAUSE_SECONDS = 0.2


def listen(url: str) -> None:
    """In a process of its own: says the position of the newest event and when it heard of it."""
    with open_ledger(url) as ledger:
        listener = ledger.listen()
        print(json.dumps([ledger.head().position, time.monotonic()]), flush=True)
        while True:
            if listener.wait(5.0):
                position = ledger.head().position
                print(json.dumps([position, time.monotonic()]), flush=True)


def samples(ledger: Ledger, url: str, count: int) -> list[float]:
    """The milliseconds of each append until somebody had heard of it."""
    command = [sys.executable, "-m", "benchmarks.ledger_wakeup", "--listen", url]
    appended: list[tuple[int, float]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout
        listener.stdout.readline()  # it listens
        for _ in range(count):
            [position] = ledger.append(an_event())
            appended.append((position, time.monotonic()))
            time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311
        heard: list[tuple[int, float]] = []
        while not heard or heard[-1][0] < appended[-1][0]:
            position, at = json.loads(listener.stdout.readline())
            heard.append((position, at))
        listener.kill()
    first = {position: min(at for upto, at in heard if upto >= position) for position, _ in appended}
    return [max(0.0, first[position] - at) * 1000 for position, at in appended]


def report(kind: str, url: str, count: int) -> None:
    """One line of JSON."""
    with open_ledger(url) as ledger:
        found = sorted(samples(ledger, url, count))
    line = {
        "what": f"wake-up, {kind}",
        "samples": count,
        "p50_ms": round(statistics.median(found), 1),
        "p95_ms": round(found[int(0.95 * count)], 1),
        "worst_ms": round(found[-1], 1),
        "within_50_ms": round(sum(one <= 50 for one in found) / count, 3),
    }
    print(json.dumps(line), flush=True)


def on_sqlite(count: int) -> None:
    """In a file on a real disk."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        report("sqlite", f"sqlite:///{folder}/ledger.db", count)


def on_postgresql(count: int) -> None:
    """On a server of its own."""
    from tests.databases import PostgresServer

    server = PostgresServer("fsync=on")
    try:
        migrate(server.url("postgres"))
        report("postgresql", server.url("postgres"), count)
    finally:
        server.stop_for_good()


def main(arguments: list[str]) -> None:
    """One database, or both."""
    if arguments[:1] == ["--listen"]:
        listen(arguments[1])
        return
    count = int(arguments[1]) if len(arguments) > 1 else 200
    for kind, measured in (("sqlite", on_sqlite), ("postgresql", on_postgresql)):
        if not arguments or arguments[0] in (kind, "both"):
            measured(count)


if __name__ == "__main__":
    main(sys.argv[1:])
