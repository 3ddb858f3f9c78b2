"""What the engine needs to know of the bodies of Jobs, Pods and quotas; everything else stays unread."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypeVar

import msgspec

from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.errors import BadAnswer

_Read = TypeVar("_Read")
_OWN_MANAGER: Final = "kubernetes.io/job-controller"
_QUANTITY: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([KMGTPE]i|[numkMGTPE]?)")
_SUFFIXES: Final[dict[str, Decimal]] = {
    "": Decimal(1),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
    **{suffix: Decimal(1000) ** -power for power, suffix in enumerate("mun", start=1)},
}


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a Job stands. ``reason`` and ``message`` are those of the condition that finished it.

    ``finished`` follows the Job's own conditions, so a Job whose pods have ended but which its controller
    has not looked at yet still counts as running.
    """

    ref: ResourceRef
    uid: str
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    suspended: bool = False
    finished: Literal["", "succeeded", "failed"] = ""
    reason: str = ""
    message: str = ""
    foreign_manager: str = ""
    ttl_seconds_after_finished: int | None = None
    deleting: bool = False
    resource_version: str = ""
    finished_at: datetime | None = None


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """One container of a pod. ``restarts`` above zero: the log of the run before can be asked for."""

    name: str
    role: Literal["init", "main", "ephemeral"]
    state: Literal["waiting", "running", "terminated"]
    reason: str = ""
    restarts: int = 0
    exit_code: int | None = None

    @property
    def has_log(self) -> bool:
        """It started at least once."""
        return self.state != "waiting" or self.restarts > 0


class PodStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a pod stands. ``reason`` and ``message`` say why it failed, or why no node takes it.

    ``requests`` is what it asks its node for, as a quota counts it: CPU in cores, memory in bytes.
    """

    ref: ResourceRef
    uid: str
    phase: str
    reason: str = ""
    message: str = ""
    node: str = ""
    deleting: bool = False
    containers: tuple[Container, ...] = ()
    requests: dict[str, Decimal] = {}
    finished_at: datetime | None = None

    @property
    def finished(self) -> bool:
        """Nothing in it runs any more."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def exit_code(self) -> int | None:
        """That of the first main container that failed, else of the first; None before any has ended."""
        ended = [c.exit_code for c in self.containers if c.role == "main" and c.exit_code is not None]
        return next((code for code in ended if code != 0), ended[0] if ended else None)


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """A ResourceQuota: what is allowed and what is counted, as the API spells it. The count lags (R)."""

    hard: dict[str, str]
    used: dict[str, str]

    def free(self, resource: str) -> Decimal:
        """What is left of ``resource`` (``pods``, ``requests.cpu``); raises ``KeyError`` for another."""
        return quantity(self.hard[resource]) - quantity(self.used.get(resource, "0"))


class _Json:
    """Walks a body; what is missing is an empty object, as in the API."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body = body

    def __call__(self, *path: str) -> dict[str, Any]:
        value: Any = self.body
        for key in path:
            value = value.get(key) or {}
            if not isinstance(value, dict):
                raise TypeError(f"{'.'.join(path)} is {value!r}")
        found: dict[str, Any] = value
        return found


def _as_promised(
    read: Callable[[Mapping[str, Any], ResourceRef], _Read],
) -> Callable[[Mapping[str, Any], ResourceRef], _Read]:
    """Turn what goes wrong while walking through an odd body into :class:`BadAnswer`."""

    @functools.wraps(read)
    def wrapped(body: Mapping[str, Any], ref: ResourceRef) -> _Read:
        try:
            return read(body, ref)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadAnswer(f"{ref} has a body that cannot be read: {error!r}") from error

    return wrapped


@_as_promised
def read_job(body: Mapping[str, Any], ref: ResourceRef) -> JobStatus:
    """The part of a Job's body that matters here; raises :class:`BadAnswer`."""
    at = _Json(body)
    spec, status, metadata = at("spec"), at("status"), at("metadata")
    manager = spec.get("managedBy") or ""
    ended = {c["type"]: c for c in status.get("conditions") or () if c.get("status") == "True"}
    finished: Literal["", "succeeded", "failed"] = (
        "succeeded" if "Complete" in ended else "failed" if "Failed" in ended else ""
    )
    condition = ended.get("Complete") or ended.get("Failed") or {}
    return JobStatus(
        ref=ref,
        uid=_uid(metadata),
        active=status.get("active") or 0,
        succeeded=status.get("succeeded") or 0,
        failed=status.get("failed") or 0,
        suspended=bool(spec.get("suspend")),
        finished=finished,
        reason=condition.get("reason") or "",
        message=condition.get("message") or "",
        foreign_manager="" if manager == _OWN_MANAGER else manager,
        ttl_seconds_after_finished=spec.get("ttlSecondsAfterFinished"),
        deleting="deletionTimestamp" in metadata,
        resource_version=metadata.get("resourceVersion") or "",
        finished_at=_time(condition.get("lastTransitionTime")),
    )


