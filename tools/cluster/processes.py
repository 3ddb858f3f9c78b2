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
        return self.mark in command_line(self.pid)


def command_line(pid: int) -> str:
    """Empty when there is no such process, or only a zombie is left of it."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    asked = ["ps", "-ww", "-o", "command=", "-p", str(pid)]  # macOS
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def from_pid_files(folder: Path, mark: str) -> list[Process]:
    """One per ``NAME.pid``, in the order of their names."""
    found = []
    for file in sorted(folder.glob("*.pid")):
        text = file.read_text().strip()
        if text.isdigit():
            found.append(Process(file.stem, int(text), mark))
    return found


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
