"""What workers say: what they saw, what they did, what they concluded. Each is committed under a claim.

Read them through :mod:`cleanup_scheduler.domain.events`, which knows the events of everybody.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from cleanup_scheduler.domain.event import Event, ResourceEvent
from cleanup_scheduler.domain.resources import Level, Outcome, ResourceRef


class ResourceObserved(ResourceEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The object was seen. ``owner`` is set on what was found through something tracked (a Job's pods)."""

    created_at: datetime | None = None
    owner: ResourceRef | None = None
    phase: str = ""


class RunAbandoned(Event, frozen=True, kw_only=True, omit_defaults=True):
    """No heartbeat within the lease: its open scopes have the outcome ``unknown`` from now on."""

    last_heartbeat: datetime


class OrphanFound(ResourceEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Left by a crashed run and tracked by nobody. ``rule`` is ``label``, ``window`` or ``age``.

    ``level`` is what holds for it when it was put into a scope that no test ever opened.
    """

    rule: str
    likely_test: str = ""
    level: Level | None = None
    created_at: datetime | None = None


class JobSuspended(ResourceEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A running Job was suspended, so that its pods are not replaced; ``pod_uids`` went down with that."""

    pod_uids: list[str] = msgspec.field(default_factory=list)


class LogsArchived(ResourceEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The logs of one container are in the archive, or ``missing`` says why not. ``resource`` is the pod."""

    container: str
    archive_id: str = ""
    owner: ResourceRef | None = None
    previous: bool = False
    size_bytes: int = 0
    truncated: bool = False
    missing: str = ""


class DeletionRequested(ResourceEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Committed before the call. ``uid`` is never empty; ``rule`` is why; ``by_suspension``: no call of ours
    deletes it, the suspension of its Job does."""

    rule: str
    owner: ResourceRef | None = None
    token: int = 0
    by_suspension: bool = False


class ResourceGone(ResourceEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The API no longer has that uid. ``how``: ``deleted`` by us, ``found-gone``, or ``never-seen``."""

    how: str
    owner: ResourceRef | None = None


class DeletionFailed(ResourceEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt failed; the next one is due at ``retry_at``."""

    attempt: int
    error: str
    retry_at: datetime
    owner: ResourceRef | None = None


class DeletionGivenUp(ResourceEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The last attempt failed. ``diagnosis`` says why and what a person can do."""

    attempts: int
    diagnosis: str
    owner: ResourceRef | None = None


class ResourcePreserved(ResourceEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Kept by the policy for somebody to look at, until ``until``."""

    until: datetime
    rule: str


class ResourceSecured(ResourceEvent, frozen=True, kw_only=True, omit_defaults=True):
    """While it is preserved or held nothing in the cluster removes it, and this is what it takes up.

    ``ttl_seconds`` is the Job's ``ttlSecondsAfterFinished`` that was lifted (None: it had none). ``lifting``:
    committed before the change. ``problem`` says why it may be removed all the same, ``retry_at`` when we try
    again. The rest is what counts against a quota: pods that have not ended, and what they request.
    """

    ttl_seconds: int | None = None
    lifting: bool = False
    problem: str = ""
    retry_at: datetime | None = None
    running_pods: int = 0
    cpu_millicores: int = 0
    memory_bytes: int = 0


class TtlRestored(ResourceEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The Job is neither preserved nor held any more: its ``ttlSecondsAfterFinished`` was put back.

    ``problem`` says why it was not, and never will be by us.
    """

    ttl_seconds: int
    problem: str = ""


class ResourceKept(ResourceEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Left alone for good, by ``rule``; ``reason`` is the sentence that reports show."""

    rule: str
    reason: str = ""


class PolicyApplied(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A pass over the scope is over: every resource of it is gone, kept, preserved or given up."""

    level: Level
    outcome: Outcome
    rule: str
    gone: int = 0
    kept: int = 0
    preserved: int = 0
    given_up: int = 0
