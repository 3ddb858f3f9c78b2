"""What the ledger hands out besides events. Plain values, no SQL: importing it costs nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

BeatKind = Literal["run", "worker"]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The newest event: its position and its hash (64 hexadecimal digits). Position 0: an empty ledger."""

    position: int
    hash: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The right to act on one scope. ``token`` is the fencing token: it rises by one with each grant."""

    scope_id: str
    holder: str
    token: int
    lease_seconds: float


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """The last sign of life of a run or worker. ``age_seconds`` is measured by the database's clock.

    ``info``: a worker's cluster, a run's host and process. ``doing``: a worker's own words for people.
    """

    id: str
    at: datetime
    age_seconds: float
    lease_seconds: float
    info: str
    doing: str = ""

    @property
    def alive(self) -> bool:
        """The lease has not run out."""
        return self.age_seconds <= self.lease_seconds
