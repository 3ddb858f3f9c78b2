"""The events of the ledger: frozen, versioned, named in the past tense. Nothing else is ever stored as fact.

Wire form: a JSON object per payload; ``type`` and ``version`` stand beside it in the ledger. Every field that
was ever released stays readable: a change of meaning is a new version and an upcast, never an edit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec

from cleanup_scheduler.domain.event import Event, ResourceEvent
from cleanup_scheduler.domain.resources import Level, Outcome, ResourceRef
from cleanup_scheduler.domain.worker_events import (
    DeletionFailed,
    DeletionGivenUp,
    DeletionRequested,
    JobSuspended,
    LogsArchived,
    OrphanFound,
    PolicyApplied,
    ResourceGone,
    ResourceKept,
    ResourceObserved,
    ResourcePreserved,
    ResourceSecured,
    RunAbandoned,
    TtlRestored,
)

__all__ = [
    "EVENT_TYPES",
    "HUMAN_EVENTS",
    "LEDGER_EVENTS",
    "TEST_EVENTS",
    "UPCASTS",
    "WORKER_EVENTS",
    "DeletionFailed",
    "DeletionGivenUp",
    "DeletionRequested",
    "Event",
    "HoldLifted",
    "HoldRequested",
    "HumanEvent",
    "JobSuspended",
    "LedgerPruned",
    "LevelChanged",
    "LogsArchived",
    "NewEvent",
    "OrphanFound",
    "OutcomeRecorded",
    "PolicyApplied",
    "PrunedRange",
    "ReleaseRequested",
    "ResourceEvent",
    "ResourceGone",
    "ResourceKept",
    "ResourceObserved",
    "ResourcePreserved",
    "ResourceSecured",
    "ResourceTracked",
    "RunAbandoned",
    "RunFinished",
    "RunStarted",
    "ScopeOpened",
    "StoredEvent",
    "TtlRestored",
    "Unreadable",
    "Upcast",
    "decode",
    "encode",
]

# ---- said by tests ---------------------------------------------------------------------------------------


class RunStarted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """``mode`` is ``pytest``, ``suite`` or ``script``; ``lease_seconds`` how long silence means alive."""

    name: str
    mode: str
    cluster: str
    namespace: str
    host: str = ""
    pid: int = 0
    lease_seconds: float = 60.0
    parent_run_id: str = ""


class ScopeOpened(Event, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt of one test begins. ``level_source`` says who chose the level (for explanations)."""

    test_id: str
    level: Level
    level_source: str
    forced: bool = False
    attempt: int = 1


class LevelChanged(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The test set another level, or asked for force."""

    level: Level
    level_source: str
    forced: bool = False


class ResourceTracked(ResourceEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A test says that this is its own. ``intent``: appended before the call that creates it."""

    intent: bool = False


class OutcomeRecorded(Event, frozen=True, kw_only=True, omit_defaults=True):
    """How the attempt ended. ``forced`` cleans a failure as if it had passed."""

    outcome: Outcome
    forced: bool = False


class RunFinished(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The run came to its own end."""

    exit_code: int = 0


# ---- said by the ledger about itself ----------------------------------------------------------------------


class PrunedRange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Positions ``first`` to ``last`` were removed; ``hash`` is ``last``'s, so that the rest verifies."""

    first: int
    last: int
    hash: str


class LedgerPruned(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A checkpoint: these events were removed on purpose. Committed before they are."""

    older_than: datetime
    runs: int
    ranges: list[PrunedRange]


# ---- said by people --------------------------------------------------------------------------------------


class HumanEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """``resource`` narrows it to one resource of the scope; without scope it speaks of the whole run."""

    who: str
    why: str = ""
    resource: ResourceRef | None = None


class ReleaseRequested(HumanEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Clean it up now. Without ``level``: at the scope's level, or ``all`` where that would do nothing."""

    level: Level | None = None


class HoldRequested(HumanEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Never clean it up until the hold is lifted."""


class HoldLifted(HumanEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The policy holds again."""


TEST_EVENTS: Final[tuple[type[Event], ...]] = (
    RunStarted,
    ScopeOpened,
    LevelChanged,
    ResourceTracked,
    OutcomeRecorded,
    RunFinished,
)
WORKER_EVENTS: Final[tuple[type[Event], ...]] = (
    ResourceObserved,
    RunAbandoned,
    OrphanFound,
    JobSuspended,
    LogsArchived,
    DeletionRequested,
    ResourceGone,
    DeletionFailed,
    DeletionGivenUp,
    ResourcePreserved,
    ResourceSecured,
    TtlRestored,
    ResourceKept,
    PolicyApplied,
)
HUMAN_EVENTS: Final[tuple[type[Event], ...]] = (ReleaseRequested, HoldRequested, HoldLifted)
LEDGER_EVENTS: Final[tuple[type[Event], ...]] = (LedgerPruned,)
EVENT_TYPES: Final[dict[str, type[Event]]] = {
    event.__name__: event for event in (*TEST_EVENTS, *WORKER_EVENTS, *HUMAN_EVENTS, *LEDGER_EVENTS)
}


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event as its producer made it. ``event_id`` is a UUIDv7, so that a repeated append stores once."""

    event_id: str
    time: datetime
    producer: str
    payload: Event
    run_id: str = ""
    scope_id: str = ""

    @property
    def type(self) -> str:
        return type(self.payload).__name__


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event with the position that the ledger gave it.

    ``payload`` is None when the ledger holds something that this program cannot read (an unknown type or
    version, a damaged body): it is kept, reported by ``verify`` and skipped by the fold; ``problem`` says
    why.
    """

    position: int
    event_id: str
    time: datetime
    producer: str
    type: str
    version: int
    payload: Event | None
    run_id: str = ""
    scope_id: str = ""
    problem: str = ""


class Unreadable(ValueError):
    """A stored payload that this program cannot understand."""


_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    name: msgspec.json.Decoder(event) for name, event in EVENT_TYPES.items()
}


def encode(payload: Event) -> bytes:
    """The canonical JSON bytes of a payload."""
    return _ENCODER.encode(payload)


# how a payload of an old version becomes one of the next: (type, old version) -> what it does to the object
Upcast = Callable[[dict[str, Any]], dict[str, Any]]
UPCASTS: Final[dict[tuple[str, int], Upcast]] = {}


def decode(type_name: str, version: int, body: bytes | str) -> Event:
    """The payload, upcast to the newest version; raises :class:`Unreadable` with the reason."""
    reading = decoder(type_name, version)
    try:
        return reading(body)
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:
        raise Unreadable(f"{type_name} version {version}: {error}") from error


def decoder(type_name: str, version: int) -> Callable[[bytes | str], Event]:
    """What reads the payloads of that type and version: for who reads many. Raises :class:`Unreadable`."""
    known = _DECODERS.get(type_name)
    if known is None:
        raise Unreadable(f"unknown event type {type_name!r}")
    newest = EVENT_TYPES[type_name].VERSION
    if not 1 <= version <= newest:
        raise Unreadable(f"{type_name} has version {version}, this program reads 1 to {newest}")
    if version == newest:
        newest_decoder: Callable[[bytes | str], Event] = known.decode
        return newest_decoder
    return functools.partial(_upcast, type_name, version)


def _upcast(type_name: str, version: int, body: bytes | str) -> Event:
    """Through every version in between; what is stored is never rewritten."""
    event_type = EVENT_TYPES[type_name]
    fields = msgspec.json.decode(body, type=dict[str, Any])
    for old in range(version, event_type.VERSION):
        fields = UPCASTS[type_name, old](fields)
    return msgspec.convert(fields, event_type)
