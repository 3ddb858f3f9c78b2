"""Puts the parts together on one event loop: storage, API, controllers, node, server. In that order, and
back.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from cleanup_scheduler.testing.api import Api
from cleanup_scheduler.testing.audit import Audit
from cleanup_scheduler.testing.crds import CustomResources
from cleanup_scheduler.testing.faults import Faults
from cleanup_scheduler.testing.garbage import GarbageCollector
from cleanup_scheduler.testing.handlers import Handlers
from cleanup_scheduler.testing.jobs import JobController
from cleanup_scheduler.testing.kubelet import Kubelet, node_object
from cleanup_scheduler.testing.lists import Lists
from cleanup_scheduler.testing.namespaces import NamespaceController
from cleanup_scheduler.testing.objects import Object, metadata
from cleanup_scheduler.testing.options import ClusterOptions
from cleanup_scheduler.testing.pods import NODE_NAME
from cleanup_scheduler.testing.processes import Processes
from cleanup_scheduler.testing.recorder import Recorder
from cleanup_scheduler.testing.resources import Registry
from cleanup_scheduler.testing.server import Server
from cleanup_scheduler.testing.statuses import bad_request
from cleanup_scheduler.testing.store import Store

_FIRST_NAMESPACES = ("default", "kube-system", "kube-public")


class ControlPlane:
    """Made by :meth:`start` inside a running loop."""

    def __init__(
        self,
        options: ClusterOptions,
        faults: Faults,
        audit_log: Path | None,
        folder: Path,
        env: dict[str, str],
    ) -> None:
        self._registry = Registry()
        self._store = Store(options.history_events)
        self.audit = Audit(audit_log)
        self._api = Api(self._store, self._registry, self.audit)
        self._lists = Lists(self._store, options.continue_seconds)
        self._processes = Processes(folder, options.parallel_starts)
        CustomResources(self._api)
        recorder = Recorder(self._api)
        self._kubelet = Kubelet(
            self._api, self._processes, max_running_pods=options.max_running_pods, env=env
        )
        self._controllers = (
            JobController(self._api, recorder, options.job_backoff_seconds),
            GarbageCollector(self._api),
            NamespaceController(self._api),
            self._kubelet,
        )
        self.server = Server(Handlers(self._api, self._lists, self._kubelet), self._registry, faults)

    @classmethod
    async def start(
        cls,
        options: ClusterOptions,
        *,
        faults: Faults,
        namespace: str,
        port: int,
        audit_log: Path | None,
        folder: Path,
        env: dict[str, str],
    ) -> ControlPlane:
        """Listen, with the first namespaces and the node in place. OSError when the port is taken."""
        plane = cls(options, faults, audit_log, folder, env)
        try:
            plane._seed(namespace)
            await plane.server.start(port)
        except BaseException:
            await plane.stop()
            raise
        return plane

    async def stop(self) -> None:
        await self.server.stop()
        for controller in self._controllers:
            await controller.stop()
        await asyncio.to_thread(self._processes.stop)
        await self._processes.drained()
        self.audit.close()

    async def create_all(self, manifests: list[Object], namespace: str) -> list[str]:
        """Create objects in this process, and return their uids."""
        uids = []
        for manifest in manifests:
            resource = self._registry.by_kind(manifest.get("apiVersion", ""), manifest.get("kind", ""))
            if resource is None:
                raise bad_request(
                    f"no kind {manifest.get('kind')!r} in {manifest.get('apiVersion')!r} is served"
                )
            where = (metadata(manifest).get("namespace") or namespace) if resource.namespaced else ""
            uids.append(str(self._api.create(resource, where, manifest)["metadata"]["uid"]))
        return uids

    async def expire_history(self) -> None:
        self._lists.forget()
        self._store.forget_history()

    async def count(self, kind: str, namespace: str) -> int:
        return len(self._store.within(self._registry.by_key(kind), namespace))

    def _seed(self, namespace: str) -> None:
        node = node_object()
        nodes, status = self._registry.by_key("nodes"), node["status"]
        self._api.create(nodes, "", node)
        self._api.modify(
            self._api.get(nodes, "", NODE_NAME), lambda obj: obj.update(status=status), subresource="status"
        )
        namespaces = self._registry.by_key("namespaces")
        for name in dict.fromkeys((*_FIRST_NAMESPACES, namespace)):
            self._api.create(namespaces, "", {"metadata": {"name": name}})
