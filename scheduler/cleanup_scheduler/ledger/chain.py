"""The canonical bytes of an event and the hash chain over them. Pure; the SQL function on PostgreSQL computes
the same (revision 0001), and a test holds the two together.

The eight header fields stand one to a line, none of which may hold a line break, and the payload comes last:
so no two events share their bytes.
"""

from __future__ import annotations

import hashlib
from typing import Final

GENESIS: Final = bytes(32)


def canonical(
    position: int,
    event_id: str,
    type_name: str,
    version: int,
    run_id: str,
    scope_id: str,
    time: str,
    producer: str,
    payload: bytes,
) -> bytes:
    """The bytes that the chain covers; the payload exactly as its producer encoded it."""
    head = f"{position}\n{event_id}\n{type_name}\n{version}\n{run_id}\n{scope_id}\n{time}\n{producer}\n"
    return head.encode("utf-8", "surrogatepass") + payload


def link(previous: bytes, event: bytes) -> bytes:
    """The hash of an event, given the hash of the event before it (:data:`GENESIS` for the first)."""
    return hashlib.sha256(previous + event).digest()
