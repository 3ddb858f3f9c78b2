"""Containers' logs: captured to files with the time of each line, as a kubelet's runtime does, and read back
as ``kubectl logs`` asks for them. A file that grows past ten megabytes starts again, as the kubelet's
rotation shows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cleanup_scheduler.testing.objects import format_micro_time, now

MAX_LOG_BYTES = 10 * 1024 * 1024
_MAX_LINE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class LogQuery:
    follow: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: datetime | None = None


class ContainerLog:
    """The log of one start of one container. Written and read on the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = path.open("ab", buffering=0)
        self._size = 0
        self._generation = 0
        self._changed = asyncio.Event()
        self.closed = False

    def write_line(self, line: bytes, *, whole: bool = True) -> None:
        """One line in the format of the container runtime interface: F ends a line, P is continued by the
        next.
        """
        if self.closed:
            return  # the cluster stops while a process still talks
        tag = b" F " if whole else b" P "
        stamped = format_micro_time(now()).encode() + tag + line + b"\n"
        if self._size + len(stamped) > MAX_LOG_BYTES:
            self._stream.truncate(0)
            self._size = 0
            self._generation += 1
        self._stream.write(stamped)
        self._size += len(stamped)
        self._notify()

    async def capture(self, pipe: asyncio.StreamReader) -> None:
        """Write what comes out of ``pipe`` until its end; long lines in parts."""
        pending = b""
        try:
            while chunk := await pipe.read(_MAX_LINE_BYTES):
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    self.write_line(line)
                if len(pending) >= _MAX_LINE_BYTES:
                    self.write_line(pending, whole=False)
                    pending = b""
        finally:
            if pending:
                self.write_line(pending, whole=False)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._stream.close()
            self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def read(self, query: LogQuery) -> AsyncIterator[bytes]:
        """The log as the query asks for it, in chunks; with ``follow`` until the container ends."""
        budget = query.limit_bytes
        offset, generation = 0, self._generation
        first = True
        while True:
            changed = self._changed
            if generation != self._generation:
                offset, generation = 0, self._generation
            lines, offset = self._lines_from(offset)
            closed = self.closed
            if first and query.tail_lines is not None:
                lines = lines[len(lines) - min(query.tail_lines, len(lines)) :]
            first = False
            chunk = b"".join(_shown(line, query) for line in lines)
            if budget is not None:
                chunk, budget = chunk[:budget], budget - len(chunk[:budget])
            if chunk:
                yield chunk
            if closed or not query.follow or budget == 0:
                return
            await changed.wait()

    def _lines_from(self, offset: int) -> tuple[list[bytes], int]:
        if not self._path.exists():  # the pod is gone and its logs with it
            return [], offset
        with self._path.open("rb") as stream:
            stream.seek(offset)
            content = stream.read()
        return content.splitlines(keepends=True), offset + len(content)


def _shown(line: bytes, query: LogQuery) -> bytes:
    stamp, tag, text = line.split(b" ", 2)
    if (
        query.since is not None
        and datetime.fromisoformat(stamp.decode().replace("Z", "+00:00")) < query.since
    ):
        return b""
    if tag == b"P":
        text = text[:-1]
    return stamp + b" " + text if query.timestamps else text
