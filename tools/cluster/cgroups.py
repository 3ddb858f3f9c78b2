"""The control groups of the real node: one parent in every hierarchy (version 1) or in the one (version 2),
so that all of them can be found and removed again.
"""

from __future__ import annotations

from pathlib import Path

from tools.cluster.processes import until

CPUSET = ("cpuset.cpus", "cpuset.mems")  # version 1: empty in a new group, and then it takes no process


def hierarchies(mounts: Path = Path("/proc/self/mounts")) -> list[Path]:
    """Where each hierarchy is mounted."""
    lines = [line.split() for line in mounts.read_text().splitlines()]
    return [Path(fields[1]) for fields in lines if fields[2] in ("cgroup", "cgroup2")]


def enter(name: str) -> None:
    """Move this process into ``NAME/node`` of every hierarchy. Containers land beside it or below it."""
    for hierarchy in hierarchies():
        group = hierarchy
        for part in (name, "node"):
            parent, group = group, group / part
            group.mkdir(exist_ok=True)
            for file in CPUSET:
                if (group / file).exists() and (group / "tasks").exists():
                    (group / file).write_text((parent / file).read_text())
        (group / "cgroup.procs").write_text("0")


def remaining(name: str) -> list[Path]:
    return [hierarchy / name for hierarchy in hierarchies() if (hierarchy / name).is_dir()]


def remove(name: str) -> None:
    """Once their processes are gone; the kernel needs a moment to notice that."""
    until(lambda: all(remove_tree(group) for group in remaining(name)), within_seconds=10)


def remove_tree(group: Path) -> bool:
    """Inner ones first. False while one is still in use."""
    for inner in group.iterdir():
        if inner.is_dir():
            remove_tree(inner)
    try:
        group.rmdir()
    except OSError:
        return not group.exists()
    return True
