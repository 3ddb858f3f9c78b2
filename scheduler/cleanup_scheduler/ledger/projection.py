"""The current state, folded from the events and kept beside them with the position it was folded to.

Several workers may fold at once: who saves compares the position first, and who comes second throws its work
away and takes the saved rows. The state can be thrown away and folded again, and comes out the same.

In memory, and among the saved rows, are the runs and the scopes that are still open; a settled scope is
folded from its own events when an event or a question names it. Refuses to look at a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from cleanup_scheduler.domain.events import TEST_EVENTS
from cleanup_scheduler.domain.resources import canonical_kind
from cleanup_scheduler.domain.state import Resource, Run, Scope, State
from cleanup_scheduler.errors import LedgerError
from cleanup_scheduler.ledger.folding import COLUMNS, History, fold_rows
from cleanup_scheduler.ledger.ledger import Ledger
from cleanup_scheduler.ledger.snapshots import Changes, Snapshots, Status

_BATCH: Final = 5000
# saving seldom makes a long replay cheap: names come in no order, and each save rewrites the pages they hit
_EVENTS_PER_SAVE: Final = 100_000
_AFTER: Final = f"SELECT {COLUMNS} FROM events WHERE position > ? ORDER BY position LIMIT ?"
_SAID_BY_TESTS: Final = frozenset(event.__name__ for event in TEST_EVENTS)
_RUNS_SLACK: Final = 1000


class Unsaved:
    """Folded since the last save: the last position that touched each run and scope, and who was named."""

    def __init__(self, before: int) -> None:
        self.before = before
        self.runs: dict[str, int] = {}
        self.scopes: dict[str, int] = {}
        self.mentions: list[tuple[str, str]] = []


class Projection(State):
    """Runs and scopes by id, up to date as of the last :meth:`catch_up`. For one thread."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger
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
            folded += self._fold_some()

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

    def _fold_some(self) -> int:
        """Fold what is there, or as much as one save may hold. 0 when somebody else saved first."""
        unsaved, folded = Unsaved(self.position), 0
        while folded < _EVENTS_PER_SAVE and (
            rows := self._ledger.backend.scan(_AFTER, (self.position, _BATCH))
        ):
            self._fold(rows, unsaved)
            folded += len(rows)
            if len(rows) < _BATCH:
                break
        if self._save(unsaved):
            return folded
        self._loaded = False
        return 0

    def _fold(self, rows: Sequence[Any], unsaved: Unsaved) -> None:
        touched = {row[4]: row[0] for row in rows}
        touched.pop("", None)
        self._load_runs({row[3] for row in rows})
        self.scopes.update(self._history.scopes(touched.keys() - self.scopes.keys(), upto=self.position))
        mentioned = {id_: _words(self.scopes[id_]) for id_ in touched.keys() & self.scopes.keys()}
        state = State()  # the fold's own, so that only it makes what the ledger does not know
        state.runs, state.scopes = self.runs, self.scopes
        fold_rows(state, rows)
        self.position = rows[-1][0]
        unsaved.runs.update((row[3], row[0]) for row in rows if row[1] in _SAID_BY_TESTS or not row[4])
        unsaved.scopes.update(touched)
        for id_ in touched.keys() & self.scopes.keys():
            words = _words(self.scopes[id_]) - mentioned.get(id_, set())
            unsaved.mentions += [(word, id_) for word in words]
            if self.scopes[id_].settled:
                del self.scopes[id_]

    def _save(self, unsaved: Unsaved) -> bool:
        scopes = [(self.scopes[id_], at) for id_, at in unsaved.scopes.items() if id_ in self.scopes]
        settled = self._saved_open - self.scopes.keys()
        saved = self._snapshots.save(
            Changes(
                before=unsaved.before,
                after=self.position,
                runs=[(self.runs[id_], at) for id_, at in unsaved.runs.items() if id_ in self.runs],
                scopes=scopes,
                settled=settled,
                mentions=unsaved.mentions,
            )
        )
        if saved:
            self._saved_open = set(self.scopes)
            self._forget_ended_runs()
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
        scopes = self._scopes(self._snapshots.mentioning(name))
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


def _words(scope: Scope) -> set[str]:
    """The names and uids of its resources."""
    words: set[str] = set()
    for resource in scope.resources.values():
        words.add(resource.ref.name)
        words.add(resource.uid)
    return words - {""}


def _age(found: tuple[Run, Scope, Resource]) -> tuple[str, str]:
    run, scope, resource = found
    at = resource.tracked_at or resource.created_at or scope.opened_at or run.started_at
    return (at.isoformat() if at else "", scope.scope_id)
