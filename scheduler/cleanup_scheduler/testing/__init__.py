"""What users need to test their own set-up: an embedded cluster that clients and kubectl take for a real one.

Nothing here is part of cleaning; nothing here imports the Kubernetes client.
"""

from __future__ import annotations

from cleanup_scheduler.testing.audit import DeleteRecord
from cleanup_scheduler.testing.cluster import EmbeddedCluster
from cleanup_scheduler.testing.faults import Fault, Faults, RequestFacts
from cleanup_scheduler.testing.options import ClusterOptions

__all__ = ["ClusterOptions", "DeleteRecord", "EmbeddedCluster", "Fault", "Faults", "RequestFacts"]
