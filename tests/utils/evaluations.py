"""The evaluation service that the example suites submit to.

``EVALUATION_SERVICE_URL`` names a running one. Without it, a suite that the orchestrator started has one
served by its own process, on the cluster that the suite runs in (``EVALUATION_POD_TEMPLATE``: what its pods
need there). Nobody else gets one: a plain ``pytest`` must not create things in whatever cluster is current.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from cleanup_scheduler.testing.evaluation import ApiSession, EvaluationService

_URL = os.environ.get("EVALUATION_SERVICE_URL", "")
_IN_A_SUITE = "CLEANUP_SCHEDULER_RUN_ID" in os.environ

needs_evaluations = pytest.mark.skipif(
    not (_URL or _IN_A_SUITE),
    reason="an example suite: run it with ./tests/test_orchestrator.py, or set EVALUATION_SERVICE_URL",
)


@pytest.fixture(scope="session")
def api_session() -> Iterator[ApiSession]:
    """Where evaluations are submitted."""
    served = EvaluationService(
        os.environ.get("KUBECONFIG", ""),
        namespace=os.environ.get("CLEANUP_SCHEDULER_NAMESPACE", "crucible"),
        pod_template=os.environ.get("EVALUATION_POD_TEMPLATE") or None,
    )
    with nullcontext() if _URL else served:
        yield ApiSession(_URL or served.url)
