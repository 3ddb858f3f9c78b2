"""The real cluster for tests: somebody's whose kubeconfig the environment names, else the one that
``make cluster`` has started. Refuses to start or stop any.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contracts.kubernetes.wire import Api
from tests.under_test import AUDIT_LOG, KUBECONFIG, NO_REAL_CLUSTER
from tools.cluster import lifecycle, places
from tools.cluster.facts import REAL_NODE_LABEL, Facts


@dataclass(frozen=True, kw_only=True)
class RealCluster:
    """``audit_log``, ``etcd`` and ``kubectl`` are None for a cluster that does not let us at them."""

    kubeconfig: Path
    has_real_node: bool
    audit_log: Path | None = None
    etcd: str | None = None
    kubectl: Path | None = None
    no_real_node_because: str = ""


def real_cluster(environment: Mapping[str, str] = os.environ) -> RealCluster:
    """Raises UsageError, with the remedy, when there is none."""
    if named := environment.get(KUBECONFIG):
        return somebodys(Path(named), environment.get(AUDIT_LOG, ""))
    if running := lifecycle.healthy(places.places()):
        return ours(running)
    raise pytest.UsageError(NO_REAL_CLUSTER)


def somebodys(kubeconfig: Path, audit_log: str) -> RealCluster:
    """Ours too, when that is the one whose kubeconfig was named."""
    if not kubeconfig.is_file():
        raise pytest.UsageError(f"{KUBECONFIG}={kubeconfig}: there is no such file")
    running = lifecycle.healthy(places.places())
    if running and running.kubeconfig.samefile(kubeconfig):
        return ours(running)
    api = Api(kubeconfig)
    selected = api.get("/api/v1/nodes", labelSelector=f"{REAL_NODE_LABEL}=true").ok(200)["items"]
    api.close()
    return RealCluster(
        kubeconfig=kubeconfig.absolute(),
        has_real_node=bool(selected),
        audit_log=Path(audit_log) if audit_log else None,
        no_real_node_because="" if selected else f"no node of it carries the label {REAL_NODE_LABEL}",
    )


def ours(facts: Facts) -> RealCluster:
    return RealCluster(
        kubeconfig=facts.kubeconfig,
        has_real_node=facts.real_node is not None,
        audit_log=facts.audit_log,
        etcd=facts.etcd,
        kubectl=facts.kubectl,
        no_real_node_because=facts.no_real_node_because,
    )
