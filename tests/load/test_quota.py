"""An example for a cluster with a quota: full, evaluations are refused; cleaned, there is room again."""

from __future__ import annotations

import os
import time

import pytest
from cleanup_scheduler.testing.evaluation import ApiSession, EvaluationRefused, submit_evaluation

from tests.utils.evaluations import needs_evaluations
from tests.utils.resource_manager import ResourceManager

_PODS = os.environ.get("EVALUATION_QUOTA_PODS", "")
_ROOM_SECONDS = 60.0  # the quota's count lags behind the pods that go
pytestmark = [
    needs_evaluations,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not _PODS, reason="EVALUATION_QUOTA_PODS does not say how many pods the quota allows"),
]


def submit(api_session: ApiSession, resource_manager: ResourceManager) -> None:
    eval_id = submit_evaluation(api_session, code="import time; time.sleep(600)")
    resource_manager.track_resource("jobs", f"evaluation-job-{eval_id}")


def fill(api_session: ApiSession, resource_manager: ResourceManager) -> None:
    """Submit until the platform refuses for lack of room."""

    def submit_on_and_on() -> None:
        deadline = time.monotonic() + _ROOM_SECONDS
        while time.monotonic() < deadline:  # the quota counts a Job's pod a moment after the Job was taken
            submit(api_session, resource_manager)

    with pytest.raises(EvaluationRefused, match="exceeded quota") as refused:
        submit_on_and_on()
    assert refused.value.status == 429


def test_a_full_quota_is_freed_by_cleaning(
    api_session: ApiSession, resource_manager: ResourceManager
) -> None:
    fill(api_session, resource_manager)
    with pytest.raises(EvaluationRefused, match="evaluation-quota"):
        submit(api_session, resource_manager)

    resource_manager.cleanup(wait_after=_ROOM_SECONDS)

    deadline = time.monotonic() + _ROOM_SECONDS
    while True:
        try:
            submit(api_session, resource_manager)
            return
        except EvaluationRefused:
            assert time.monotonic() < deadline, "no room after cleaning"


def test_the_next_test_finds_room(api_session: ApiSession, resource_manager: ResourceManager) -> None:
    fill(api_session, resource_manager)
