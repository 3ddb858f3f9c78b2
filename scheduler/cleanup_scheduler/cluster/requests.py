"""A request in our own words, and the door it goes through: what the rest of this package is written against.

Keeps the client out of every module but ``transport``, which implements :class:`Transport`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked, in the words of RBAC, for messages. ``group`` is empty for the core group."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        named = f"{self.resource} {self.name}" if self.name else self.resource
        return f"{self.verb} {named}{f' in namespace {self.namespace}' if self.namespace else ''}"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request to the API."""

    call: Call
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    accept: str = "application/json"
    body: Mapping[str, Any] | None = None
    content_type: str = "application/json"


class Pace(Protocol):
    """How fast requests may follow each other."""

    async def turn(self) -> None:
        """Returns when one more request may be sent."""


class Transport(Protocol):
    """Sends requests; raises only errors of ours."""

    @property
    def server(self) -> str:
        """The address of the API, for messages."""

    async def send(self, request: Request) -> bytes:
        """The body of a 2xx answer."""

    def stream(
        self, request: Request, *, timeout_seconds: float
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The body of a 2xx answer as it comes, within ``timeout_seconds`` in all."""
