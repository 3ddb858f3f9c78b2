"""One container of a running pod: its starts, its restarts with backoff, its end, and the status that tells
of them.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

from cleanup_scheduler.testing.commands import Command, NotRunnable, command_of, prepare_volumes
from cleanup_scheduler.testing.logs import ContainerLog
from cleanup_scheduler.testing.objects import Object, format_time, now
from cleanup_scheduler.testing.processes import ContainerProcess, Processes

_BACKOFF_SECONDS = 0.5  # Kubernetes waits 10 s; a test should not
_MAX_BACKOFF_SECONDS = 30.0
_NOT_STARTED = 128
_KILLED = 137


class Container:
    """Runs one container to its end. ``changed`` is called after each change of :attr:`status`."""

    def __init__(
        self,
        processes: Processes,
        folder: Path,
        pod: Object,
        container: Object,
        env: dict[str, str],
        changed: Callable[[], None],
    ) -> None:
        self.name: str = container["name"]
        self.exit_code: int | None = None
        self.logs: list[ContainerLog] = []
        self._processes = processes
        self._folder = folder
        self._pod = pod
        self._container = container
        self._env = env
        self._changed = changed
        self._process: ContainerProcess | None = None
        self._stopping = asyncio.Event()
        self._volumes: list[Path] = []
        self.status: Object = {
            "name": self.name,
            "image": container.get("image", ""),
            "imageID": "",
            "ready": False,
            "started": False,
            "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}},
            "lastState": {},
        }

    async def run(self, *, restart: str) -> int:
        """Start, and again as ``restart`` (Always, OnFailure, Never) says. Returns the last exit code."""
        backoff_seconds = _BACKOFF_SECONDS
        while True:
            if self._stopping.is_set():
                return _KILLED
            code = await self._run_once()
            again = restart == "Always" or (restart == "OnFailure" and code != 0)
            if not again or self._stopping.is_set():
                self.exit_code = code
                return code
            self._wait_for_restart(backoff_seconds)
            if await self._stopped_within(backoff_seconds):
                self._tell_last_state()
                self.exit_code = code
                return code
            backoff_seconds = min(backoff_seconds * 2, _MAX_BACKOFF_SECONDS)

    def stop(self) -> None:
        """Ask the process to end, and start it no more."""
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        self._stopping.set()
        if self._process is not None:
            self._process.kill()

    @property
    def running(self) -> bool:
        return self._process is not None

    def remove(self) -> None:
        """The pod is gone: close its logs and remove the folders that its volumes made."""
        for log in self.logs:
            log.close()
        for path in self._volumes:
            shutil.rmtree(path, ignore_errors=True)

    async def _run_once(self) -> int:
        log = ContainerLog(self._folder / f"{self.name}.{len(self.logs)}.log")
        self.logs.append(log)
        try:
            self._volumes += prepare_volumes(self._pod, self._container)
            command = command_of(self._pod, self._container, self._env)
            if command is None:
                self._set_running()
                code = 0  # an image's own entry point: there is no image, so there is nothing to run
            else:
                code = await self._run_command(command, log)
        except (NotRunnable, OSError) as error:
            self._set_terminated(_NOT_STARTED, "StartError", str(error))
            return _NOT_STARTED
        finally:
            log.close()  # also when the cluster stops while the container runs
        self._set_terminated(code, "Completed" if code == 0 else "Error")
        return code

    async def _run_command(self, command: Command, log: ContainerLog) -> int:
        self._process = await self._processes.start(command, log)
        if self._stopping.is_set():
            self._process.kill()  # the pod was ended while this waited for its turn
        self._set_running()
        try:
            return await self._process.finished
        finally:
            self._process = None

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _set_running(self) -> None:
        state = {"running": {"startedAt": format_time(now())}}
        self.status |= {"state": state, "ready": True, "started": True, "containerID": self._container_id()}
        self._changed()

    def _set_terminated(self, code: int, reason: str, message: str = "") -> None:
        moment = format_time(now())
        started_at = (self.status["state"].get("running") or {}).get("startedAt", moment)
        terminated = {"exitCode": code, "reason": reason, "startedAt": started_at, "finishedAt": moment}
        terminated["containerID"] = self._container_id()
        if message:
            terminated["message"] = message
        self.status |= {"state": {"terminated": terminated}, "ready": False, "started": False}
        self._changed()

    def _wait_for_restart(self, backoff_seconds: float) -> None:
        message = f"back-off {backoff_seconds:g}s restarting failed container={self.name}"
        waiting = {"reason": "CrashLoopBackOff", "message": message}
        self.status |= {"lastState": self.status["state"], "state": {"waiting": waiting}}
        self.status["restartCount"] += 1
        self._changed()

    def _tell_last_state(self) -> None:
        self.status |= {"state": self.status["lastState"], "lastState": {}}
        self._changed()

    def _container_id(self) -> str:
        return f"embedded://{self._pod['metadata']['uid']}-{self.name}-{len(self.logs)}"
