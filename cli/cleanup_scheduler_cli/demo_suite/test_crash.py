"""A run that never comes to its end: the demo kills it with -9 while its evaluations run."""

import time

from cleanup_scheduler.testing.evaluation import submit_evaluation, wait_for_evaluation

LONG = "import time; print('working', flush=True); time.sleep(600)"


def test_killed_half_way(api_session, resource_manager):
    for _ in range(2):
        eval_id = submit_evaluation(api_session, code=LONG)
        resource_manager.track_resource("jobs", f"evaluation-job-{eval_id}")
        wait_for_evaluation(api_session, eval_id, status="running")
        print(f"running and tracked: job/evaluation-job-{eval_id}", flush=True)
    eval_id = submit_evaluation(api_session, code=LONG)
    wait_for_evaluation(api_session, eval_id, status="running")
    print(f"running, not yet tracked: job/evaluation-job-{eval_id}", flush=True)
    time.sleep(600)