@_as_promised
def read_pod(body: Mapping[str, Any], ref: ResourceRef) -> PodStatus:
    """The part of a Pod's body that matters here; raises :class:`BadAnswer`."""
    at = _Json(body)
    spec, status, metadata = at("spec"), at("status"), at("metadata")
    unscheduled = [c for c in status.get("conditions") or () if c.get("reason") == "Unschedulable"]
    why = unscheduled[0] if unscheduled else status
    containers = [
        *_containers(spec.get("initContainers"), status.get("initContainerStatuses"), "init"),
        *_containers(spec.get("containers"), status.get("containerStatuses"), "main"),
        *_containers(spec.get("ephemeralContainers"), status.get("ephemeralContainerStatuses"), "ephemeral"),
    ]
    return PodStatus(
        ref=ref,
        uid=_uid(metadata),
        phase=status.get("phase") or "Unknown",
        reason=why.get("reason") or "",
        message=why.get("message") or "",
        node=spec.get("nodeName") or "",
        deleting="deletionTimestamp" in metadata,
        containers=tuple(containers),
        finished_at=_last_end(status),
        requests={resource: _requested(spec, resource) for resource in ("cpu", "memory")},
    )


def _last_end(status: Mapping[str, Any]) -> datetime | None:
    """When the last of its containers ended; None where no node said so (an evicted pod)."""
    states = [container.get("state") or {} for container in status.get("containerStatuses") or ()]
    ends = [_time((state.get("terminated") or {}).get("finishedAt")) for state in states]
    return max((end for end in ends if end is not None), default=None)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _requested(spec: Mapping[str, Any], resource: str) -> Decimal:
    """What a quota counts (Kubernetes' ``PodRequests``): the containers and the init containers that go on
    beside them together, or the most that one init container asks for before; and the overhead.
    """

    def asked(part: Mapping[str, Any]) -> Decimal:
        requests = _Json(part)("resources", "requests")
        return quantity(str(requests[resource])) if resource in requests else Decimal(0)

    beside, peak = Decimal(0), Decimal(0)
    for init in spec.get("initContainers") or ():
        if init.get("restartPolicy") == "Always":
            beside += asked(init)
            peak = max(peak, beside)
        else:
            peak = max(peak, beside + asked(init))
    running = beside + sum((asked(container) for container in spec.get("containers") or ()), Decimal(0))
    overhead = (spec.get("overhead") or {}).get(resource, "0")
    return max(running, peak) + quantity(str(overhead))


def _containers(
    specified: list[dict[str, Any]] | None,
    statuses: list[dict[str, Any]] | None,
    role: Literal["init", "main", "ephemeral"],
) -> list[Container]:
    known = {status["name"]: status for status in statuses or ()}
    return [_container(one["name"], known.get(one["name"]) or {}, role) for one in specified or ()]


def _container(name: str, status: dict[str, Any], role: Literal["init", "main", "ephemeral"]) -> Container:
    state = status.get("state") or {}
    word: Literal["waiting", "running", "terminated"] = (
        "terminated" if "terminated" in state else "running" if "running" in state else "waiting"
    )
    details = state.get(word) or {}
    return Container(
        name=name,
        role=role,
        state=word,
        reason=details.get("reason") or "",
        restarts=status.get("restartCount") or 0,
        exit_code=details.get("exitCode"),
    )


@_as_promised
def read_quota(body: Mapping[str, Any], ref: ResourceRef) -> Quota:
    """A quota's status; its spec where the controller has not counted yet."""
    at = _Json(body)
    return Quota(hard=at("status", "hard") or at("spec", "hard"), used=at("status", "used"))


def quantity(text: str) -> Decimal:
    """The number that a Kubernetes quantity stands for: ``500m`` -> 0.5; raises :class:`BadAnswer`."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise BadAnswer(f"{text!r} is not a Kubernetes quantity")
    return Decimal(match[1]) * _SUFFIXES[match[2]]


def _uid(metadata: Mapping[str, Any]) -> str:
    uid = metadata["uid"]
    if not (isinstance(uid, str) and uid):
        raise ValueError(f"its uid is {uid!r}")
    return uid
