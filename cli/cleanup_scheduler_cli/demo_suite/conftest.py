"""The platform's fixtures. `resource_manager` comes from cleanup-scheduler's pytest plugin."""

import os

import pytest
from cleanup_scheduler.testing.evaluation import ApiSession


@pytest.fixture(scope="session")
def api_session():
    """The evaluation service, which runs each evaluation in a Kubernetes Job of its own."""
    return ApiSession(os.environ["EVALUATION_URL"])
