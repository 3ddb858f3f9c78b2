"""An example suite, written as users write theirs: it submits to a platform and tracks Jobs by name."""

from __future__ import annotations

import pytest
from cleanup_scheduler.testing.evaluation import ApiSession, submit_evaluation, wait_for_evaluation

from tests.utils.evaluations import needs_evaluations
from tests.utils.resource_manager import ResourceManager, managed_test_resources, with_resource_cleanup

pytestmark = [needs_evaluations, pytest.mark.timeout(300)]


def test_evaluation(api_session: ApiSession, resource_manager: ResourceManager) -> None:
    eval_id = submit_evaluation(api_session, code="print('test')")

    resource_manager.track_resource("jobs", f"evaluation-job-{eval_id}")

    assert wait_for_evaluation(api_session, eval_id).output == "test\n"


@with_resource_cleanup(cleanup_level="pods", wait_after=5)
def test_concurrent_evaluations(api_session: ApiSession, resource_manager: ResourceManager) -> None:
    eval_ids = [submit_evaluation(api_session, code=f"print({number})") for number in range(3)]
    for eval_id in eval_ids:
        resource_manager.track_resource("jobs", f"evaluation-job-{eval_id}")

    assert [wait_for_evaluation(api_session, eval_id).output for eval_id in eval_ids] == ["0\n", "1\n", "2\n"]


def test_with_context(api_session: ApiSession) -> None:
    with managed_test_resources("my_test", cleanup_level="all") as resource_manager:
        eval_id = submit_evaluation(api_session, code="print('in a block')")
        resource_manager.track_resource("jobs", f"evaluation-job-{eval_id}")
        wait_for_evaluation(api_session, eval_id)


def test_an_evaluation_that_still_runs_when_its_test_is_done(
    api_session: ApiSession, resource_manager: ResourceManager
) -> None:
    eval_id = submit_evaluation(
        api_session, code="import time; print('begun', flush=True); time.sleep(600)", backoff_limit=3
    )
    resource_manager.track_resource("jobs", f"evaluation-job-{eval_id}")

    wait_for_evaluation(api_session, eval_id, status="running")
