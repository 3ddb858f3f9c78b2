"""What the demo shows: acts, sentences, and the output of real commands as it comes.

Refuses to dress up: every command that is shown is run as shown, and its output is all of it.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from cleanup_scheduler.errors import CleanupSchedulerError

from cleanup_scheduler_cli.demo.guard import Guard
from cleanup_scheduler_cli.text import safe

_RULE: Final = "━"
_LINE: Final = "│"
_WIDTH: Final = 78
_STOP_SECONDS: Final = 30
# the commands that people type, and how this installation runs them
_PROGRAMS: Final = {
    "pytest": ("-m", "pytest"),
    "cleanup-cli": ("-m", "cleanup_scheduler_cli"),
    "cleanup-scheduler": ("-m", "cleanup_scheduler"),
}


class DemoFailed(CleanupSchedulerError):
    """Something did not happen that the demo promises."""


class Stage:
    """Prints, and runs commands in ``folder`` with ``environment``."""

    def __init__(self, folder: Path, environment: dict[str, str], guard: Guard, *, color: bool) -> None:
        self._folder, self._environment, self._color = folder, environment, color
        self._guard = guard
        self._lock = threading.Lock()
        self._showing_output = False
        self._processes: list[subprocess.Popen[str]] = []

    def act(self, title: str) -> None:
        """A new part begins."""
        self._print("")
        self._showing_output = False
        self._print(f"{_RULE * 2} {title} {_RULE * max(2, _WIDTH - len(title) - 4)}", bold=True)

    def say(self, text: str) -> None:
        """A sentence of the story."""
        self._print(f"  {text}")

    def run(self, *command: str, expect: Sequence[int] = (0,)) -> list[str]:
        """Run a command to its end and show it; the lines that it printed."""
        process = self._start(command)
        with _ended_on_error(process):
            lines = [self._show_line(line) for line in process.stdout or ()]
            if process.wait() not in expect:
                raise DemoFailed(f"`{_shown(command)}` ended with exit code {process.returncode}")
        stop(process, signal.SIGKILL)
        return lines

    def run_until(self, words: str, *command: str) -> tuple[list[str], subprocess.Popen[str]]:
        """Run a command until it prints ``words``; the lines so far, and the process, which still runs."""
        process = self._start(command)
        lines = []
        with _ended_on_error(process):
            for line in process.stdout or ():
                lines.append(self._show_line(line))
                if words in line:
                    return lines, process
            raise DemoFailed(
                f"`{_shown(command)}` ended with exit code {process.wait()}, not saying {words!r}"
            )

    def start(self, *command: str) -> Background:
        """Start a command that goes on; its lines are shown as they come."""
        mark = f"worker {_LINE}"
        return Background(self._start(command), lambda line: self._show_line(line, mark))

    def _start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        self._print(f"  $ {_shown(command)}", bold=True)
        interrupts: list[int] = []
        before = {
            number: signal.signal(number, lambda *_: interrupts.append(1))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:  # an interrupt in here would leave a process that nobody knows
            process = subprocess.Popen(
                [sys.executable, *_PROGRAMS[command[0]], *command[1:]],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # a group of its own, which the guard can end
            )
            self._processes.append(process)
            self._guard.watch(process.pid)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if interrupts:
            raise KeyboardInterrupt
        return process

    def close(self) -> None:
        """End what still runs."""
        for process in self._processes:
            stop(process, signal.SIGKILL)
            self._guard.forget(process.pid)

    def _show_line(self, line: str, mark: str = _LINE) -> str:
        text = line.rstrip("\n")
        self._print(f"  {mark} {safe(text)}".rstrip(), output=True)
        return text

    def _print(self, text: str, *, bold: bool = False, output: bool = False) -> None:
        with self._lock:
            if self._showing_output and not output and text:
                click.echo()  # the story goes on
            self._showing_output = output
            click.echo(click.style(text, bold=True) if bold and self._color else text)
            sys.stdout.flush()


class Background:
    """A command that runs beside the story."""

    def __init__(self, process: subprocess.Popen[str], show: Callable[[str], object]) -> None:
        self._process = process
        self._reader = threading.Thread(target=self._read, args=(show,), daemon=True)
        self._reader.start()

    def _read(self, show: Callable[[str], object]) -> None:
        for line in self._process.stdout or ():
            show(line)

    @property
    def ended(self) -> int | None:
        """The exit code, when it has ended by itself."""
        return self._process.poll()

    def stop(self) -> int:
        """SIGTERM, as an operator stops it; the exit code."""
        stop(self._process, signal.SIGTERM)
        self._reader.join(_STOP_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self._process.returncode


@contextmanager
def _ended_on_error(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    except BaseException:  # an interrupt too
        stop(process, signal.SIGKILL)
        raise


def stop(process: subprocess.Popen[str], how: signal.Signals) -> None:
    """End a process that we started, for certain, and stop listening to it."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None and how == signal.SIGKILL:
        process.stdout.close()


def _shown(command: Sequence[str]) -> str:
    return shlex.join(command)


def clean_environment() -> dict[str, str]:
    """Ours without what would make the demo use somebody's cluster, ledger or pytest options."""
    foreign = ("CLEANUP_SCHEDULER_", "PYTEST_", "KUBE", "TEST_LABEL", "COV_", "COVERAGE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"COLUMNS": "110", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
