"""What a sweep asks the ledger: whose something is, and whether anybody tracked it.

Answers as of the beginning of the sweep, for hundreds of objects at once, settled scopes included. Refuses to
look at the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Final

from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.domain.state import Resource, Run, Scope
from cleanup_scheduler.engine.orphans import Orphan, by_label, labels_of
from cleanup_scheduler.ledger import Projection

_RUNS_IN_MEMORY: Final = 8


class Lookup:
    """Of one sweep, and thrown away with it: it remembers what it was asked."""

    def __init__(self, projection: Projection, runs: list[Run]) -> None:
        self.runs = runs
        self._projection = projection
        self._by_id = {run.run_id: run for run in runs}
        self._scopes = lru_cache(maxsize=_RUNS_IN_MEMORY)(projection.scopes_of)

    @cached_property
    def _in_open_scopes(self) -> set[tuple[ResourceRef, str]]:
        scopes = self._projection.scopes.values()
        return _known(resource for scope in scopes for resource in scope.resources.values())

    def untracked(self, some: list[ObservedObject]) -> list[ObservedObject]:
        """Those that nobody tracked, by uid, or by name where the uid is not known."""
        left = [seen for seen in some if not _has(self._in_open_scopes, seen)]
        known = _known(self._projection.resources_named({seen.ref.name for seen in left}))
        return [seen for seen in left if not _has(known, seen)]

    def scopes_of(self, run: Run) -> list[Scope]:
        """All scopes of the run."""
        return self._scopes(run.run_id)

    def with_scopes(self, runs: list[Run]) -> list[tuple[Run, Scope]]:
        """All scopes of these runs."""
        return [(run, scope) for run in runs for scope in self.scopes_of(run)]

    def by_label(self, some: list[ObservedObject]) -> list[Orphan]:
        """The orphans among what carries this ledger's label; not what names a run that is not known here."""
        found = []
        for seen in some:
            labels = labels_of(seen)
            if run := self._by_id.get(labels.run_id):
                scopes = self.scopes_of(run)
                found.append(by_label(seen, run, _with_id(iter(scopes), labels.scope_id), scopes))
        return [orphan for orphan in found if orphan is not None]


def _known(resources: Iterable[Resource]) -> set[tuple[ResourceRef, str]]:
    return {(resource.ref, resource.uid) for resource in resources}


def _has(known: set[tuple[ResourceRef, str]], seen: ObservedObject) -> bool:
    return (seen.ref, seen.uid) in known or (seen.ref, "") in known


def _with_id(scopes: Iterator[Scope], scope_id: str) -> Scope | None:
    return next((scope for scope in scopes if scope_id and scope.scope_id == scope_id), None)
