"""The embedded cluster as one thing to start and stop: from a test, a fixture or a command.

It runs in a thread with an event loop of its own, listens on loopback, and leaves neither processes nor
files behind, not even when the process that holds it is killed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from cleanup_scheduler.testing.audit import DeleteRecord
from cleanup_scheduler.testing.control_plane import ControlPlane
from cleanup_scheduler.testing.faults import Faults
from cleanup_scheduler.testing.kubeconfig import write_kubeconfig
from cleanup_scheduler.testing.objects import Object
from cleanup_scheduler.testing.options import ClusterOptions

_Result = TypeVar("_Result")
_START_SECONDS = 30.0
_STOP_SECONDS = 60.0
_CREATED_AT_ONCE = 200
_NOT_RUNNING = "the embedded cluster is not running: use it inside its with block"


class EmbeddedCluster:
    """``with EmbeddedCluster() as cluster:`` serves until the block ends; :attr:`kubeconfig` is the way in.

    ``kubeconfig`` names the file to write (default: one in a temporary folder), ``namespace`` the one that
    is made beside ``default`` and is the kubeconfig's own, ``port`` 0 any free port, ``audit_log`` a file
    for deletes as JSON lines. Methods may be called from any thread.
    """

    def __init__(
        self,
        *,
        kubeconfig: Path | None = None,
        namespace: str = "default",
        port: int = 0,
        audit_log: Path | None = None,
        options: ClusterOptions | None = None,
    ) -> None:
        self.namespace = namespace
        self.faults = Faults()
        self._port = port
        self._audit_log = audit_log
        self._options = options or ClusterOptions()
        self._kubeconfig = kubeconfig
        self._folder: Path | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._plane: ControlPlane | None = None

    def __enter__(self) -> EmbeddedCluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def server(self) -> str:
        """The address, such as ``https://127.0.0.1:40123``."""
        return f"https://127.0.0.1:{self._running.server.port}"

    @property
    def token(self) -> str:
        return self._running.server.token

    @property
    def kubeconfig(self) -> Path:
        """The file that leads here; the one that was asked for, or one that goes with the cluster."""
        if self._kubeconfig is not None:
            return self._kubeconfig
        if self._folder is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._folder / "kubeconfig"

    def start(self) -> None:
        """Serve, and write the kubeconfig. OSError when the port is taken or a file cannot be written."""
        self._folder = Path(tempfile.mkdtemp(prefix="cleanup-scheduler-embedded-"))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="embedded-cluster", daemon=True)
        self._thread.start()
        try:
            self._plane = self._call(self._start(self._folder), _START_SECONDS)
            self.write_kubeconfig(self.kubeconfig)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the pods' processes and the server. Safe to call again."""
        if self._thread is None or self._loop is None:
            return
        if self._plane is not None:
            plane, self._plane = self._plane, None
            self._call(plane.stop(), _STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS)
        self._loop.close()
        self._thread = self._loop = None
        if self._folder is not None:  # the guardian has removed it, unless it never came to be
            shutil.rmtree(self._folder, ignore_errors=True)

    def write_kubeconfig(self, path: Path, *, token: str | None = None) -> None:
        """Write a kubeconfig for this cluster, with another token when a test wants one that is refused."""
        server = self._running.server
        write_kubeconfig(
            path,
            server=self.server,
            token=server.token if token is None else token,
            certificate_pem=server.certificate_pem,
            namespace=self.namespace,
        )

    def deletes(self, chosen: Callable[[DeleteRecord], bool] = lambda _: True) -> list[DeleteRecord]:
        """The witness: the requests to delete so far, controllers' own included (see ``caller.user``)."""
        return self._running.audit.deletes(chosen)

    def create(self, manifests: Iterable[Object]) -> list[str]:
        """Create objects without HTTP, many if need be, and return their uids.

        Each manifest names its apiVersion and kind and, where it is not the cluster's own, its namespace.
        ApiError for the first one that is refused.
        """
        uids: list[str] = []
        waiting = iter(manifests)
        while batch := list(itertools.islice(waiting, _CREATED_AT_ONCE)):
            uids += self._call(self._running.create_all(batch, self.namespace), None)
        return uids

    def expire_history(self) -> None:
        """As if five minutes had passed: older continue tokens and watch versions get 410."""
        self._call(self._running.expire_history(), _START_SECONDS)

    def count(self, kind: str, namespace: str = "") -> int:
        """How many objects of ``plural.group`` there are."""
        return self._call(self._running.count(kind, namespace), _START_SECONDS)

    @property
    def _running(self) -> ControlPlane:
        if self._plane is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._plane

    async def _start(self, folder: Path) -> ControlPlane:
        return await ControlPlane.start(
            self._options,
            faults=self.faults,
            namespace=self.namespace,
            port=self._port,
            audit_log=self._audit_log,
            folder=folder,
            env={"KUBECONFIG": os.fspath(self.kubeconfig.absolute())},
        )

    def _call(self, work: Coroutine[Any, Any, _Result], timeout_seconds: float | None) -> _Result:
        if self._loop is None:
            work.close()
            raise RuntimeError(_NOT_RUNNING)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_seconds)

    def _serve(self) -> None:
        loop = self._loop
        if loop is None:
            raise RuntimeError(_NOT_RUNNING)
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(loop.shutdown_asyncgens())
