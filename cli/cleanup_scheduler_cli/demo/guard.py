"""Sees to it that nothing of the demo stays behind, not even when the demo itself is killed with -9.

A process of its own waits for the demo's end; refuses to touch what does not carry the demo's mark.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cleanup_scheduler.testing import guardian


class Guard:
    """Ends the process groups that it was told of; on Linux also whatever has the mark in its environment."""

    def __init__(self, tell: IO[bytes]) -> None:
        self._pipe = tell

    def watch(self, group: int) -> None:
        """End this process group too."""
        self._tell(group)

    def forget(self, group: int) -> None:
        """It has ended: its number may be somebody else's soon."""
        self._tell(-group)

    def _tell(self, number: int) -> None:
        self._pipe.write(f"{number}\n".encode())
        self._pipe.flush()


@contextmanager
def guarding(folder: Path, mark: str, *, keep: bool) -> Iterator[Guard]:
    """Until the end of the block, or of this process. Removes the folder then, unless it is to be kept."""
    command = [sys.executable, "-I", guardian.__file__, mark, *([] if keep else [str(folder)])]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        if process.stdin is not None:
            yield Guard(process.stdin)
