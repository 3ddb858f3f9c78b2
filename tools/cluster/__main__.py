"""``python -m tools.cluster up | down | status | build``, for ``make cluster`` and ``make cluster-stop``.

Exit codes: 0 done (status: it runs), 1 it did not work (status: it does not run), 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from types import FrameType

from tools.cluster import control_plane, lifecycle, node
from tools.cluster.build import build_missing
from tools.cluster.errors import ClusterToolError
from tools.cluster.facts import Facts
from tools.cluster.places import cache_folder, places
from tools.cluster.programs import CONTROL_PLANE, REAL_NODE, Shelf


def main(arguments: list[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        code: int = chosen.command(chosen)
    except ClusterToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: what was started is down again", file=sys.stderr)
        return 130
    return code


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="python -m tools.cluster", description=__doc__)
    commands = whole.add_subparsers(required=True)
    start = commands.add_parser("up", help="build what is missing, start; fast when it runs already")
    start.add_argument(
        "--rate-limits", action="store_true", help="with the client rate limits that users have"
    )
    start.add_argument("--no-real-node", action="store_true", help="the control plane and played nodes only")
    start.set_defaults(command=up)
    commands.add_parser("down", help="stop it; nothing stays behind").set_defaults(command=down)
    commands.add_parser("status", help="what runs").set_defaults(command=status)
    builder = commands.add_parser("build", help="only build what is missing, and say how long it took")
    builder.set_defaults(command=build)
    return whole


def up(chosen: argparse.Namespace) -> int:
    wanted = lifecycle.Wanted(rate_limits=chosen.rate_limits, real_node=not chosen.no_real_node)
    print(ready_line(lifecycle.up(wanted)))
    return 0


def down(_: argparse.Namespace) -> int:
    print("stopped" if lifecycle.down() else "nothing to stop")
    return 0


def status(_: argparse.Namespace) -> int:
    here = places()
    for process in control_plane.processes(here) + node.processes(here):
        print(f"{process.name:26} pid {process.pid}")
    for process in node.inside(here):
        print(f"  {process.name:24} pid {process.pid}")
    facts = lifecycle.healthy(here)
    print(ready_line(facts) if facts else f"no cluster runs (state folder {here.state})")
    return 0 if facts else 1


def build(_: argparse.Namespace) -> int:
    shelf = Shelf(cache_folder())
    began = time.monotonic()
    modules = CONTROL_PLANE + REAL_NODE if sys.platform == "linux" else CONTROL_PLANE
    for program, seconds in build_missing(shelf, modules).items():
        print(f"{program:40} {seconds:7.1f} s")
    for program, path in shelf.programs(modules).items():
        print(f"{program:40} {path}")
    print(f"{'all':40} {time.monotonic() - began:7.1f} s")
    return 0


def ready_line(facts: Facts) -> str:
    node = (
        f"real node {facts.real_node}" if facts.real_node else f"no real node: {facts.no_real_node_because}"
    )
    limits = "rate limits on" if facts.rate_limits else "rate limits off"
    return f"ready: kubeconfig {facts.kubeconfig}, audit log {facts.audit_log}, {limits}, {node}"


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a start as Ctrl-C does: what was started is taken down."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
