"""The ledger as everybody sees it. Every call is short, safe from any thread, and either done or an error of
ours when it returns. Refuses to change or remove an event.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import sqlalchemy as sa

from cleanup_scheduler.domain.events import NewEvent, StoredEvent
from cleanup_scheduler.errors import ClaimLost
from cleanup_scheduler.ledger import archive, claims, liveness, timeshares
from cleanup_scheduler.ledger.backend import Backend
from cleanup_scheduler.ledger.chain import GENESIS
from cleanup_scheduler.ledger.records import BeatKind, Claim, Head, Heartbeat
from cleanup_scheduler.ledger.rows import to_event, to_row
from cleanup_scheduler.ledger.wakeup import Listener

if TYPE_CHECKING:
    from cleanup_scheduler.ledger.projection import Projection

_COLUMNS: Final = "position, event_id, type, version, run_id, scope_id, time, producer, payload"
_HEAD: Final = sa.text("SELECT position, hash FROM events ORDER BY position DESC LIMIT 1")


class Ledger:
    """An open ledger; a context manager. Make it with :func:`cleanup_scheduler.ledger.open_ledger`."""

    def __init__(self, backend: Backend, *, max_event_bytes: int = 1_000_000) -> None:
        self.backend = backend
        self.max_event_bytes = max_event_bytes
        self.ledger_id = ""
        self.refresh_id()

    def refresh_id(self) -> None:
        """Read ``ledger_id`` anew: an import into an empty ledger takes over the id of the exported one."""
        statement = sa.text("SELECT value FROM meta WHERE key = 'ledger_id'")
        self.ledger_id = self.backend.read(lambda connection: connection.execute(statement).scalar_one())

    @property
    def url(self) -> str:
        """Where it is, the password hidden."""
        return self.backend.address.shown

    def append(self, *events: NewEvent, claims: Collection[Claim] = ()) -> list[int]:
        """Store events, all or none, each once; committed when it returns. Their positions.

        An event whose id is stored already keeps its old position. With ``claims`` the database refuses when
        one of them is no longer held (:class:`ClaimLost`). Raises :class:`EventRefused` for what could not be
        read back, :class:`LedgerUnavailable` when it is unknown whether they are stored: append them again.
        """
        now = datetime.now(UTC)
        rows = [to_row(event, max_event_bytes=self.max_event_bytes, now=now) for event in events]
        return self.backend.append(rows, claims) if rows else []

    def read(
        self, after: int = 0, *, limit: int = 1000, run_id: str | None = None, scope_id: str | None = None
    ) -> list[StoredEvent]:
        """At most ``limit`` events after position ``after``, in order, of one run or scope when given."""
        where, values = "position > ?", [after]
        for column, value in (("run_id", run_id), ("scope_id", scope_id)):
            if value is not None:
                where += f" AND {column} = ?"
                values.append(value)  # type: ignore[arg-type]
        rows = self.backend.scan(
            f"SELECT {_COLUMNS} FROM events WHERE {where} ORDER BY position LIMIT ?",
            [*values, limit],
        )
        return [to_event(row) for row in rows]

    def follow(self, after: int = 0, *, batch: int = 1000) -> Iterator[StoredEvent]:
        """Every event after ``after`` up to the head of this moment, ``batch`` at a time in memory."""
        last = self.head().position
        while after < last:
            events = self.read(after, limit=min(batch, last - after))
            yield from events
            if not events:
                return
            after = events[-1].position

    def head(self) -> Head:
        """The newest position and its hash."""
        row = self.backend.read(lambda connection: connection.execute(_HEAD).fetchone())
        position, hash_ = (0, GENESIS) if row is None else row
        return Head(position=position, hash=bytes(hash_).hex())

    def now(self) -> datetime:
        """The database's clock (SQLite: this host's), in UTC."""
        statement = sa.text(f"SELECT {self.backend.now_seconds}")
        seconds = self.backend.read(lambda connection: connection.execute(statement).scalar_one())
        return datetime.fromtimestamp(seconds, UTC)

    def projection(self, *, several_processes: bool = False) -> Projection:
        """The current state of runs and scopes, kept beside the events. ``several_processes``: a long replay
        may start some; a test's process does not want to."""
        from cleanup_scheduler.ledger.projection import Projection

        return Projection(self, several_processes=several_processes)

    def listen(self) -> Listener:
        """A listener: its ``wait(timeout_seconds)`` returns as soon as there may be new events. Poll as well:
        it is a hint, within 50 ms when all is well."""
        return self.backend.listen()

    def rebuild(self, *, several_processes: bool = False) -> int:
        """Throw the kept state away and fold every event again; how many were folded. Workers may go on.
        ``several_processes`` as in :meth:`projection`."""
        state = self.projection(several_processes=several_processes)
        state.forget_all()
        return state.catch_up()

    def beat(
        self,
        kind: BeatKind,
        id: str,  # noqa: A002
        *,
        lease_seconds: float,
        info: str = "",
        doing: str = "",
    ) -> None:
        """Say that a run or worker lives; silence longer than ``lease_seconds`` means it is dead."""
        liveness.beat(self.backend, kind, id, lease_seconds=lease_seconds, info=info, doing=doing)

    def unbeat(self, kind: BeatKind, id: str) -> None:  # noqa: A002
        """Say that it ended in good order."""
        liveness.unbeat(self.backend, kind, id)

    def heartbeats(self, kind: BeatKind) -> list[Heartbeat]:
        """All of that kind, the freshest first, the dead ones included."""
        return liveness.heartbeats(self.backend, kind)

    def claim(self, scope_id: str, *, holder: str, lease_seconds: float) -> Claim | None:
        """The right to act on the scope, or None while anybody holds it (this holder too)."""
        return self.claim_many([scope_id], holder=holder, lease_seconds=lease_seconds).get(scope_id)

    def claim_many(
        self, scope_ids: Collection[str], *, holder: str, lease_seconds: float
    ) -> dict[str, Claim]:
        """The claims, by scope id, on those of the scopes that nobody holds: one commit for up to 500."""
        return claims.grant(self.backend, scope_ids, holder=holder, lease_seconds=lease_seconds)

    def renew(self, claim: Claim, *, lease_seconds: float) -> Claim:
        """The claim with a new lease from now; raises :class:`ClaimLost`."""
        renewed = self.renew_many([claim], lease_seconds=lease_seconds).get(claim.scope_id)
        if renewed is None:
            raise ClaimLost(
                f"the claim on scope {claim.scope_id} is no longer held",
                hint="another worker acts on this scope now",
            )
        return renewed

    def renew_many(self, held: Collection[Claim], *, lease_seconds: float) -> dict[str, Claim]:
        """Those of the claims that are still held, by scope id, with a new lease from now."""
        return claims.renew(self.backend, held, lease_seconds=lease_seconds)

    def release(self, claim: Claim) -> None:
        """Give the claim back; nothing happens when it is no longer held."""
        self.release_many([claim])

    def release_many(self, held: Collection[Claim]) -> None:
        """Give claims back; nothing happens to those that are no longer held."""
        claims.release(self.backend, held)

    def take_time(self, name: str, seconds: float) -> float:
        """Take the next ``seconds`` of the time that all share under ``name``; how long until they begin."""
        return timeshares.take(self.backend, name, seconds)

    def archive(self, body: bytes, *, run_id: str, scope_id: str) -> str:
        """Keep a log, compressed; returns its id."""
        return self.archive_many([(run_id, scope_id, body)])[0]

    def archive_many(self, logs: Sequence[tuple[str, str, bytes]]) -> list[str]:
        """Keep logs, each with the run and the scope that it is of, in one commit; their ids, in order."""
        return archive.put(self.backend, logs)

    def archived(self, archive_id: str) -> bytes:
        """A log from the archive; raises :class:`UnknownName`."""
        return archive.get(self.backend, archive_id)

    def prune_archive(
        self,
        *,
        older_than: timedelta | None = None,
        max_total_bytes: int | None = None,
        settled_only: bool = False,
    ) -> int:
        """Remove archived logs that are too old, then the oldest until the rest fits; how many went. With
        ``settled_only`` those of scopes that are still worked on, preserved or held stay."""
        return archive.prune_archive(
            self.backend, older_than=older_than, max_total_bytes=max_total_bytes, settled_only=settled_only
        )

    def close(self) -> None:
        """Close its connections."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
