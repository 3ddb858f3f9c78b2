"""pytest with the plugin installed and unused, beside the same pytest told to leave it out.

Each sample is a process of its own that runs one empty test, both in turns; processor times and wall times of
many, their medians and the ratio. All other plugins that are installed are left out of both, so that only
pytest itself is the baseline.
``python -m benchmarks.plugin_start [pairs]``
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import entry_points
from pathlib import Path

OURS = "cleanup_scheduler"
OTHERS = [f"no:{entry.name}" for entry in entry_points(group="pytest11") if entry.name != OURS]
BARE = ["no:cacheprovider", *OTHERS]
WITHOUT = ["-p" + name for name in (*BARE, f"no:{OURS}")]
WITH = ["-p" + name for name in (*BARE, "no:nothing")]  # as many arguments


def start(folder: str, options: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of one pytest."""
    command = [sys.executable, "-m", "pytest", "-q", *options, folder]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"pytest ended with {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime


def main(arguments: list[str]) -> None:
    """Measure so many pairs."""
    pairs = int(arguments[0]) if arguments else 60
    times: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pytest.ini").write_text("[pytest]\n")
        (Path(folder) / "test_it.py").write_text("def test_it():\n    pass\n")
        for options in (WITH, WITHOUT):
            start(folder, options)  # byte code, file cache
        for number in range(pairs):
            both = [("with", WITH), ("without", WITHOUT)]
            for who, options in both if number % 2 else both[::-1]:
                times[who].append(start(folder, options))
    for index, what in enumerate(("wall", "processor")):
        ours, bare = (statistics.median(each[index] for each in times[who]) for who in ("with", "without"))
        said = {
            "what": f"pytest start, {what}",
            "bare_ms": round(bare * 1e3, 1),
            "ours_ms": round(ours * 1e3, 1),
        }
        print(json.dumps(said | {"factor": round(ours / bare, 3)}))


if __name__ == "__main__":
    main(sys.argv[1:])
