"""A suite with a failing test; its file name keeps it out of every run that does not name it."""

from __future__ import annotations

import pytest
from cleanup_scheduler.testing.evaluation import ApiSession, submit_evaluation, wait_for_evaluation

from tests.utils.evaluations import api_session
from tests.utils.resource_manager import ResourceManager, managed_test_resources, with_resource_cleanup

__all__ = ["api_session"]
pytestmark = pytest.mark.timeout(300)


def submitted(session: ApiSession, resource_manager: ResourceManager, words: str) -> None:
    eval_id = submit_evaluation(session, code=f"print({words!r})")
    resource_manager.track_resource("jobs", f"evaluation-job-{eval_id}")
    wait_for_evaluation(session, eval_id)


def test_fails(api_session: ApiSession, resource_manager: ResourceManager) -> None:
    submitted(api_session, resource_manager, "evidence")
    raise AssertionError("on purpose")


@with_resource_cleanup(cleanup_level="all", force=True)
def test_fails_forced(api_session: ApiSession, resource_manager: ResourceManager) -> None:
    submitted(api_session, resource_manager, "forced")
    raise AssertionError("on purpose")


def test_block_fails_forced(api_session: ApiSession) -> None:
    with managed_test_resources("forced_block", cleanup_level="all", force=True) as resource_manager:
        submitted(api_session, resource_manager, "forced block")
        raise AssertionError("on purpose")


def test_passes(api_session: ApiSession, resource_manager: ResourceManager) -> None:
    submitted(api_session, resource_manager, "passed")
