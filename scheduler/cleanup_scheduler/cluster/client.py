"""The cluster, as the engine sees it: one object with everything that can be asked of it and done to it.

Only puts the parts of this package together. Refuses nothing by policy: whether something may be touched
has been decided before it comes here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal

from cleanup_scheduler.cluster import wire
from cleanup_scheduler.cluster.counting import Counting
from cleanup_scheduler.cluster.kinds import PODS, QUOTAS, Kinds
from cleanup_scheduler.cluster.kubeconfig import ClusterName
from cleanup_scheduler.cluster.logs import LogText, read_log, stream_log
from cleanup_scheduler.cluster.managers import finalizer_managers
from cleanup_scheduler.cluster.objects import PAGE_SIZE, Objects, Odd
from cleanup_scheduler.cluster.owners import Owners
from cleanup_scheduler.cluster.requests import Call, Request, Transport
from cleanup_scheduler.cluster.waiting import Waiting
from cleanup_scheduler.cluster.workloads import JobStatus, PodStatus, Quota, read_job, read_pod, read_quota
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.errors import Conflict, NotFound, Refused

Pods = list[ObservedObject]  # in the class below, ``list`` is a method


class Cluster:
    """One cluster. Every method raises only errors of ``cleanup_scheduler.errors``; see there who recovers.

    ``ClusterUnavailable``, ``CredentialsRefused``, ``PermissionMissing`` and ``BadAnswer`` may come from
    each of them.
    """

    def __init__(self, transport: Transport, name: ClusterName) -> None:
        self.name = name.name
        self.namespace = name.namespace
        self.server = transport.server
        self._transport = transport
        self._kinds = Kinds(self._fetch)
        self._objects = Objects(transport, self._kinds, self.name)
        self._owners = Owners(self._objects, self._kinds, self.name)
        self._waiting = Waiting(self._objects)
        self._counting = Counting(self._objects)

    # ---- what there is -----------------------------------------------------------------------------------

    async def version(self) -> str:
        """The server's version (``v1.37.2``): the cheapest way to learn whether it answers."""
        answer = await self._fetch("/version", "application/json")
        return str(answer.get("gitVersion") or "unknown")

    async def resolve_kind(self, kind: str) -> str:
        """``widget`` -> ``widgets.example.com``; ``UnknownName`` names the nearest, or the choices."""
        return (await self._kinds.resolve(kind)).canonical

    async def get(self, ref: ResourceRef) -> ObservedObject | None:
        """Its metadata; None when nothing has that name."""
        return await self._objects.get(ref)

    async def get_body(self, ref: ResourceRef) -> dict[str, Any] | None:
        """The whole object as JSON; None when nothing has that name."""
        return await self._objects.get_body(ref)

    async def finalizer_managers(self, ref: ResourceRef) -> dict[str, str]:
        """Which program set each finalizer of the object, as far as the API remembers it."""
        return finalizer_managers(await self.get_body(ref) or {})

    async def get_many(self, refs: Sequence[ResourceRef]) -> dict[ResourceRef, ObservedObject]:
        """The metadata of those that exist, at a price that fits their number."""
        return await self._waiting.get_many(refs)

    def list(
        self,
        kind: str,
        namespace: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        page_size: int = PAGE_SIZE,
        on_odd: Odd | None = None,
    ) -> AsyncIterator[ObservedObject]:
        """Metadata of what carries the labels, checked again on our side; see :meth:`Objects.list`."""
        return self._objects.list(
            kind,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            page_size=page_size,
            on_odd=on_odd,
        )

    async def pods_of(self, owner: ObservedObject) -> Pods:
        """The pods below a workload, through any number of controllers. A pod has none below itself."""
        return (await self.pods_of_many([owner]))[owner.uid]

    async def pods_of_many(self, owners: Sequence[ObservedObject]) -> dict[str, Pods]:
        """The same for many workloads, by their uids: one list for each namespace."""
        workloads = [owner for owner in owners if owner.ref.kind != PODS.canonical]
        found = await self._owners.pods_of(workloads)
        return {owner.uid: found.get(owner.uid, []) for owner in owners}

    async def job_status(self, ref: ResourceRef) -> JobStatus | None:
        """How the Job stands; None when nothing has that name."""
        body = await self.get_body(ref)
        return None if body is None else read_job(body, ref)

    async def pod_status(self, ref: ResourceRef) -> PodStatus | None:
        """How the pod and each of its containers stand; None when nothing has that name."""
        body = await self.get_body(ref)
        return None if body is None else read_pod(body, ref)

    async def job_statuses(self, refs: Sequence[ResourceRef]) -> dict[ResourceRef, JobStatus]:
        """How those of the Jobs stand that exist, at a price that fits their number."""
        bodies = await self._waiting.get_bodies(refs)
        return {ref: read_job(body, ref) for ref, body in bodies.items()}

    async def pod_statuses(self, refs: Sequence[ResourceRef]) -> dict[ResourceRef, PodStatus]:
        """The same of those that exist, at a price that fits their number."""
        bodies = await self._waiting.get_bodies(refs)
        return {ref: read_pod(body, ref) for ref, body in bodies.items()}

    async def quota(self, namespace: str, name: str) -> Quota:
        """A ResourceQuota; ``NotFound`` when there is none of that name."""
        ref = ResourceRef(self.name, namespace, QUOTAS.canonical, name)
        body = await self.get_body(ref)
        if body is None:
            raise NotFound(f"there is no quota {name!r} in namespace {namespace}", hint="see `quota`")
        return read_quota(body, ref)

    async def wait_counted(self, namespace: str, name: str, *, timeout_seconds: float) -> bool:
        """Wait until that ResourceQuota counts no more than there is. False: it still did after the time."""
        return await self._counting.wait_counted(
            lambda: self.quota(namespace, name), namespace, timeout_seconds=timeout_seconds
        )

    async def logs(
        self,
        pod: ResourceRef,
        container: str,
        *,
        max_bytes: int,
        timeout_seconds: float,
        previous: bool = False,
        follow: bool = False,
        timestamps: bool = False,
    ) -> LogText:
        """The newest ``max_bytes`` of a container's log, or the reason why there is none.

        ``follow`` reads on until the container ends, at most ``timeout_seconds`` in all.
        """
        return await read_log(
            self._transport,
            pod,
            container,
            previous=previous,
            follow=follow,
            timestamps=timestamps,
            max_bytes=max_bytes,
            timeout_seconds=timeout_seconds,
        )

    def stream_logs(
        self, pod: ResourceRef, container: str, *, timeout_seconds: float
    ) -> AsyncIterator[bytes]:
        """A container's log as it is written, until the container ends.

        Raises ``NotFound`` when the pod is gone, ``Refused`` with the API's reason while the container has
        not started, ``ClusterUnavailable`` when it breaks off or after ``timeout_seconds``.
        """
        return stream_log(self._transport, pod, container, timeout_seconds=timeout_seconds)

    # ---- what is done ------------------------------------------------------------------------------------

    async def create(self, manifest: Mapping[str, Any], namespace: str = "") -> ObservedObject:
        """Create any kind; without a namespace anywhere it is the context's."""
        return await self._objects.create(manifest, namespace or self.namespace)

    async def patch(self, ref: ResourceRef, uid: str, changes: Mapping[str, Any]) -> ObservedObject:
        """Merge ``changes`` into the object with that uid; ``Conflict`` when another has the name now."""
        return await self._objects.patch(ref, uid, changes)

    async def suspend_job(self, ref: ResourceRef, uid: str) -> bool:
        """Stop the Job with that uid from running pods; its pods go down with it.

        False when there was nothing to suspend: it had finished, or was suspended already. ``NotFound`` when
        it is gone, ``Conflict`` when another uid has the name now, ``Refused`` when a foreign controller
        (``spec.managedBy``) runs it: that one need not heed ``suspend``.
        """
        job = await self.job_status(ref)
        if job is None:
            raise NotFound(f"there is no {ref} to suspend", status=404)
        if job.uid != uid:
            raise Conflict(f"{ref} is uid {job.uid} now, not {uid}", hint="look again", status=409)
        if job.finished or job.suspended:
            return False
        if job.foreign_manager:
            raise Refused(
                f"{ref} is run by {job.foreign_manager} (spec.managedBy), which need not heed suspend",
                hint="stop it there, or clean it at level all",
            )
        await self.patch(ref, uid, {"spec": {"suspend": True}})
        return True

    async def set_job_ttl(
        self, ref: ResourceRef, uid: str, ttl_seconds: int | None, *, resource_version: str
    ) -> None:
        """Change ``ttlSecondsAfterFinished`` of the Job as it was read at that version; None removes it.

        ``Conflict`` when another uid has the name now, or anybody changed the Job since: look again.
        """
        changes = {
            "metadata": {"resourceVersion": resource_version},
            "spec": {"ttlSecondsAfterFinished": ttl_seconds},
        }
        await self.patch(ref, uid, changes)

    async def delete(
        self,
        ref: ResourceRef,
        uid: str,
        *,
        propagation: Literal["Background", "Foreground", "Orphan"] | None = None,
        grace_seconds: int | None = None,
    ) -> bool:
        """True: accepted for that very uid. False: the name was gone already. See :meth:`Objects.delete`."""
        return await self._objects.delete(ref, uid, propagation=propagation, grace_seconds=grace_seconds)

    async def wait_gone(
        self, uids: Mapping[ResourceRef, str], *, timeout_seconds: float
    ) -> dict[ResourceRef, ObservedObject]:
        """Wait until these uids are served no more; returns those that still are, as last seen."""
        return await self._waiting.wait_gone(uids, timeout_seconds=timeout_seconds)

    async def _fetch(self, path: str, accept: str) -> dict[str, Any]:
        call = Call(verb="get", resource=path)
        body = await self._transport.send(Request(call=call, method="GET", path=path, accept=accept))
        return wire.read_json(body, str(call))
