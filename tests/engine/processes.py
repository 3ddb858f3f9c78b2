"""A real `cleanup-scheduler` process beside the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engine.world import World, until


class Process:
    """A `cleanup-scheduler` of our own, with what it said so far in ``log``."""

    def __init__(self, folder: Path, *arguments: str, log: str = "worker.log", **environment: str) -> None:
        self.log_file = folder / log
        self._out = self.log_file.open("w")
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith("CLEANUP_SCHEDULER")
        }
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "cleanup_scheduler", *arguments],
            stdout=self._out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**clean, **{f"CLEANUP_SCHEDULER_{name.upper()}": v for name, v in environment.items()}},
        )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def wait(self, seconds: float = 60) -> int:
        code = self.popen.wait(timeout=seconds)
        self._out.close()
        return code


@contextmanager
def daemon(
    w: World,
    folder: Path,
    kubeconfig: Path | None = None,
    *arguments: str,
    log: str = "worker.log",
    **environment: str,
) -> Iterator[Process]:
    """A worker that stays, until the block ends."""
    target = str(kubeconfig or w.under_test.kubeconfig)
    where = ("--ledger", w.ledger_url, "--kubeconfig", target)
    process = Process(folder, "run", *where, *arguments, log=log, **environment)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.popen.send_signal(signal.SIGTERM)
            process.wait()


async def until_alive(w: World, workers: int = 1) -> None:
    """That many workers have shown a sign of life."""

    async def alive() -> bool:
        return sum(beat.alive for beat in w.ledger.heartbeats("worker")) >= workers

    await until(alive)
