"""Starts and ends the local processes that play containers: each in a group of its own, its output captured.

Starts are rationed, so that a thousand pods do not start a thousand programs at once: a start holds one of a
few places until its process ends, and not longer than a moment, so that processes that run for ever hold up
nobody.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from cleanup_scheduler.testing import guardian
from cleanup_scheduler.testing.commands import Command
from cleanup_scheduler.testing.logs import ContainerLog

MARKER_VARIABLE = "CLEANUP_SCHEDULER_EMBEDDED_POD"
_HOLD_SECONDS = 0.25
_DRAIN_SECONDS = 0.5


class Processes:
    """All processes of one cluster, its folder for logs, and the guardian that outlives it."""

    def __init__(self, folder: Path, parallel_starts: int) -> None:
        self.marker = secrets.token_hex(16)
        self.folder = folder
        self._places = asyncio.Semaphore(parallel_starts)
        self._releases: set[asyncio.Task[None]] = set()
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", guardian.__file__, f"{MARKER_VARIABLE}={self.marker}", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    async def start(self, command: Command, log: ContainerLog) -> ContainerProcess:
        """Start when there is a place. OSError when the program cannot be started."""
        await self._places.acquire()
        try:
            started = await self._spawn(command, log)
        except BaseException:
            self._places.release()
            raise
        self._tell_guardian(started.pid)
        release = asyncio.create_task(self._release(started))
        self._releases.add(release)
        release.add_done_callback(self._releases.discard)
        return started

    async def _spawn(self, command: Command, log: ContainerLog) -> ContainerProcess:
        # A pipe of our own: with asyncio's, waiting for the process would also wait for everybody who
        # inherited it.
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env=command.env | {MARKER_VARIABLE: self.marker},
                cwd=command.folder,
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return ContainerProcess(process, os.fdopen(reading, "rb"), log)

    async def _release(self, process: ContainerProcess) -> None:
        await asyncio.wait([process.finished], timeout=_HOLD_SECONDS)
        self._places.release()
        await asyncio.wait([process.finished])
        self._tell_guardian(-process.pid)

    def _tell_guardian(self, group: int) -> None:
        if self._guardian.stdin is not None and not self._guardian.stdin.closed:
            self._guardian.stdin.write(f"{group}\n".encode())
            self._guardian.stdin.flush()

    def stop(self) -> None:
        """Let the guardian kill what is left and remove the folder; returns when it has."""
        if self._guardian.stdin is not None:
            self._guardian.stdin.close()
        self._guardian.wait(timeout=30)

    async def drained(self) -> None:
        """After :meth:`stop`: until the ends of all processes have been seen."""
        if self._releases:
            await asyncio.wait(self._releases)


class ContainerProcess:
    """One running process. :attr:`finished` has its exit code, 128 + n after signal n."""

    def __init__(self, process: asyncio.subprocess.Process, output: IO[bytes], log: ContainerLog) -> None:
        self.pid = process.pid
        self._process = process
        self.finished: asyncio.Task[int] = asyncio.create_task(self._finish(output, log))

    async def _finish(self, output: IO[bytes], log: ContainerLog) -> int:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, output)
        capture = asyncio.create_task(log.capture(reader))
        code = await self._process.wait()
        self.kill()  # a container ends with its first process
        await asyncio.wait([capture], timeout=_DRAIN_SECONDS)
        capture.cancel()  # no effect unless somebody left the group and still holds the pipe
        await asyncio.wait([capture])
        transport.close()
        log.close()
        return code if code >= 0 else 128 - code

    def terminate(self) -> None:
        """SIGTERM to the first process only, as a container runtime does."""
        if self._process.returncode is None:
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to all that it started, unless they left its group."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
