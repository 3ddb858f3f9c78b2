"""A part of the fold: a stretch of events, folded without what came before it.

Scopes bring their past with them, from their own events; what concerns runs is only gathered, for whoever has
the runs. So stretches can be folded in any order, in any process, and joined in theirs. Saves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cleanup_scheduler.domain.events import TEST_EVENTS
from cleanup_scheduler.domain.lifecycle import revive
from cleanup_scheduler.domain.state import Run, Scope, State
from cleanup_scheduler.ledger.folding import COLUMNS, History, fold_rows
from cleanup_scheduler.ledger.ledger import Ledger
from cleanup_scheduler.ledger.snapshots import mention
from cleanup_scheduler.ledger.stretching import Stretch

_BATCH: Final = 5000
_WITHIN: Final = (
    f"SELECT {COLUMNS} FROM events WHERE position > ? AND position <= ? ORDER BY position LIMIT {_BATCH}"
)
_SAID_BY_TESTS: Final = frozenset(event.__name__ for event in TEST_EVENTS)


class Part:
    """What the events after position ``before``, up to ``last``, came to, besides the scopes themselves.

    ``scopes`` and ``runs`` have the last position that touched each; ``heard`` the last at which a test of
    the run spoke; ``run_rows`` are the events of runs, still to be folded. ``mentions`` are new ones.
    """

    def __init__(self, before: int) -> None:
        self.before = self.last = before
        self.events = 0
        self.scopes: dict[str, int] = {}
        self.runs: dict[str, int] = {}
        self.heard: dict[str, int] = {}
        self.run_rows: list[Any] = []
        self.mentions: set[tuple[int, int]] = set()

    def join(self, later: Part) -> None:
        """Take in the part that follows."""
        self.last = later.last
        self.events += later.events
        self.scopes |= later.scopes
        self.runs |= later.runs
        self.heard |= later.heard
        self.run_rows += later.run_rows
        self.mentions |= later.mentions

    def fold_runs(self, runs: dict[str, Run]) -> None:
        """Fold what concerns runs into ``runs``, which has all of them that the ledger knew before."""
        state = State()
        state.runs = runs
        spoken = [(at, id_) for id_, at in self.heard.items()]
        said = sorted([*((row[0], row) for row in self.run_rows), *spoken], key=lambda pair: pair[0])
        for _, what in said:
            if isinstance(what, str):
                revive(state.run(what))
            else:
                fold_rows(state, [what])


def fold_stretch(ledger: Ledger, history: History, scopes: dict[str, Scope], part: Part, last: int) -> None:
    """Fold on to position ``last``. ``scopes`` are the open ones; those that settle leave it."""
    while rows := ledger.backend.scan(_WITHIN, (part.last, last)):
        _fold(history, scopes, part, rows)
        if len(rows) < _BATCH:
            break
    part.last = last


def fold_alone(ledger: Ledger, stretch: Stretch) -> tuple[Part, dict[str, Scope]]:
    """The part of a stretch, and those of its scopes that are open at its end."""
    part, scopes = Part(stretch.after), dict[str, Scope]()
    fold_stretch(ledger, History(ledger.backend), scopes, part, stretch.last)
    return part, scopes


def _fold(history: History, scopes: dict[str, Scope], part: Part, rows: Sequence[Any]) -> None:
    touched = {row[4]: row for row in rows}
    touched.pop("", None)
    scopes.update(history.scopes(touched.keys() - scopes.keys(), upto=part.last))
    mentioned = {id_: _words(scopes[id_]) for id_ in touched.keys() & scopes.keys()}
    state = State()  # the fold's own, so that only it makes what the ledger does not know
    state.scopes = scopes
    unreadable = set(fold_rows(state, [row for row in rows if row[4]]))
    part.run_rows += [row for row in rows if not row[4]]
    part.heard.update(
        (row[3], row[0])
        for row in rows
        if row[1] in _SAID_BY_TESTS and row[3] and row[4] and row[0] not in unreadable
    )
    part.runs.update((row[3], row[0]) for row in rows if row[1] in _SAID_BY_TESTS or not row[4])
    part.scopes.update((id_, row[0]) for id_, row in touched.items())
    part.events += len(rows)
    part.last = rows[-1][0]
    for id_ in touched.keys() & scopes.keys():
        if words := _words(scopes[id_]) - mentioned.get(id_, set()):
            at = _where(rows, scopes[id_], touched[id_])
            part.mentions.update([mention(word, at) for word in words])
        if scopes[id_].settled:
            del scopes[id_]


def _where(rows: Sequence[Any], scope: Scope, last: Any) -> int:
    """The position of an event of the scope; of its own run if there is one, which a prune takes along."""
    if last[3] != scope.run_id:
        own = (row for row in reversed(rows) if (row[3], row[4]) == (scope.run_id, scope.scope_id))
        last = next(own, last)
    position: int = last[0]
    return position


def _words(scope: Scope) -> set[str]:
    """The names and uids of its resources."""
    words: set[str] = set()
    for resource in scope.resources.values():
        words.add(resource.ref.name)
        words.add(resource.uid)
    return words - {""}
