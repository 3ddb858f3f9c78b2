"""The only room that knows the kubernetes client: observe, list, suspend, delete, logs, quota.

Importing it, and :func:`current_cluster`, are cheap; the client is imported by :func:`connect`. Refuses to
delete or change anything without its uid, and to raise anybody else's exceptions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cleanup_scheduler.cluster.client import Cluster
from cleanup_scheduler.cluster.kubeconfig import ClusterName, current_cluster, find_target
from cleanup_scheduler.cluster.logs import LogText
from cleanup_scheduler.cluster.requests import Pace
from cleanup_scheduler.cluster.workloads import Container, JobStatus, PodStatus, Quota, quantity
from cleanup_scheduler.settings import Settings

__all__ = [
    "Cluster",
    "ClusterName",
    "Container",
    "JobStatus",
    "LogText",
    "Pace",
    "PodStatus",
    "Quota",
    "connect",
    "current_cluster",
    "quantity",
]


@asynccontextmanager
async def connect(settings: Settings, *, pace: Pace | None = None) -> AsyncIterator[Cluster]:
    """The cluster that the settings mean; each request waits for its turn when a ``pace`` is given.

    Raises ``SettingsError`` when the kubeconfig cannot be used. Does not ask the server anything yet, so a
    worker can start before its cluster does: ``await cluster.version()`` finds out.
    """
    target = find_target(settings)
    from cleanup_scheduler.cluster.transport import KubernetesTransport  # 0.6 s: only now

    transport = KubernetesTransport(settings, target, pace)
    await transport.open()
    try:
        yield Cluster(transport, target.name)
    finally:
        await transport.close()
