"""Looking at processes and ending them, each only after it has shown that it is one of ours: a number alone
may meanwhile belong to somebody else.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tools.cluster.errors import StopFailed

T = TypeVar("T")


@dataclass(frozen=True)
class Process:
    """``mark`` is part of its command line, such as a path of our state folder."""

    name: str
    pid: int
    mark: str

    @property
    def alive(self) -> bool:
        """It runs (a zombie does not) and it is ours."""
        return self.mark in " ".join(command_line(self.pid))


def find(is_ours: Callable[[list[str]], bool], mark: str) -> list[Process]:
    """Everything that runs with such a command line, whoever started it and whether or not that was noted."""
    lines = ((pid, command_line(pid)) for pid in all_pids())
    return [Process(Path(words[0]).name, pid, mark) for pid, words in lines if words and is_ours(words)]


def all_pids() -> list[int]:
    if PROC.exists():
        return [int(folder.name) for folder in PROC.parent.glob("[0-9]*")]
    return [int(line) for line in ps("-A", "-o", "pid=").splitlines()]


def command_line(pid: int) -> list[str]:
    """Empty when there is no such process, or only a zombie is left of it."""
    if PROC.exists():
        try:
            return (PROC.parent / str(pid) / "cmdline").read_text(errors="replace").split("\0")[:-1]
        except (FileNotFoundError, ProcessLookupError):
            return []
    return ps("-ww", "-o", "command=", "-p", str(pid)).split()


PROC = Path("/proc/self")  # not on macOS


def ps(*arguments: str) -> str:
    return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False).stdout


def end(processes: Iterable[Process], *, patience_seconds: float = 10.0) -> None:
    """SIGTERM, and SIGKILL for whoever is still there after that; StopFailed if even that leaves one."""
    running = [process for process in processes if process.alive]
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        for process in running:
            send(process.pid, signal_number)
        running = still_alive(running, patience_seconds)
        if not running:
            return
    names = ", ".join(f"{process.name} ({process.pid})" for process in running)
    raise StopFailed(f"still running after SIGKILL: {names}")


def still_alive(processes: list[Process], patience_seconds: float) -> list[Process]:
    deadline = time.monotonic() + patience_seconds
    while running := [process for process in processes if process.alive]:
        if time.monotonic() > deadline:
            return running
        time.sleep(0.05)
    return []


def send(pid: int, signal_number: int) -> None:
    try:
        os.kill(pid, signal_number)
    except ProcessLookupError:
        return  # it ended by itself in between, which is all we want


def until(probe: Callable[[], T], *, within_seconds: float, interval_seconds: float = 0.1) -> T:
    """The first true answer of ``probe``, or the last false one when the time is over."""
    deadline = time.monotonic() + within_seconds
    while not (answer := probe()) and time.monotonic() < deadline:
        time.sleep(interval_seconds)
    return answer
