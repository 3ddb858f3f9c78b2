"""`release`, `hold`, `unhold`, `retry`: a person's word becomes an event that names the right thing."""

from __future__ import annotations

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.resources import make_ref
from cleanup_scheduler_cli.people import whoami

from tests.cli.conftest import Command
from tests.cli.world import JOB, POD, RUN, TEST, Teller

OTHER = make_ref("demo", "crucible", "jobs", "evaluation-job-2")


def status_of(command: Command, name: str = "job/evaluation-job-1") -> tuple[str, str]:
    story = command("explain", name, "--json").json[0]
    return story["resource"]["status"], story["rule"]


def test_a_release_of_a_preserved_job_makes_it_due_and_says_who_and_why(
    tell: Teller, command: Command
) -> None:
    tell.run().scope(JOB, outcome="failed")
    answer = command("release", "job/evaluation-job-1", "--why", "seen enough", "--level", "all")
    assert (answer.code, answer.out) == (0, "job/evaluation-job-1: released\n")
    (event,) = tell.told(e.ReleaseRequested)
    assert event.payload == e.ReleaseRequested(who=whoami(), why="seen enough", resource=JOB, level="all")
    assert (event.run_id, event.scope_id) == (RUN, "scope")
    assert status_of(command) == ("due", "release")
    assert "no worker is alive" in answer.err


@pytest.mark.parametrize(
    "target", [["jobs", "evaluation-job-1"], ["uid-1"], [TEST], [RUN], ["last"], [RUN[:8]]]
)
def test_a_release_finds_its_target_by_every_name(target: list[str], tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="failed").say(e.ResourceObserved(resource=JOB, uid="uid-1"))
    assert command("release", *target).code == 0
    assert status_of(command) == ("due", "release")


def test_a_release_of_a_run_releases_every_test_that_has_something_left(
    tell: Teller, command: Command
) -> None:
    tell.run().scope(JOB, outcome="failed").scope(OTHER, outcome="failed", scope_id="scope-2", test="b")
    tell.scope(outcome="failed", scope_id="scope-3", test="tracked nothing")
    command("release", RUN)
    assert {event.scope_id for event in tell.told(e.ReleaseRequested)} == {"scope", "scope-2"}


def test_a_release_of_something_gone_says_so_and_appends_nothing(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed").gone(JOB, "uid-1")
    answer = command("release", "job/evaluation-job-1")
    assert (answer.code, answer.out) == (0, "job/evaluation-job-1: nothing of it is left\n")
    assert tell.told(e.ReleaseRequested) == []


def test_a_word_about_a_pod_goes_to_the_job_it_was_found_through(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed").say(e.ResourceObserved(resource=POD, uid="p1", owner=JOB))
    tell.say(e.DeletionRequested(resource=POD, uid="p1", rule="passed", owner=JOB))
    tell.say(e.DeletionGivenUp(resource=POD, uid="p1", owner=JOB, attempts=8, diagnosis="a finalizer"))
    assert command("retry", "pod/evaluation-job-1-x7k").code == 0
    (event,) = tell.told(e.ReleaseRequested)
    assert isinstance(event.payload, e.ReleaseRequested)
    assert event.payload.resource == JOB
    assert command("report").code == 0  # no dead letter any more


@pytest.mark.parametrize("target", ["job/evaluation-job-1", TEST, RUN])
def test_a_retry_names_only_what_failed(target: str, tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, OTHER, outcome="passed").given_up()
    answer = command("retry", target, "--why", "the webhook is well again")
    assert answer.out.endswith(": 1 to be tried again\n")
    (event,) = tell.told(e.ReleaseRequested)
    assert event.payload == e.ReleaseRequested(who=whoami(), why="the webhook is well again", resource=JOB)


def test_a_retry_of_what_did_not_fail_says_so(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="failed")
    answer = command("retry", "job/evaluation-job-1")
    assert (answer.code, answer.out) == (0, "job/evaluation-job-1: nothing of it failed\n")


@pytest.mark.parametrize("target", ["job/evaluation-job-1", TEST, RUN])
def test_a_hold_keeps_until_it_is_lifted(target: str, tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed")
    command("hold", target, "--why", "looking")
    assert status_of(command) == ("kept", "hold")
    assert "looking" in command("report", "last").out
    answer = command("unhold", target)
    assert answer.out.endswith(": no longer held\n")
    assert status_of(command) == ("due", "passed")


def test_a_hold_on_a_run_is_one_event_about_the_run(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed").scope(OTHER, outcome="passed", scope_id="scope-2", test="b")
    command("hold", RUN)
    assert [event.scope_id for event in tell.told(e.HoldRequested)] == [""]


def test_a_hold_is_lifted_by_the_name_it_was_put_on(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed")
    command("hold", RUN)
    answer = command("unhold", "job/evaluation-job-1")
    assert answer.code == 2
    assert "held through its run" in answer.err
    assert status_of(command) == ("kept", "hold")


def test_lifting_a_hold_that_is_not_there_appends_nothing(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed")
    assert command("unhold", "job/evaluation-job-1").out.endswith(": not held\n")
    assert tell.told(e.HoldLifted) == []


def test_a_release_of_something_held_says_that_the_hold_is_stronger(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="failed")
    command("hold", "job/evaluation-job-1")
    assert "nothing happens until `cleanup-cli unhold`" in command("release", "job/evaluation-job-1").err


def test_an_ambiguous_name_lists_the_candidates_and_appends_nothing(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="failed").say(e.ResourceObserved(resource=JOB, uid="uid-a"))
    tell.scope(JOB, outcome="failed", scope_id="scope-2").say(
        e.ResourceObserved(resource=JOB, uid="uid-b"), scope_id="scope-2"
    )
    answer = command("release", "job/evaluation-job-1")
    assert answer.code == 2
    assert "uid-a" in answer.err
    assert "uid-b" in answer.err
    assert answer.err.count("\n") == 1
    assert tell.told(e.ReleaseRequested) == []
    assert command("release", "uid-b").code == 0
    assert [event.scope_id for event in tell.told(e.ReleaseRequested)] == ["scope-2"]
