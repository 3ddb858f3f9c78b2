"""One pod that runs: init containers one by one, then the containers, then its end; told in its status."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable

from cleanup_scheduler.testing.containers import Container
from cleanup_scheduler.testing.objects import Object, format_time, now, set_condition
from cleanup_scheduler.testing.processes import Processes

NODE_NAME = "embedded"
_ADDRESS = "127.0.0.1"


class PodRun:
    """Runs one pod. ``write_status`` stores what :meth:`apply_status` would put into the pod."""

    def __init__(
        self, processes: Processes, pod: Object, env: dict[str, str], write_status: Callable[[PodRun], None]
    ) -> None:
        self.uid: str = pod["metadata"]["uid"]
        self.phase = "Pending"
        self._pod = pod
        self._write_status = write_status
        self._started_at = format_time(now())
        self._stop_at: float | None = None
        folder = processes.folder / self.uid
        folder.mkdir()
        self._folder = folder
        spec = pod["spec"]

        def made(container: Object) -> Container:
            return Container(processes, folder, pod, container, env, self._container_changed)

        self._init = [made(container) for container in spec.get("initContainers") or ()]
        self._containers = [made(container) for container in spec["containers"]]
        self._all = (*self._init, *self._containers)

    async def run(self) -> None:
        """Until all containers have ended for good."""
        self._write_status(self)
        policy = self._pod["spec"].get("restartPolicy", "Always")
        for container in self._init:
            if await container.run(restart="OnFailure" if policy == "Always" else policy) != 0:
                self._end("Failed")
                return
        codes = await asyncio.gather(*(container.run(restart=policy) for container in self._containers))
        self._end("Failed" if any(codes) else "Succeeded")

    def stop(self, grace_seconds: float) -> None:
        """SIGTERM now and SIGKILL after the grace; called again with less grace, the kill comes sooner."""
        loop = asyncio.get_running_loop()
        kill_at = loop.time() + grace_seconds
        if self._stop_at is None:
            for container in self._all:
                container.stop()
        elif kill_at >= self._stop_at:
            return
        self._stop_at = kill_at
        loop.call_at(kill_at, self._kill)

    @property
    def stopped(self) -> bool:
        """Whether it was its deletion that ended it, or will."""
        return self._stop_at is not None

    @property
    def removed(self) -> bool:
        """Whether the logs are gone, with the containers."""
        return not self._folder.exists()

    def remove(self) -> None:
        """Forget the containers of a pod that has ended, and their logs with them."""
        for container in self._all:
            container.remove()
        shutil.rmtree(self._folder)

    def container(self, name: str) -> Container | None:
        return next((c for c in self._all if c.name == name), None)

    def apply_status(self, status: Object) -> None:
        """Put the phase, the conditions and the containers' states into a pod's status."""
        status["phase"] = self.phase
        status.setdefault("startTime", self._started_at)
        status |= {
            "hostIP": _ADDRESS,
            "hostIPs": [{"ip": _ADDRESS}],
            "podIP": _ADDRESS,
            "podIPs": [{"ip": _ADDRESS}],
        }
        if self._init:
            status["initContainerStatuses"] = [dict(container.status) for container in self._init]
        status["containerStatuses"] = [dict(container.status) for container in self._containers]
        ready = self.phase == "Running" and all(container.status["ready"] for container in self._containers)
        initialized = all(container.exit_code == 0 for container in self._init)
        completed = "PodCompleted" if self.phase == "Succeeded" else ""
        set_condition(status, "PodScheduled", "True")
        set_condition(status, "Initialized", "True" if initialized else "False", reason=completed)
        not_ready = completed or "ContainersNotReady"
        for kind in ("Ready", "ContainersReady"):
            set_condition(status, kind, "True" if ready else "False", reason="" if ready else not_ready)

    def _container_changed(self) -> None:
        if self.phase == "Pending" and any(container.running for container in self._containers):
            self.phase = "Running"
        self._write_status(self)

    def _end(self, phase: str) -> None:
        self.phase = phase
        self._write_status(self)

    def _kill(self) -> None:
        for container in self._all:
            container.kill()
