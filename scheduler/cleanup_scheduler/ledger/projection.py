"""The current state, folded from the events and kept beside them with the position it was folded to.

Several workers may fold at once: who saves compares the position first, and who comes second throws its work
away and takes the saved rows. The state can be thrown away and folded again, and comes out the same.

In memory are the runs and scopes that are still open; settled ones are loaded when an event or a question
names them. Refuses to look at a clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from cleanup_scheduler.domain.events import TEST_EVENTS, StoredEvent
from cleanup_scheduler.domain.lifecycle import fold
from cleanup_scheduler.domain.resources import canonical_kind
from cleanup_scheduler.domain.state import Resource, Run, Scope, State
from cleanup_scheduler.errors import LedgerError
from cleanup_scheduler.ledger.ledger import Ledger
from cleanup_scheduler.ledger.snapshots import Changes, Snapshots

_BATCH: Final = 5000
_SAID_BY_TESTS: Final = frozenset(TEST_EVENTS)
_RUNS_SLACK: Final = 1000


class Projection(State):
    """Runs and scopes by id, up to date as of the last :meth:`catch_up`. For one thread."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger
        self._snapshots = Snapshots(ledger.backend)
        self._loaded = False
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
        self._take_saved()
        while events := self._ledger.read(self.position, limit=_BATCH):
            if self._fold(events):
                folded += len(events)
            else:
                self._take_saved()
        self._refuse_shorter_ledger()
        return folded

    def _take_saved(self) -> None:
        """Bring memory to the saved position, by what others saved since."""
        saved = self._snapshots.position() if self._loaded else -1
        if saved < self.position or not self._loaded:  # the first time, or somebody began to rebuild
            self.runs, self.scopes, self.position = self._snapshots.load_open()
            self._loaded = True
        elif saved > self.position:
            runs, scopes, self.position = self._snapshots.load_since(self.position)
            self.runs.update(runs)
            self.scopes.update(scopes)
            self._forget_settled(scopes)

    def _fold(self, events: Sequence[StoredEvent]) -> bool:
        """Fold a batch and save it; False when somebody else was first, and the batch is forgotten."""
        before = self.position
        run_positions = {e.run_id: e.position for e in events if e.payload is not None and _touches_run(e)}
        scope_positions = {e.scope_id: e.position for e in events if e.payload is not None and e.scope_id}
        self._load(run_positions, scope_positions)
        state = State()  # the fold's own, so that only it makes what the ledger does not know
        state.runs, state.scopes = self.runs, self.scopes
        for event in events:
            fold(state, event)
        self.position = state.position
        saved = self._snapshots.save(
            Changes(
                before=before,
                after=self.position,
                runs=[(self.runs[id_], position) for id_, position in run_positions.items()],
                scopes=[(self.scopes[id_], position) for id_, position in scope_positions.items()],
            )
        )
        if not saved:
            self.position = before
            for id_ in run_positions:
                del self.runs[id_]
            for id_ in scope_positions:
                del self.scopes[id_]
            self._load(run_positions, scope_positions)
        self._forget_settled(scope_positions)
        return saved

    def _load(self, run_ids: Collection[str], scope_ids: Collection[str]) -> None:
        self.runs.update(self._snapshots.runs(sorted(set(run_ids) - self.runs.keys())))
        self.scopes.update(self._snapshots.scopes(sorted(set(scope_ids) - self.scopes.keys())))

    def _forget_settled(self, scope_ids: Iterable[str]) -> None:
        """Drop settled scopes, and from time to time the runs that have ended, from memory."""
        for id_ in scope_ids:
            if id_ in self.scopes and self.scopes[id_].settled:
                del self.scopes[id_]
        if len(self.runs) > self._runs_limit:
            self.runs = {id_: run for id_, run in self.runs.items() if not run.ended}
            self._runs_limit = 2 * len(self.runs) + _RUNS_SLACK

    def _refuse_shorter_ledger(self) -> None:
        head = self._ledger.head().position
        if head < self.position:
            raise LedgerError(
                f"the ledger {self._ledger.url} ends at position {head}, but had {self.position} events"
                " before: its end was cut off",
                hint="run `cleanup-cli verify`; restore the ledger, or run `cleanup-cli ledger rebuild`",
            )

    # ---- questions -----------------------------------------------------------------------------------

    def run(self, run_id: str) -> Run:
        """The run, loaded when need be; an empty one, kept nowhere, when the ledger does not know it."""
        if run_id not in self.runs:
            self.runs.update(self._snapshots.runs([run_id]))
        return self.runs.get(run_id) or Run(run_id=run_id)

    def scope(self, scope_id: str, run_id: str) -> Scope:
        """The scope, loaded when need be; an empty one, kept nowhere, when the ledger does not know it."""
        return (
            self.scopes.get(scope_id)
            or self._snapshots.scopes([scope_id]).get(scope_id)
            or Scope(scope_id=scope_id, run_id=run_id)
        )

    def open_scopes(self) -> list[tuple[Run, Scope]]:
        """All scopes that are not settled, with their runs, oldest first."""
        if not self._loaded:
            self._take_saved()
        scopes = [scope for scope in self.scopes.values() if not scope.settled]
        self._load({scope.run_id for scope in scopes}, ())
        scopes.sort(key=lambda scope: scope.scope_id)
        return [(self.run(scope.run_id), scope) for scope in scopes]

    def open_runs(self) -> list[Run]:
        """All runs that neither finished nor were abandoned."""
        if not self._loaded:
            self._take_saved()
        return [run for run in self.runs.values() if not run.ended]

    def all_runs(self, *, since: datetime | None = None) -> Iterator[Run]:
        """Every run started at ``since`` or later, newest first; without ``since`` all."""
        return self._snapshots.all_runs(since)

    def scopes_of(self, run_id: str) -> list[Scope]:
        """Every scope of a run, settled or not, in the order of their ids."""
        return self._snapshots.scopes_of(run_id)

    def find_resources(
        self, kind: str, name: str, *, namespace: str | None = None
    ) -> list[tuple[Run, Scope, Resource]]:
        """What has that name, or is that uid, newest first. An empty ``kind`` stands for any."""
        wanted = canonical_kind(kind) if kind else ""
        hits = self._snapshots.find(wanted, name, namespace)
        scopes = self._snapshots.scopes(sorted({scope_id for scope_id, _ in hits}))
        runs = self._snapshots.runs(sorted({scope.run_id for scope in scopes.values()}))
        found = [
            (runs.get(scope.run_id) or Run(run_id=scope.run_id), scope, scope.resources[key])
            for scope, key in ((scopes[scope_id], key) for scope_id, key in hits)
        ]
        return sorted(found, key=_age, reverse=True)


def _age(found: tuple[Run, Scope, Resource]) -> tuple[str, str]:
    run, scope, resource = found
    at = resource.tracked_at or resource.created_at or scope.opened_at or run.started_at
    return (at.isoformat() if at else "", scope.scope_id)


def _touches_run(event: StoredEvent) -> bool:
    return bool(event.run_id) and (not event.scope_id or type(event.payload) in _SAID_BY_TESTS)
