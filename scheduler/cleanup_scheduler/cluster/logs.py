"""A container's log: the newest bytes within a limit, within a time, or the reason why there is none.

Refuses to call something a log that is only the kubelet's excuse for having none.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Final

import msgspec

from cleanup_scheduler.cluster.kinds import PODS
from cleanup_scheduler.cluster.requests import Call, Request, Transport
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.errors import ClusterUnavailable, NotFound, Refused

# what a kubelet writes, with status 200, in place of the log of a container that its runtime has dropped
_EXCUSE: Final = re.compile(
    rb"(unable to retrieve container logs for|failed to try resolving symlinks in path) "
)
_MAX_EXCUSE_BYTES: Final = 1000


class LogText(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a container's log.

    ``truncated``: not all of it, ``note`` says what is missing. ``missing``: there is none, and why.
    """

    body: bytes = b""
    truncated: bool = False
    note: str = ""
    missing: str = ""


class _Tail:
    """The last ``max_bytes`` of what is fed, cut at the start of a line."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._chunks: deque[bytes] = deque()
        self._kept = self._fed = 0

    def feed(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._fed += len(chunk)
        self._kept += len(chunk)
        while self._kept - len(self._chunks[0]) >= self._max_bytes and len(self._chunks) > 1:
            self._kept -= len(self._chunks.popleft())

    def text(self, note: str = "") -> LogText:
        body = b"".join(self._chunks)
        if len(body) > self._max_bytes:
            body = body[len(body) - self._max_bytes :]
            first_line, newline, rest = body.partition(b"\n")
            body = rest if newline else first_line
        notes = [note] if note else []
        if len(body) < self._fed:
            notes.insert(0, f"its first {self._fed - len(body):,} bytes are left out")
        return LogText(body=body, truncated=bool(notes), note="; ".join(notes))


async def read_log(
    transport: Transport,
    pod: ResourceRef,
    container: str,
    *,
    previous: bool,
    follow: bool,
    timestamps: bool,
    max_bytes: int,
    timeout_seconds: float,
) -> LogText:
    """The log of one container; what cannot be had for good is in ``missing``, all else is raised."""
    switches = {"previous": previous, "follow": follow, "timestamps": timestamps}
    request = _request(pod, container, {name for name, on in switches.items() if on})
    tail = _Tail(max_bytes)
    try:
        return await _read(transport, request, tail, timeout_seconds)
    except NotFound:
        return LogText(missing="the pod is gone")
    except Refused as error:
        return LogText(missing=_why_not(error.message))


async def stream_log(
    transport: Transport, pod: ResourceRef, container: str, *, timeout_seconds: float
) -> AsyncIterator[bytes]:
    """The log as it is written, until the container ends; every failure is raised."""
    request = _request(pod, container, {"follow"})
    async with transport.stream(request, timeout_seconds=timeout_seconds) as chunks:
        async for chunk in chunks:
            yield chunk


def _request(pod: ResourceRef, container: str, switches: Iterable[str]) -> Request:
    return Request(
        call=Call(verb="get", resource="pods/log", namespace=pod.namespace, name=pod.name),
        method="GET",
        path=PODS.path(pod.namespace, pod.name, "log"),
        query=(("container", container), *((switch, "true") for switch in sorted(switches))),
        accept="text/plain,application/json",
    )


async def _read(transport: Transport, request: Request, tail: _Tail, timeout_seconds: float) -> LogText:
    started = False
    note = ""
    try:
        # the transport's own limit is for a server that says nothing at all
        async with transport.stream(request, timeout_seconds=timeout_seconds + 1) as chunks:
            started = True
            try:
                async with asyncio.timeout(timeout_seconds):
                    async for chunk in chunks:
                        tail.feed(chunk)
            except TimeoutError:
                note = f"reading stopped after {timeout_seconds:g} s, before its end"
    except ClusterUnavailable as error:
        if not started:
            raise
        note = f"reading broke off before its end: {error.message}"
    text = tail.text(note)
    if len(text.body) <= _MAX_EXCUSE_BYTES and _EXCUSE.match(text.body):
        return LogText(
            missing=f"its node no longer has it: {' '.join(text.body.decode(errors='replace').split())}"
        )
    return text


def _why_not(message: str) -> str:
    """The API's reason without the prefix that names our request."""
    _, _, said = message.partition(": ")
    return said or message
