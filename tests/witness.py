"""The witness: every request to delete that reached the API, against what the ledger had requested before.

What the API server wrote down is the truth here, not what our own code says that it did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from cleanup_scheduler.domain.events import DeletionRequested
from cleanup_scheduler.ledger import Ledger

from tests.under_test import ClusterUnderTest

OURS = "cleanup-scheduler/"  # how our user agent begins
_FORBIDDEN = 403


@dataclass(frozen=True)
class Delete:
    """One request. ``uid`` is its precondition: what was asked for, whatever the name led to."""

    resource: str
    namespace: str
    name: str
    uid: str
    verb: str
    code: int


def deletes(cluster: ClusterUnderTest, namespace: str) -> list[Delete]:
    """What our client asked to delete in the namespace, in the order of the answers."""
    assert cluster.audit is not None
    ours = [event for event in cluster.audit() if event.get("userAgent", "").startswith(OURS)]
    return [
        found for found in map(_read, ours) if found.namespace == namespace and found.resource != "namespaces"
    ]


def _read(event: dict[str, Any]) -> Delete:
    ref = event["objectRef"]
    options = event.get("requestObject") or {}
    return Delete(
        resource=ref["resource"],
        namespace=ref.get("namespace", ""),
        name=ref.get("name", ""),
        uid=(options.get("preconditions") or {}).get("uid", ""),
        verb=event["verb"],
        code=(event.get("responseStatus") or {}).get("code", 0),
    )


def assert_every_delete_was_requested(
    ledger: Ledger, cluster: ClusterUnderTest, namespace: str, *, by_hand: frozenset[str] = frozenset()
) -> None:
    """G5: no delete without a committed request that names the uid; no delete of anything else.

    ``by_hand`` are the uids that the test itself deleted, through the same client.
    """
    if cluster.audit is None:
        pytest.skip("the cluster shows no audit log (CLEANUP_SCHEDULER_TEST_AUDIT_LOG)")
    requested = {
        (
            payload.resource.kind.partition(".")[0],
            payload.resource.namespace,
            payload.resource.name,
            payload.uid,
        )
        for payload in (event.payload for event in ledger.follow())
        if isinstance(payload, DeletionRequested)
    }
    for delete in deletes(cluster, namespace):
        if delete.uid in by_hand:
            continue
        assert delete.verb == "delete", f"a whole collection was deleted: {delete}"
        key = (delete.resource, delete.namespace, delete.name, delete.uid)
        if delete.code == _FORBIDDEN and not delete.uid:
            # refused before its body was read, so that nobody wrote down which uid it named
            assert key[:3] in {request[:3] for request in requested}, f"the ledger never requested {delete}"
            continue
        assert delete.uid, f"a delete without the uid as precondition: {delete}"
        assert key in requested, f"a delete that the ledger never requested: {delete}"
