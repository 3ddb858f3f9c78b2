"""What a running cluster is: written into the state folder when it is complete, read by whoever uses it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.cluster.places import Places

IMAGE = "localhost/busybox:test"
REAL_NODE_LABEL = "cleanup-scheduler.test/real-node"
SIMULATE_ANNOTATION = "cleanup-scheduler.test/simulate"
TERMINATE_ANNOTATION = "cleanup-scheduler.test/terminate-after"


@dataclass(frozen=True, kw_only=True)
class Facts:
    kubeconfig: Path
    audit_log: Path
    server: str  # https://127.0.0.1:PORT
    etcd: str  # http://127.0.0.1:PORT, without authentication
    kubectl: Path
    rate_limits: bool
    real_node: str | None  # its name
    no_real_node_because: str = ""

    def save(self, places: Places) -> None:
        """Whole or not at all."""
        unfinished = places.facts.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(asdict(self), default=str, indent=2) + "\n")
        unfinished.replace(places.facts)


def load(places: Places) -> Facts | None:
    """None when no cluster was started completely."""
    if not places.facts.is_file():
        return None
    found: dict[str, Any] = json.loads(places.facts.read_text())
    for name in ("kubeconfig", "audit_log", "kubectl"):
        found[name] = Path(found[name])
    return Facts(**found)
