"""An example load suite: a hundred Jobs in one test, each tracked, all gone afterwards at level ``all``."""

from __future__ import annotations

import pytest
from cleanup_scheduler.testing.evaluation import ApiSession, submit_evaluation

from tests.utils.evaluations import needs_evaluations
from tests.utils.resource_manager import ResourceManager

pytestmark = [needs_evaluations, pytest.mark.timeout(300)]


def test_a_hundred_evaluations(api_session: ApiSession, resource_manager: ResourceManager) -> None:
    for _ in range(100):
        eval_id = submit_evaluation(api_session, code="print('load')")
        resource_manager.track_resource("jobs", f"evaluation-job-{eval_id}")
