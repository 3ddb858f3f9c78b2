"""Where the real cluster keeps its things: built programs in a cache, what runs in a state folder. Neither is
in the checkout, so that several checkouts of one user share them. It makes and removes nothing itself.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

CACHE = "CLEANUP_SCHEDULER_CLUSTER_CACHE"
STATE = "CLEANUP_SCHEDULER_CLUSTER_STATE"
HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent


def cache_folder() -> Path:
    """For the programs; survives ``down``. Delete it to build anew."""
    return _folder(CACHE, "XDG_CACHE_HOME", ".cache", "cluster")


def state_folder() -> Path:
    """For a running cluster; there is none when no cluster runs."""
    return _folder(STATE, "XDG_STATE_HOME", ".local/state", "cluster")


def _folder(own: str, standard: str, default: str, name: str) -> Path:
    if chosen := os.environ.get(own):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get(standard) or Path.home() / default
    return Path(base) / "cleanup-scheduler" / name


@dataclass(frozen=True)
class Places:
    """Every file and folder of a running cluster, all below ``state``."""

    state: Path

    @property
    def short_id(self) -> str:
        """Tells what belongs to this cluster outside the folder: cgroups, locks."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:8]

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def facts(self) -> Path:
        """Written last: where this file is, there a cluster was started completely."""
        return self.state / "cluster.json"

    @property
    def logs(self) -> Path:
        """Of our own start-up; the control plane's are in :attr:`kwok_logs`."""
        return self.state / "logs"

    @property
    def kwok_workdir(self) -> Path:
        return self.state / "kwok"

    @property
    def kwok_cluster(self) -> Path:
        return self.kwok_workdir / "clusters" / KWOK_NAME

    @property
    def kwok_logs(self) -> Path:
        return self.kwok_cluster / "logs"

    @property
    def audit_log(self) -> Path:
        return self.kwok_logs / "audit.log"

    @property
    def config(self) -> Path:
        """Configuration files with this machine's paths and ports filled in."""
        return self.state / "config"

    @property
    def node(self) -> Path:
        """All that the real node writes."""
        return self.state / "node"


KWOK_NAME = "test"


def places() -> Places:
    return Places(state_folder())
