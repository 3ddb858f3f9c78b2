"""Where the demo takes place: a folder, a cluster, an evaluation service; all of them gone afterwards."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from cleanup_scheduler.testing import EmbeddedCluster

from cleanup_scheduler_cli.demo.guard import Guard, guarding
from cleanup_scheduler_cli.demo.stage import clean_environment

if TYPE_CHECKING:
    from cleanup_scheduler.settings import Loaded

NAMESPACE: Final = "crucible"
QUOTA: Final = "evaluation-quota"
PODS_ALLOWED: Final = 10
_QUIET_SECONDS: Final = 1.0  # so long the place is under construction on a machine that does nothing else
_MOST_PATIENCE: Final = 20.0


def settings_text(slowness: float) -> str:
    """A day's patience in seconds: what takes minutes in earnest takes moments here. Only the leases grow
    with the load: who comes late on a busy machine is not dead.
    """
    return f"""\
selector = "app=evaluation"
quota = "{QUOTA}"
heartbeat_seconds = 0.4
run_lease_seconds = {3 * slowness:.1f}
orphan_grace_seconds = 0.5
tick_seconds = 0.2
sweep_seconds = 0.5
worker_lease_seconds = {5 * slowness:.1f}
"""


class Place(msgspec.Struct):
    """What the story and its ending need to know."""

    folder: Path
    cluster: EmbeddedCluster
    service_url: str
    environment: dict[str, str]
    guard: Guard
    slowness: float  # how many times longer than on a quiet machine it took to get here

    def settings(self) -> Loaded:
        """The settings that the demo's own processes read."""
        from cleanup_scheduler.settings import load_settings

        return load_settings(
            self.folder, environment={}, options={"kubeconfig": str(self.cluster.kubeconfig)}
        )


@contextmanager
def make_place(*, keep: bool = False) -> Iterator[Place]:
    """Build it; take it down whatever happens. ``keep`` leaves the folder with its ledger."""
    from cleanup_scheduler.testing.evaluation import EvaluationService

    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="cleanup-demo-"))
    kubeconfig = folder / "kubeconfig"
    with guarding(folder, f"KUBECONFIG={kubeconfig}", keep=keep) as guard:
        _furnish(folder)
        with EmbeddedCluster(kubeconfig=kubeconfig, namespace=NAMESPACE) as cluster:
            cluster.create([_quota()])
            with EvaluationService(cluster.kubeconfig, namespace=NAMESPACE) as service:
                environment = clean_environment() | {
                    "KUBECONFIG": str(cluster.kubeconfig),
                    "EVALUATION_URL": service.url,
                }
                slowness = min(max((time.monotonic() - began) / _QUIET_SECONDS, 1.0), _MOST_PATIENCE)
                (folder / "cleanup-scheduler.toml").write_text(settings_text(slowness), encoding="utf-8")
                yield Place(folder, cluster, service.url, environment, guard, slowness)


def _furnish(folder: Path) -> None:
    (folder / "pytest.ini").write_text(
        "[pytest]\naddopts = -p no:cacheprovider --color=no\n", encoding="utf-8"
    )
    with as_file(files("cleanup_scheduler_cli") / "demo_suite") as suite:
        for file in sorted(suite.glob("*.py")):
            shutil.copy(file, folder / file.name)


def _quota() -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": QUOTA, "namespace": NAMESPACE},
        "spec": {"hard": {"pods": str(PODS_ALLOWED)}},
    }
