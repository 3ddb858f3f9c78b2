"""Fault points: how a test makes the server misbehave, for the requests that it chooses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What a fault may look at. ``verb`` is Kubernetes' word (get, list, watch, create, update, patch,
    delete, deletecollection), empty for discovery; ``resource`` is ``plural.group``.
    """

    method: str
    path: str
    query: dict[str, str]
    verb: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to misbehave, for the next ``times`` requests that match (None: for all, until removed).

    ``hang_seconds`` waits first. Then ``drop`` closes the connection without an answer; ``body`` is sent as
    it is, one byte per ``drip_seconds`` when that is given; ``status`` alone answers a proper Status. With
    ``after`` the request takes effect before its answer is lost or falsified. A fault that only hangs lets
    the request go on.
    """

    match: Callable[[RequestFacts], bool]
    times: int | None = 1
    status: int | None = None
    reason: str = ""
    message: str = "a fault that the test asked for"
    retry_after_seconds: int | None = None
    hang_seconds: float = 0.0
    drop: bool = False
    body: bytes | None = None
    drip_seconds: float = 0.0
    after: bool = False


class Faults:
    """The faults that are armed; used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[tuple[Fault, list[int]]] = []

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._armed.append((fault, [0]))
        return fault

    def remove(self, fault: Fault) -> None:
        with self._lock:
            self._armed = [(armed, hits) for armed, hits in self._armed if armed is not fault]

    def clear(self) -> None:
        with self._lock:
            self._armed.clear()

    def hits(self, fault: Fault) -> int:
        """How many requests the fault has met."""
        with self._lock:
            return next((hits[0] for armed, hits in self._armed if armed is fault), 0)

    def meet(self, facts: RequestFacts) -> Fault | None:
        """The first armed fault for a request, which this uses up once."""
        with self._lock:
            for fault, hits in self._armed:
                if (fault.times is None or hits[0] < fault.times) and fault.match(facts):
                    hits[0] += 1
                    return fault
        return None
