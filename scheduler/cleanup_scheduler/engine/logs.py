"""Logs into the archive before their pod goes, or the reason why not.

A running container's log is followed from before its end, and what can be read at once is archived first, so
that a worker which dies meanwhile has lost the last lines at most. Refuses to hold a deletion up for ever: a
log that cannot be had after some attempts is recorded as missing, with the reason. But where only the right
to read logs is missing nothing is deleted: a person gives that right, or turns the archive off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from cleanup_scheduler.cluster import Container, LogText
from cleanup_scheduler.domain.events import LogsArchived
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.engine.api import Api, OutOfReach
from cleanup_scheduler.engine.batching import Batches
from cleanup_scheduler.errors import ClusterError, PermissionMissing
from cleanup_scheduler.ledger import Ledger
from cleanup_scheduler.settings import Settings

PATIENT_ATTEMPTS: Final = 2  # so often a deletion waits for a log that may be had later
_ORDER: Final = {"main": 0, "init": 1, "ephemeral": 2}  # who reads a pod's log means the first
_MAX_BATCH_BYTES: Final = 8_000_000
_LAST_WORDS_SECONDS: Final = 2.0  # a followed log ends this soon after its pod is gone


class Archived(msgspec.Struct, frozen=True):
    """The events that say what was archived of one pod, and which containers still run."""

    events: tuple[LogsArchived, ...] = ()
    running: tuple[str, ...] = ()


class Archive:
    """The way of all logs of a worker into the ledger's archive: those that come at once share a commit."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._batches = Batches(self._keep, max_weight=_MAX_BATCH_BYTES, weight=lambda log: len(log[2]))

    async def keep(self, body: bytes, *, run_id: str, scope_id: str) -> str:
        """Its id in the archive; committed when this returns."""
        return await self._batches.ask((run_id, scope_id, body))

    async def _keep(self, logs: Sequence[tuple[str, str, bytes]]) -> Sequence[str]:
        return await asyncio.to_thread(self._ledger.archive_many, logs)


class LogKeeper:
    """Reads the logs of pods and keeps them, for the resources of one scope."""

    def __init__(self, api: Api, store: Archive, settings: Settings, *, run_id: str, scope_id: str) -> None:
        self._api, self._store, self._settings = api, store, settings
        self._run_id, self._scope_id = run_id, scope_id

    async def archive(
        self, pod: ObservedObject, owner: ResourceRef | None, *, patient: bool = False
    ) -> Archived:
        """Keep what there is now. ``patient``: raise what may pass instead of recording it as missing."""
        if not self._settings.archive_logs:
            return Archived()
        try:
            status = await self._api.looks.status_of(pod.ref)
        except OutOfReach:
            raise
        except ClusterError as error:
            if _may_be_had_later(error, patient=patient):
                raise
            return Archived(events=(_missing(pod, owner, "", str(error)),))
        if status is None or status.uid != pod.uid:
            return Archived(events=(_missing(pod, owner, "", "the pod was gone before its log was read"),))
        containers = sorted(status.containers, key=lambda container: _ORDER[container.role])
        wanted = [(c, previous) for c in containers for previous in _runs_of(c)]
        events = await asyncio.gather(
            *(self._archive_one(pod, owner, c, previous=previous, patient=patient) for c, previous in wanted)
        )
        running = tuple(c.name for c in status.containers if c.state == "running")
        return Archived(events=tuple(events), running=running)

    async def _archive_one(
        self,
        pod: ObservedObject,
        owner: ResourceRef | None,
        container: Container,
        *,
        previous: bool,
        patient: bool,
    ) -> LogsArchived:
        if not previous and not container.has_log:
            reason = f": {container.reason}" if container.reason else ""
            return _missing(pod, owner, container.name, f"the container never started{reason}")
        try:
            text = await self._read(pod.ref, container.name, previous=previous)
        except OutOfReach:
            raise
        except ClusterError as error:
            if _may_be_had_later(error, patient=patient):
                raise
            return _missing(pod, owner, container.name, str(error), previous=previous)
        if text.missing:
            return _missing(pod, owner, container.name, text.missing, previous=previous)
        return await self._keep(pod, owner, container.name, text, previous=previous)

    async def _read(self, pod: ResourceRef, container: str, *, previous: bool) -> LogText:
        return await self._api.call(
            lambda: self._api.cluster.logs(
                pod,
                container,
                previous=previous,
                timestamps=True,
                max_bytes=self._settings.max_log_bytes,
                timeout_seconds=self._settings.log_timeout_seconds,
            )
        )

    async def _keep(
        self,
        pod: ObservedObject,
        owner: ResourceRef | None,
        container: str,
        text: LogText,
        *,
        previous: bool = False,
    ) -> LogsArchived:
        archive_id = await self._store.keep(text.body, run_id=self._run_id, scope_id=self._scope_id)
        return LogsArchived(
            resource=pod.ref,
            uid=pod.uid,
            owner=owner,
            container=container,
            archive_id=archive_id,
            previous=previous,
            size_bytes=len(text.body),
            truncated=text.truncated,
        )

    def follow(self, pod: ObservedObject, containers: tuple[str, ...]) -> Following:
        """Begin to read these containers' logs until they end."""
        settings = self._settings
        tasks = {
            name: asyncio.create_task(
                self._api.call(
                    lambda name=name: self._api.cluster.logs(  # type: ignore[misc]
                        pod.ref,
                        name,
                        follow=True,
                        timestamps=True,
                        max_bytes=settings.max_log_bytes,
                        timeout_seconds=settings.log_timeout_seconds,
                    ),
                    slot=False,
                )
            )
            for name in containers
        }
        return Following(tasks)

    async def keep_followed(
        self, pod: ObservedObject, owner: ResourceRef | None, following: Following, *, ended: bool
    ) -> list[LogsArchived]:
        """Keep what was read of a log that was followed, where that is more than what was kept before."""
        texts = await following.texts(
            timeout_seconds=_LAST_WORDS_SECONDS if ended else self._settings.log_timeout_seconds
        )
        return [await self._keep(pod, owner, name, text) for name, text in texts.items() if text.body]


class Following:
    """Logs of one pod that are being read until they end."""

    def __init__(self, tasks: dict[str, asyncio.Task[LogText]]) -> None:
        self._tasks = tasks

    async def texts(self, *, timeout_seconds: float) -> dict[str, LogText]:
        """What was read to its end by container; those that could not be read are left out."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=timeout_seconds)
        self.stop()
        return {
            name: task.result()
            for name, task in self._tasks.items()
            if task.done() and not task.cancelled() and task.exception() is None
        }

    def stop(self) -> None:
        """Stop reading; nothing is kept."""
        for task in self._tasks.values():
            if not task.done():
                task.cancel()
            elif not task.cancelled():
                task.exception()  # looked at, so that nobody complains that it was not


def _may_be_had_later(error: ClusterError, *, patient: bool) -> bool:
    """A right that is missing is a person's to give: no log is lost for want of it."""
    return isinstance(error, PermissionMissing) or (patient and error.retryable)


def _runs_of(container: Container) -> tuple[bool, ...]:
    return (True, False) if container.restarts else (False,)


def _missing(
    pod: ObservedObject, owner: ResourceRef | None, container: str, reason: str, *, previous: bool = False
) -> LogsArchived:
    return LogsArchived(
        resource=pod.ref, uid=pod.uid, owner=owner, container=container, missing=reason, previous=previous
    )
