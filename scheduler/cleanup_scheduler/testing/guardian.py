"""Ends what the pods of an embedded cluster left running, however the cluster's own process ended.

Runs as a process of its own, started with ``python -I guardian.py MARKER [FOLDER]``, and waits for the end of
its input, which comes when the cluster stops and also when it is killed with -9. It then kills every process
group it was told of (``+GROUP`` and ``-GROUP`` lines), on Linux also every process that carries the marker
in its environment, and removes the folder, if any. It imports nothing of this package.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

_ROUNDS = 50
_PAUSE_SECONDS = 0.02


def _marked(marker: bytes) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*") if sys.platform == "linux" else ():
        try:
            if marker in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:  # ended meanwhile, or another user's
            continue
    return found


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def main(marker: str, folder: str = "") -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line)
        if group > 0:
            groups.add(group)
        else:
            groups.discard(-group)
    for group in groups:
        _kill_group(group)
    for _ in range(_ROUNDS):
        left = _marked(marker.encode())
        if not left:
            break
        for pid in left:
            _kill(pid)
        time.sleep(_PAUSE_SECONDS)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
