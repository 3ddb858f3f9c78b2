"""Tests of an evaluation platform: each starts Jobs through its service and tracks them by name."""

import pytest
from cleanup_scheduler.testing.evaluation import submit_evaluation, wait_for_evaluation


def test_hello(api_session, resource_manager):
    eval_id = submit_evaluation(api_session, code="print('hello from the evaluation')")
    resource_manager.track_resource("jobs", f"evaluation-job-{eval_id}")
    assert wait_for_evaluation(api_session, eval_id).exit_code == 0


def test_still_running(api_session, resource_manager):
    # ends before its evaluation does: the Job must neither go on nor start a new pod
    eval_id = submit_evaluation(
        api_session, code="import time; print('thinking', flush=True); time.sleep(600)"
    )
    resource_manager.track_resource("jobs", f"evaluation-job-{eval_id}")
    wait_for_evaluation(api_session, eval_id, status="running")


@pytest.mark.resource_cleanup("all")
def test_load(api_session, resource_manager):
    for number in range(3):
        eval_id = submit_evaluation(api_session, code=f"print({number} ** 2)")
        resource_manager.track_resource("jobs", f"evaluation-job-{eval_id}")


def test_wrong_answer(api_session, resource_manager):
    eval_id = submit_evaluation(api_session, code="print('6 * 7 =', 6 * 9); raise SystemExit('wrong answer')")
    resource_manager.track_resource("jobs", f"evaluation-job-{eval_id}")
    assert wait_for_evaluation(api_session, eval_id).exit_code == 0
