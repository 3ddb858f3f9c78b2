"""Whose is it? What no test tracked, but a run left: by this ledger's label, or by the window of a dead run.

Pure: runs, scopes and what was seen come in, a verdict goes out. When in doubt it is nobody's orphan:
"unknown" is not "orphan".
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from operator import itemgetter
from typing import Final

import msgspec

from cleanup_scheduler.domain.events import OrphanFound
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.policy import LEDGER_LABEL, RUN_LABEL, SCOPE_LABEL, effective_outcome
from cleanup_scheduler.domain.resources import JOBS, LEVELS, PODS, Level
from cleanup_scheduler.domain.state import Run, Scope

SWEPT_KINDS: Final = (JOBS, PODS)
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class Orphan(msgspec.Struct, frozen=True, kw_only=True):
    """Something left behind, and the scope that it is put into."""

    seen: ObservedObject
    run_id: str
    scope_id: str
    event: OrphanFound


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """What an object's labels say of where it belongs."""

    ledger_id: str
    run_id: str
    scope_id: str


def labels_of(seen: ObservedObject) -> Labels:
    """Empty texts where a label is missing."""
    return Labels(
        ledger_id=seen.labels.get(LEDGER_LABEL, ""),
        run_id=seen.labels.get(RUN_LABEL, ""),
        scope_id=seen.labels.get(SCOPE_LABEL, ""),
    )


def is_root(seen: ObservedObject) -> bool:
    """Nothing controls it: what is controlled goes, or stays, with its controller."""
    return not seen.owners or not any(owner.controller for owner in seen.owners)


def synthetic_scope_id(run_id: str) -> str:
    """The scope for what a dead run left that cannot be laid at one test's door."""
    return f"{run_id}-orphans"


def by_label(seen: ObservedObject, run: Run, scope: Scope | None, scopes: Iterable[Scope]) -> Orphan | None:
    """The verdict on something that carries this ledger's label and that nobody tracked."""
    if run.started_at is None:
        return None  # a run that this ledger has never heard of
    if scope is not None and scope.opened_at is not None:
        if effective_outcome(run, scope) is None:
            return None  # its test still runs and may yet track it
        return _orphan(seen, run, "label", [scope], scope.level)
    if run.over_at is None:
        return None
    return _in_window(seen, run, "label", list(scopes))


def window_orphan(seen: ObservedObject, run: Run, scopes: Iterable[Scope]) -> Orphan:
    """Put it into the scope that was open when it was created, or into the run's scope for such things."""
    return _in_window(seen, run, "window", list(scopes))


class Lifetimes:
    """When the runs of a namespace lived; those whose start is known. What was created has whole seconds."""

    def __init__(self, runs: Iterable[Run], namespace: str) -> None:
        self._all = [
            (run.started_at.replace(microsecond=0), run.over_at or _NEVER, run)
            for run in runs
            if run.started_at is not None and run.namespace == namespace
        ]
        self._dead = [lived for lived in self._all if lived[2].died_at and not lived[2].finished_at]

    def at(self, created_at: datetime) -> list[Run]:
        """Who lived then."""
        return [run for began, over, run in self._all if began <= created_at <= over]

    def dead_one_at(self, created_at: datetime) -> Run | None:
        """The dead run that lived then, the latest; None while another of that time may still claim it."""
        dead = [(began, run) for began, over, run in self._dead if began <= created_at <= over]
        if not dead or any(run.over_at is None for run in self.at(created_at)):
            return None
        return max(dead, key=itemgetter(0))[1]


def _in_window(seen: ObservedObject, run: Run, rule: str, scopes: list[Scope]) -> Orphan:
    likely = [scope for scope in scopes if was_open(run, scope, seen.created_at)]
    level: Level = min((scope.level for scope in likely or scopes), key=LEVELS.index, default="none")
    return _orphan(seen, run, rule, likely, level)


def was_open(run: Run, scope: Scope, at: datetime) -> bool:
    """Whether that test ran then."""
    if scope.opened_at is None:
        return False
    end = scope.ended_at or run.over_at
    return scope.opened_at.replace(microsecond=0) <= at and (end is None or at <= end)


def _orphan(seen: ObservedObject, run: Run, rule: str, likely: list[Scope], level: Level) -> Orphan:
    event = OrphanFound(
        resource=seen.ref,
        uid=seen.uid,
        rule=rule,
        likely_test=" or ".join(dict.fromkeys(scope.test_id for scope in likely if scope.test_id)),
        level=level,
        created_at=seen.created_at,
    )
    scope_id = likely[0].scope_id if len(likely) == 1 else synthetic_scope_id(run.run_id)
    return Orphan(seen=seen, run_id=run.run_id, scope_id=scope_id, event=event)
