"""What a report consists of. Every struct serialises to JSON as it stands; times are UTC.

Refuses to add up silently: :meth:`Counts.check` raises when a resource was counted in no or in two places.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, get_args

import msgspec

from cleanup_scheduler.domain.occupied import Occupied
from cleanup_scheduler.domain.policy import Action
from cleanup_scheduler.domain.resources import Level, Outcome, ResourceRef
from cleanup_scheduler.domain.state import ArchivedLog

# the stored status, with "tracked" told apart by what the policy says of it now
Standing = Literal["given-up", "failed", "deleting", "due", "waiting", "preserved", "kept", "gone"]
STANDINGS: Final[tuple[Standing, ...]] = get_args(Standing)
RunCondition = Literal["running", "silent", "finished", "died"]


class Counts(msgspec.Struct, kw_only=True):
    """How many resources stand where. ``total`` is counted apart from the rest, so that a loss shows."""

    total: int = 0
    given_up: int = 0
    failed: int = 0
    deleting: int = 0
    due: int = 0
    waiting: int = 0
    preserved: int = 0
    kept: int = 0
    gone: int = 0

    def count(self, standing: Standing) -> None:
        """One more resource that stands there."""
        name = standing.replace("-", "_")
        setattr(self, name, self.of(standing) + 1)

    def of(self, standing: Standing) -> int:
        """How many stand there."""
        number: int = getattr(self, standing.replace("-", "_"))
        return number

    def add(self, other: Counts) -> None:
        """Add the counts of another part."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def open(self) -> int:
        """How many something is still going to happen to by itself, preserved ones aside."""
        return self.failed + self.deleting + self.due + self.waiting

    def check(self, where: str) -> None:
        """Raise when the parts are not the whole: a report that does not add up is not shown."""
        parts = sum(self.of(standing) for standing in STANDINGS)
        if parts != self.total:
            raise AssertionError(
                f"the report of {where} does not add up: {self.total} tracked, {parts} accounted for"
            )


class ResourceReport(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One resource: where it stands, by which rule, and the sentence that says why.

    ``found`` is what was found through it (a Job's pods); ``short`` is its name as kubectl prints it.
    ``occupied`` is what it took up of a quota when it was preserved or held, ``lifted_ttl_seconds`` the
    ``ttlSecondsAfterFinished`` that is put back afterwards, ``unsafe`` why it may go before that.
    """

    ref: ResourceRef
    short: str
    standing: Standing = msgspec.field(name="status")
    rule: str = ""
    reason: str = ""
    uid: str = ""
    tracked: bool = False
    orphan: bool = False
    until: datetime | None = None
    retry_at: datetime | None = None
    gone_at: datetime | None = None
    tracked_at: datetime | None = None
    created_at: datetime | None = None
    attempts: int = 0
    suspended: bool = False
    held_by: str = ""
    held_why: str = ""
    released_by: str = ""
    occupied: Occupied | None = None
    lifted_ttl_seconds: int | None = None
    unsafe: str = ""
    logs: list[ArchivedLog] = []
    found: list[ResourceReport] = []

    @property
    def all_logs(self) -> list[ArchivedLog]:
        """Its own and those of what was found through it."""
        return [*self.logs, *(log for part in self.found for log in part.all_logs)]


class ScopeReport(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One attempt of one test. ``outcome`` is None while the test may still say it."""

    scope_id: str
    run_id: str
    test_id: str
    level: Level
    level_source: str = ""
    forced: bool = False
    attempt: int = 1
    outcome: Outcome | None = None
    opened_at: datetime | None = None
    ended_at: datetime | None = None
    held_by: str = ""
    held_why: str = ""
    resources: list[ResourceReport] = []


class RunReport(msgspec.Struct, kw_only=True):
    """One run. ``tracked`` counts what tests said is theirs, ``orphans`` what a sweep found beside it,
    ``found`` what was found through either (a Job's pods)."""

    run_id: str
    name: str
    mode: str
    condition: RunCondition
    cluster: str
    namespace: str
    host: str
    pid: int
    started_at: datetime | None
    finished_at: datetime | None
    abandoned_at: datetime | None
    last_heartbeat: datetime | None
    exit_code: int | None
    held_by: str
    held_why: str
    tests: int
    tracked: Counts
    orphans: Counts
    found: Counts
    scopes: list[ScopeReport]


class DeadLetter(msgspec.Struct, kw_only=True):
    """What was given up: nothing happens to it any more unless a person says so."""

    run_id: str
    test_id: str
    resource: ResourceReport


class Summary(msgspec.Struct, kw_only=True):
    """Everything in the ledger, dead letters first. ``occupied`` is what is preserved or held takes up."""

    at: datetime
    ledger: str
    dead_letters: list[DeadLetter]
    tracked: Counts
    orphans: Counts
    found: Counts
    occupied: Occupied
    runs: list[RunReport]


class Moment(msgspec.Struct, kw_only=True):
    """One event as a sentence. ``position`` is its place in the ledger."""

    position: int
    time: datetime
    producer: str
    type: str
    what: str


class Explanation(msgspec.Struct, kw_only=True):
    """Why a resource stands where it stands: what happened, and what the policy says now."""

    run_id: str
    run_name: str
    test_id: str
    outcome: Outcome | None
    level: Level
    level_source: str
    resource: ResourceReport
    action: Action
    rule: str
    reason: str
    until: datetime | None
    timeline: list[Moment]
