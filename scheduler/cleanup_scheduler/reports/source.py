"""Where a report reads from: the ledger's projection, or a plain folded state (tests, what-if).

The port that the ledger's projection satisfies; it lists no method that a report does not need.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from cleanup_scheduler.domain.resources import canonical_kind
from cleanup_scheduler.domain.state import Resource, Run, Scope, State

Found = tuple[Run, Scope, Resource]


class Source(Protocol):
    """What the read side asks for. Runs come newest first."""

    def all_runs(self, *, since: datetime | None = None) -> Iterator[Run]: ...

    def scopes_of(self, run_id: str) -> list[Scope]: ...

    def find_resources(self, kind: str, name: str, *, namespace: str | None = None) -> list[Found]: ...

    def find_scopes(self, test_id: str) -> list[tuple[Run, Scope]]: ...


class StateSource:
    """A :class:`Source` over a state that is all in memory."""

    def __init__(self, state: State) -> None:
        self._state = state

    def all_runs(self, *, since: datetime | None = None) -> Iterator[Run]:
        """Newest first; a run of unknown start counts as old."""
        runs = sorted(self._state.runs.values(), key=_age_key, reverse=True)
        return (run for run in runs if since is None or (run.started_at and run.started_at >= since))

    def scopes_of(self, run_id: str) -> list[Scope]:
        """In the order in which they were first mentioned."""
        return [scope for scope in self._state.scopes.values() if scope.run_id == run_id]

    def find_resources(self, kind: str, name: str, *, namespace: str | None = None) -> list[Found]:
        """What has that name or is that uid, newest run first; an empty ``kind`` stands for any."""
        kind = canonical_kind(kind) if kind else ""
        return [
            (run, scope, resource)
            for run in self.all_runs()
            for scope in reversed(self.scopes_of(run.run_id))
            for resource in scope.resources.values()
            if kind in ("", resource.ref.kind)
            and name in (resource.ref.name, resource.uid)
            and namespace in (None, resource.ref.namespace)
        ]

    def find_scopes(self, test_id: str) -> list[tuple[Run, Scope]]:
        """Every attempt of exactly that test, of the newest run first."""
        return [
            (run, scope)
            for run in self.all_runs()
            for scope in self.scopes_of(run.run_id)
            if scope.test_id == test_id
        ]


def _age_key(run: Run) -> tuple[str, str]:
    return (run.started_at.isoformat() if run.started_at else "", run.run_id)
