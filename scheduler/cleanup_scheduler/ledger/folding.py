"""From the ledger's rows to the state: decodes and folds by the thousand, past the objects that people get.

Says the same as :func:`cleanup_scheduler.ledger.rows.to_event` and the domain's ``fold`` would, one by one; a
test holds them together. Refuses nothing: what cannot be read is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from cleanup_scheduler.domain.events import Event, ScopeOpened, Unreadable, decoder
from cleanup_scheduler.domain.lifecycle import apply
from cleanup_scheduler.domain.state import Scope, State
from cleanup_scheduler.ledger.backend import Backend, chunks

# what a fold needs of an event, in the order in which rows hold it
COLUMNS: Final = "position, type, version, run_id, scope_id, time, payload"
UNREADABLE: Final = (Unreadable, msgspec.DecodeError, ValueError, TypeError)


class Decoders(dict[tuple[str, int], Callable[[bytes | str], Event]]):
    """What reads a payload, by type and version, looked up once for many rows."""

    def __missing__(self, key: tuple[str, int]) -> Callable[[bytes | str], Event]:
        self[key] = found = decoder(*key)
        return found


def fold_rows(state: State, rows: Iterable[Any]) -> list[int]:
    """Fold rows of :data:`COLUMNS` into the state, whose position is the caller's; where those stand that
    cannot be read."""
    decoders, to_time = Decoders(), datetime.fromisoformat
    unreadable = []
    for position, type_name, version, run_id, scope_id, time_text, body in rows:
        try:
            payload = decoders[type_name, version](body)
            time = to_time(time_text)
        except UNREADABLE:
            unreadable.append(position)  # `verify` and the event's own `problem` say why
            continue
        if time.tzinfo is not None:
            apply(state, run_id, scope_id, time, payload)
        else:
            unreadable.append(position)
    return unreadable


class History:
    """Scopes as they stood at a position, folded from their own events: nobody keeps the settled ones."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def scopes(self, scope_ids: Iterable[str], *, upto: int) -> dict[str, Scope]:
        """Those of the scopes that the ledger knew at position ``upto``."""
        state = State()
        for some in chunks(sorted(scope_ids), self._backend.rows_per_statement):
            fold_rows(state, self._backend.events_of(COLUMNS, some, upto))
        return state.scopes

    def scopes_of(self, run_id: str, *, upto: int) -> list[Scope]:
        """Every scope of a run at position ``upto``, in the order of their ids."""
        sql = "SELECT DISTINCT scope_id FROM events WHERE run_id = ? AND position <= ? AND scope_id <> ''"
        named = [row[0] for row in self._backend.scan(sql, (run_id, upto))]
        # an event may name a scope of another run: whose it is, its first event said
        return [scope for scope in self.scopes(named, upto=upto).values() if scope.run_id == run_id]

    def scopes_of_test(self, test_id: str, *, upto: int) -> list[Scope]:
        """Every scope of exactly that test at position ``upto``, in the order of their ids. Reads all events
        that open a scope: a person asks, seldom, and no replay has to keep an index for it."""
        said = msgspec.json.encode(test_id).decode()
        for special in "!%_":
            said = said.replace(special, f"!{special}")
        sql = (
            "SELECT DISTINCT scope_id FROM events"
            " WHERE type = ? AND payload LIKE ? ESCAPE '!' AND position <= ? AND scope_id <> ''"
        )
        named = [row[0] for row in self._backend.scan(sql, (ScopeOpened.__name__, f"%{said}%", upto))]
        scopes = self.scopes(named, upto=upto).values()
        return sorted((scope for scope in scopes if scope.test_id == test_id), key=lambda each: each.scope_id)
