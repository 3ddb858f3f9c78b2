"""A suite's output on our standard output, as it comes; with a prefix, in lines, when several run at once."""

from __future__ import annotations

import sys
import threading
from typing import ClassVar


class Output:
    """One suite's. Bytes go through as they are."""

    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.encode()
        self._line = b""

    def write(self, chunk: bytes) -> None:
        """Show it; with a prefix only whole lines, so that suites do not write into each other's."""
        if self._prefix:
            *lines, self._line = (self._line + chunk).split(b"\n")
            chunk = b"".join(self._prefix + line + b"\n" for line in lines)
        self._show(chunk)

    def close(self) -> None:
        """Show what has no line end yet."""
        if self._line:
            self._show(self._prefix + self._line + b"\n")
            self._line = b""

    def _show(self, chunk: bytes) -> None:
        with self._lock:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
