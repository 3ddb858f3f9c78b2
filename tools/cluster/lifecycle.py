"""Up and down. ``up`` does nothing when the cluster runs as asked; otherwise it starts from an empty state
folder, and takes everything down again when a part does not come up. ``down`` refuses to end quietly while
anything is left.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from tools.cluster import control_plane, node
from tools.cluster.build import build_missing
from tools.cluster.errors import ClusterToolError, StartFailed, StopFailed
from tools.cluster.facts import Facts, load
from tools.cluster.places import Places, cache_folder, places
from tools.cluster.processes import until
from tools.cluster.programs import CONTROL_PLANE, REAL_NODE, Shelf


@dataclass(frozen=True)
class Wanted:
    rate_limits: bool = False
    real_node: bool = True


def up(wanted: Wanted) -> Facts:
    here, shelf = places(), Shelf(cache_folder())
    with one_at_a_time(here):
        if running := healthy(here):
            refuse_other_options(running, wanted)
            return running
        refusal = node.what_is_missing(here) if wanted.real_node else "it was not wanted"
        modules = CONTROL_PLANE if refusal else CONTROL_PLANE + REAL_NODE
        build_missing(shelf, modules)
        take_down(here, shelf)
        try:
            return start(here, shelf.programs(modules), wanted, refusal)
        except BaseException:
            take_down(here, shelf)
            raise


def start(here: Places, programs: dict[str, Path], wanted: Wanted, refusal: str) -> Facts:
    here.state.mkdir(parents=True, mode=0o700)
    control_plane.start(here, programs, rate_limits=wanted.rate_limits)
    facts = Facts(
        kubeconfig=here.kubeconfig,
        audit_log=here.audit_log,
        server=yaml.safe_load(here.kubeconfig.read_text())["clusters"][0]["cluster"]["server"],
        etcd=control_plane.etcd_address(here),
        kubectl=programs["kubectl"],
        rate_limits=wanted.rate_limits,
        real_node=None,
        no_real_node_because=refusal,
    )
    if not refusal:
        node.start(here, programs)
        log = here.logs / "node.log"
        control_plane.wait_for_nodes(here, programs, [node.NAME], lambda: node.not_running(here), [log])
        facts = replace(facts, real_node=node.NAME)
    facts.save(here)
    return facts


def healthy(here: Places) -> Facts | None:
    """The facts of a cluster that was started completely and of which every process still runs."""
    facts = load(here)
    if facts is None or control_plane.not_running(here) or (facts.real_node and node.not_running(here)):
        return None
    try:
        control_plane.kubectl(here, {"kubectl": facts.kubectl}, "get", "--raw", "/readyz")
    except StartFailed:
        return None
    return facts


def refuse_other_options(running: Facts, wanted: Wanted) -> None:
    if running.rate_limits != wanted.rate_limits:
        has, want = ("with", "without") if running.rate_limits else ("without", "with")
        raise ClusterToolError(
            f"the cluster runs {has} rate limits and is wanted {want}: stop it first (down)"
        )


def down() -> bool:
    """False when there was nothing to stop."""
    here = places()
    with one_at_a_time(here):
        return take_down(here, Shelf(cache_folder()))


def take_down(here: Places, shelf: Shelf) -> bool:
    if not here.state.exists() and not control_plane.processes(here) and not node.processes(here):
        return False
    try:
        node.stop(here)
    finally:
        control_plane.stop(here, shelf.programs(CONTROL_PLANE))
    remove(here.state)
    if left := node.what_is_left(here):
        raise StopFailed(f"still there: {', '.join(left)}")
    return True


def remove(state: Path) -> None:
    """The folder, and the one above it when that is ours and empty now. Mounts take a moment to go."""

    def try_once() -> bool:
        shutil.rmtree(state, ignore_errors=True)
        return not state.exists()

    if not until(try_once, within_seconds=10):
        shutil.rmtree(state)  # says which file cannot be removed, and why
    if state.parent.name == "cleanup-scheduler" and not any(state.parent.iterdir()):
        state.parent.rmdir()


@contextmanager
def one_at_a_time(here: Places) -> Iterator[None]:
    """One up or down of a cluster at a time. The lock is in the cache: ``down`` removes the state folder."""
    locks = cache_folder()
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / f".lock-{here.short_id}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
