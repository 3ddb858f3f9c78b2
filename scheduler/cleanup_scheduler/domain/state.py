"""The current state of runs, scopes and resources, as the fold makes it.

``Run`` and ``Scope`` are the units in which the ledger keeps state beside the events: an event changes the
run it names, or the scope it names, never anything else. That is what lets a reader hold only the open ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from cleanup_scheduler.domain.occupied import Occupied
from cleanup_scheduler.domain.resources import Level, Outcome, ResourceRef

Status = Literal["tracked", "deleting", "failed", "gone", "kept", "preserved", "given-up"]
HOLD: Final = "hold"


class ArchivedLog(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """Where one container's log is kept, or why it is ``missing``."""

    pod: str
    container: str
    archive_id: str = ""
    pod_uid: str = ""
    owner: str = ""
    previous: bool = False
    size_bytes: int = 0
    truncated: bool = False
    missing: str = ""


class Resource(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One resource of a scope. ``tracked`` is false for what was only found through it, like a Job's pods.

    ``secured``: it was seen to that nothing in the cluster removes it while it is preserved or held, or
    ``unsafe`` says why something may, and ``secure_at`` when that is tried again. ``ttl_seconds`` is what was
    lifted for that from ``ttl_uid``, ``occupied`` what it took up then.
    """

    ref: ResourceRef
    tracked: bool = False
    uid: str = ""
    owner: ResourceRef | None = None
    status: Status = "tracked"
    rule: str = ""
    reason: str = ""
    tracked_at: datetime | None = None
    created_at: datetime | None = None
    requested_at: datetime | None = None
    gone_at: datetime | None = None
    until: datetime | None = None
    retry_at: datetime | None = None
    attempts: int = 0
    suspended: bool = False
    orphan: bool = False
    held_by: str = ""
    held_why: str = ""
    released_by: str = ""
    release_level: Level | None = None
    secured: bool = False
    unsafe: str = ""
    secure_at: datetime | None = None
    ttl_seconds: int | None = None
    ttl_uid: str = ""
    occupied: Occupied | None = None
    logs: list[ArchivedLog] = []

    @property
    def owes_ttl(self) -> bool:
        """We lifted its ``ttlSecondsAfterFinished`` and have not put it back."""
        return self.ttl_seconds is not None and self.status != "gone"

    @property
    def settled(self) -> bool:
        """Nothing more happens to it unless somebody says something about it itself.

        What is kept by a hold is not settled: lifting a hold on the run changes no scope.
        """
        final = self.status in ("gone", "given-up") or (self.status == "kept" and self.rule != HOLD)
        return final and not self.released_by


class Scope(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One attempt of one test. ``outcome`` is None until the test said it."""

    scope_id: str
    run_id: str
    test_id: str = ""
    level: Level = "none"
    level_source: str = ""
    forced: bool = False
    attempt: int = 1
    opened_at: datetime | None = None
    outcome: Outcome | None = None
    ended_at: datetime | None = None
    applied_at: datetime | None = None
    held_by: str = ""
    held_why: str = ""
    resources: dict[str, Resource] = {}

    @property
    def settled(self) -> bool:
        """The outcome is known, and nothing of it can become due by itself."""
        if self.outcome is None:
            return False
        for resource in self.resources.values():  # noqa: SIM110 - asked of every scope of a replay
            if not resource.settled or resource.owes_ttl:
                return False
        return True

    def tracked(self) -> Iterator[Resource]:
        """What the test said is its own."""
        return (resource for resource in self.resources.values() if resource.tracked)

    def own(self) -> Iterator[Resource]:
        """What was tracked, and the orphans that a sweep found for this scope: what the policy speaks of."""
        return (resource for resource in self.resources.values() if resource.tracked or resource.orphan)

    def found_through(self, ref: ResourceRef) -> Iterator[Resource]:
        """What was found through ``ref``, like the pods of a Job."""
        return (resource for resource in self.resources.values() if resource.owner == ref)

    def find(self, ref: ResourceRef, uid: str) -> Resource | None:
        """The entry for that uid under that name; without a uid, the tracked one."""
        key = f"{ref.cluster}/{ref.namespace}/{ref.kind}/{ref.name}"  # as resource_key: asked for each event
        exact = self.resources.get(f"{key}#{uid}") if uid else None
        if exact is not None:
            return exact
        named = self.resources.get(key)
        return named if named is not None and (not uid or named.uid in ("", uid)) else None


class Run(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One pytest session, one orchestrated suite, or one script."""

    run_id: str
    name: str = ""
    mode: str = ""
    cluster: str = ""
    namespace: str = ""
    host: str = ""
    pid: int = 0
    parent_run_id: str = ""
    lease_seconds: float = 60.0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int = 0
    abandoned_at: datetime | None = None
    last_heartbeat: datetime | None = None
    held_by: str = ""
    held_why: str = ""

    @property
    def ended(self) -> bool:
        """It finished or was given up for dead."""
        return self.finished_at is not None or self.abandoned_at is not None

    @property
    def died_at(self) -> datetime | None:
        """When a run that never finished ended. That is found out later, sometimes days later: it was when
        its last lease ran out."""
        if self.abandoned_at is None or self.last_heartbeat is None:
            return self.abandoned_at
        return min(self.abandoned_at, self.last_heartbeat + timedelta(seconds=self.lease_seconds))

    @property
    def over_at(self) -> datetime | None:
        """When nothing could be created on the run's behalf any more; None as long as it lives."""
        return self.finished_at or self.died_at


class State:
    """Runs and scopes by id. A subclass may load them on demand; the fold only uses these two methods."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.scopes: dict[str, Scope] = {}
        self.position = 0

    def run(self, run_id: str) -> Run:
        """The run, made on first mention: events may come out of order."""
        run = self.runs.get(run_id)
        if run is None:
            run = self.runs[run_id] = Run(run_id=run_id)
        return run

    def scope(self, scope_id: str, run_id: str) -> Scope:
        """The scope, made on first mention."""
        scope = self.scopes.get(scope_id)
        if scope is None:
            scope = self.scopes[scope_id] = Scope(scope_id=scope_id, run_id=run_id)
        return scope


def resource_key(ref: ResourceRef, uid: str = "") -> str:
    """The key of a resource in its scope: the address, and for what was found (not tracked) its uid."""
    address = f"{ref.cluster}/{ref.namespace}/{ref.kind}/{ref.name}"
    return f"{address}#{uid}" if uid else address
