"""The current state, folded from the events and kept beside them with the position it was folded to.

Several workers may fold at once: who saves compares the position first, and who comes second throws its work
away and takes the saved rows. The state can be thrown away and folded again, and comes out the same.

In memory, and among the saved rows, are the runs and the scopes that are still open; a settled scope is
folded from its own events when an event or a question names it. Refuses to look at a clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from typing import Final

from cleanup_scheduler.domain.resources import canonical_kind
from cleanup_scheduler.domain.state import Resource, Run, Scope, State
from cleanup_scheduler.errors import LedgerError
from cleanup_scheduler.ledger.folding import History
from cleanup_scheduler.ledger.ledger import Ledger
from cleanup_scheduler.ledger.partial import Part, fold_alone, fold_stretch
from cleanup_scheduler.ledger.snapshots import Changes, Snapshots, Status
from cleanup_scheduler.ledger.stretching import divide, in_processes

# saving seldom makes a long replay cheap: names come in no order, and each save rewrites the pages they hit
_EVENTS_PER_SAVE: Final = 250_000
_WORTH_PROCESSES: Final = 200_000  # events: another process takes as long to start as 60,000 are folded in
_RUNS_SLACK: Final = 1000


class Projection(State):
    """Runs and scopes by id, up to date as of the last :meth:`catch_up`. For one thread."""

    def __init__(self, ledger: Ledger, *, several_processes: bool = False) -> None:
        """``several_processes``: a long replay may start some."""
        super().__init__()
        self._ledger = ledger
        self._several_processes = several_processes
        self._snapshots = Snapshots(ledger.backend)
        self._history = History(ledger.backend)
        self._loaded = False
        self._saved_open: set[str] = set()
        self._runs_limit = _RUNS_SLACK

    def catch_up(self) -> int:
        """Fold every event up to the head and save; the number of events folded here.

        Whoever decides anything calls this first: a hold may be among the newest events.
        """
        try:
            return self._catch_up()
        except BaseException:
            self._loaded = False  # memory may be ahead of what is saved
            raise

    def forget_all(self) -> None:
        """Throw the saved state away; the next :meth:`catch_up`, of anybody, folds from the first event."""
        self._snapshots.reset()
        self._loaded = False

    def _catch_up(self) -> int:
        folded = 0
        while True:
            status = self._snapshots.status()
            if not self._loaded or status.saved != self.position:
                self._take_saved(status)
            if status.head <= self.position:
                self._refuse_shorter_ledger(status)
                return folded
            if self._several_processes and status.head - self.position >= _WORTH_PROCESSES:
                folded += self._fold_in_processes(status.head)
            else:
                folded += self._fold_some(status.head)

    def _take_saved(self, status: Status) -> None:
        """Bring memory to the saved position, by what others saved since."""
        if not self._loaded or status.saved < self.position:  # the first time, or somebody began to rebuild
            kept = self._snapshots.load_open()
            self.runs, self.scopes = kept.runs, kept.scopes
        else:
            kept = self._snapshots.load_since(self.position)
            self.runs.update(kept.runs)
            self.scopes.update(kept.scopes)
            self.scopes = {id_: scope for id_, scope in self.scopes.items() if id_ in kept.open_ids}
        self.position, self._saved_open, self._loaded = kept.position, kept.open_ids, True

    def _fold_some(self, head: int) -> int:
        """Fold up to the head, or as much as one save may hold. 0 when somebody else saved first."""
        part = Part(self.position)
        last = min(head, self.position + _EVENTS_PER_SAVE)
        fold_stretch(self._ledger, self._history, self.scopes, part, last)
        return part.events if self._save(part) else 0

    def _fold_in_processes(self, head: int) -> int:
        """Fold up to the head, saving in between, until somebody else saves first."""
        folded, part = 0, Part(self.position)
        with closing(in_processes(self._ledger, fold_alone, divide(self.position, head))) as parts:
            for more, still_open in parts:
                for id_ in more.scopes.keys() - still_open.keys():
                    self.scopes.pop(id_, None)
                self.scopes.update(still_open)
                part.join(more)
                if part.last == head or part.last - part.before >= _EVENTS_PER_SAVE:
                    if not self._save(part):
                        break
                    folded, part = folded + part.events, Part(part.last)
        return folded

    def _save(self, part: Part) -> bool:
        self._load_runs({*part.heard, *(row[3] for row in part.run_rows)})
        part.fold_runs(self.runs)
        self.position = part.last
        scopes = [(self.scopes[id_], at) for id_, at in part.scopes.items() if id_ in self.scopes]
        saved = self._snapshots.save(
            Changes(
                before=part.before,
                after=part.last,
                runs=[(self.runs[id_], at) for id_, at in part.runs.items() if id_ in self.runs],
                scopes=scopes,
                settled=self._saved_open - self.scopes.keys(),
                mentions=part.mentions,
            )
        )
        if saved:
            self._saved_open = set(self.scopes)
            self._forget_ended_runs()
        else:
            self._loaded = False
        return saved

    def _load_runs(self, run_ids: Iterable[str]) -> None:
        self.runs.update(self._snapshots.runs(sorted(set(run_ids) - self.runs.keys())))

    def _forget_ended_runs(self) -> None:
        """From time to time: they are loaded again when somebody names them."""
        if len(self.runs) > self._runs_limit:
            self.runs = {id_: run for id_, run in self.runs.items() if not run.ended}
            self._runs_limit = 2 * len(self.runs) + _RUNS_SLACK

    def _refuse_shorter_ledger(self, status: Status) -> None:
        if status.head < self.position:
            raise LedgerError(
                f"the ledger {self._ledger.url} ends at position {status.head}, but had {self.position}"
                " events before: its end was cut off",
                hint="run `cleanup-cli verify`; restore the ledger, or run `cleanup-cli ledger rebuild`",
            )

    # ---- questions -----------------------------------------------------------------------------------

    def _load(self) -> None:
        if not self._loaded:
            self._take_saved(self._snapshots.status())

    def run(self, run_id: str) -> Run:
        """The run, loaded when need be; an empty one, kept nowhere, when the ledger does not know it."""
        self._load()
        self._load_runs([run_id])
        return self.runs.get(run_id) or Run(run_id=run_id)

    def scope(self, scope_id: str, run_id: str) -> Scope:
        """The scope, folded when need be; an empty one, kept nowhere, when the ledger does not know it."""
        return self._scopes([scope_id]).get(scope_id) or Scope(scope_id=scope_id, run_id=run_id)

    def _scopes(self, scope_ids: Iterable[str]) -> dict[str, Scope]:
        self._load()
        wanted = set(scope_ids)
        found = {id_: self.scopes[id_] for id_ in wanted & self.scopes.keys()}
        return found | self._history.scopes(wanted - found.keys(), upto=self.position)

    def open_scopes(self) -> list[tuple[Run, Scope]]:
        """All scopes that are not settled, with their runs, oldest first."""
        self._load()
        scopes = sorted(self.scopes.values(), key=lambda scope: scope.scope_id)
        self._load_runs({scope.run_id for scope in scopes})
        return [(self.runs.get(scope.run_id) or Run(run_id=scope.run_id), scope) for scope in scopes]

    def open_runs(self) -> list[Run]:
        """All runs that neither finished nor were abandoned."""
        self._load()
        return [run for run in self.runs.values() if not run.ended]

    def all_runs(self, *, since: datetime | None = None) -> Iterator[Run]:
        """Every run started at ``since`` or later, newest first; without ``since`` all."""
        return self._snapshots.all_runs(since)

    def scopes_of(self, run_id: str) -> list[Scope]:
        """Every scope of a run, settled or not, in the order of their ids."""
        self._load()
        return self._history.scopes_of(run_id, upto=self.position)

    def find_resources(
        self, kind: str, name: str, *, namespace: str | None = None
    ) -> list[tuple[Run, Scope, Resource]]:
        """What has that name, or is that uid, newest first. An empty ``kind`` stands for any."""
        wanted = canonical_kind(kind) if kind else ""
        scopes = self._scopes(self._snapshots.mentioning([name]))
        runs = self._snapshots.runs(sorted({scope.run_id for scope in scopes.values()}))
        found = [
            (runs.get(scope.run_id) or Run(run_id=scope.run_id), scope, resource)
            for scope in scopes.values()
            for resource in scope.resources.values()
            if name in (resource.ref.name, resource.uid)
            and wanted in ("", resource.ref.kind)
            and namespace in (None, resource.ref.namespace)
        ]
        return sorted(found, key=_age, reverse=True)

    def resources_named(self, names: Collection[str]) -> Iterator[Resource]:
        """Whatever has one of these names, of all scopes."""
        for scope in self._scopes(self._snapshots.mentioning(names)).values():
            yield from (resource for resource in scope.resources.values() if resource.ref.name in names)

    def find_scopes(self, test_id: str) -> list[tuple[Run, Scope]]:
        """Every attempt of exactly that test, newest run first, in the order of their ids within a run."""
        self._load()
        scopes = self._history.scopes_of_test(test_id, upto=self.position)
        runs = self._snapshots.runs(sorted({scope.run_id for scope in scopes}))
        found = [(runs.get(scope.run_id) or Run(run_id=scope.run_id), scope) for scope in scopes]
        return sorted(found, key=lambda pair: _started(pair[0]), reverse=True)


def _started(run: Run) -> tuple[str, str]:
    return (run.started_at.isoformat() if run.started_at else "", run.run_id)


def _age(found: tuple[Run, Scope, Resource]) -> tuple[str, str]:
    run, scope, resource = found
    at = resource.tracked_at or resource.created_at or scope.opened_at or run.started_at
    return (at.isoformat() if at else "", scope.scope_id)
