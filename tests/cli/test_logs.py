"""`logs job/x` reads as kubectl's does, after the pods are gone."""

from __future__ import annotations

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.resources import make_ref

from tests.cli.conftest import Command
from tests.cli.world import JOB, POD, Teller

POD_2 = make_ref("demo", "crucible", "pods", "evaluation-job-1-zzz")


def test_the_log_of_a_job_whose_pods_are_gone_comes_byte_by_byte(tell: Teller, command: Command) -> None:
    body = b"first\n\x1b[31mred\x1b[0m\n\xff\xfe not text\nlast without a line's end"
    tell.run().scope(JOB, outcome="passed").log(body).gone(POD, "pod-uid", owner=JOB)
    answer = command("logs", "job/evaluation-job-1")
    assert (answer.code, answer.raw, answer.err) == (0, body + b"\n", "")
    assert command("logs", "jobs", "evaluation-job-1").raw == answer.raw
    assert command("logs", "pod/evaluation-job-1-x7k").raw == answer.raw


def test_lines_of_several_pods_carry_their_origin(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed").log(b"a\nb\n").log(b"c\n", pod=POD_2, uid="p2")
    assert command("logs", "job/evaluation-job-1").out.splitlines() == [
        "[pod/evaluation-job-1-x7k/main] a",
        "[pod/evaluation-job-1-x7k/main] b",
        "[pod/evaluation-job-1-zzz/main] c",
    ]


def test_one_container_is_shown_and_the_others_are_named(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed").log(b"a\n").log(b"b\n", container="sidecar")
    answer = command("logs", "job/evaluation-job-1")
    assert answer.out == "a\n"
    assert "there are also sidecar" in answer.err
    assert command("logs", "job/evaluation-job-1", "-c", "sidecar").out == "b\n"
    assert len(command("logs", "job/evaluation-job-1", "--all-containers").out.splitlines()) == 2


def test_an_unknown_container_names_those_that_are_there(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed").log(b"a\n")
    answer = command("logs", "job/evaluation-job-1", "-c", "nope")
    assert (answer.code, "it has: main" in answer.err) == (2, True)


STAMPED = b"2020-01-01T00:00:00.123456789Z old\n2999-01-01T00:00:00.123456789Z new\n"


def test_times_are_taken_off_kept_or_used_as_kubectl_does(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed").log(STAMPED)
    assert command("logs", "job/evaluation-job-1").out == "old\nnew\n"
    assert command("logs", "job/evaluation-job-1", "--timestamps").raw == STAMPED
    assert command("logs", "job/evaluation-job-1", "--since", "1h").out == "new\n"


def test_the_last_lines_of_each_container_are_shown(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed").log(b"a\nb\nc").log(b"d\n", pod=POD_2, uid="p2")
    assert command("logs", "job/evaluation-job-1", "--tail", "2").out.splitlines() == [
        "[pod/evaluation-job-1-x7k/main] b",
        "[pod/evaluation-job-1-x7k/main] c",
        "[pod/evaluation-job-1-zzz/main] d",
    ]
    assert command("logs", "job/evaluation-job-1", "--tail", "0").raw == b""
    assert len(command("logs", "job/evaluation-job-1", "--tail=-1").out.splitlines()) == 4
    refused = command("logs", "job/evaluation-job-1", "--tail", "-2")
    assert (refused.code, refused.err.count("\n")) == (2, 1)


def test_the_last_lines_are_those_of_the_lines_since_then(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed").log(STAMPED)
    assert command("logs", "job/evaluation-job-1", "--since", "1h", "--tail", "2").out == "new\n"


def test_the_origin_of_the_lines_of_a_single_container_is_shown_on_request(
    tell: Teller, command: Command
) -> None:
    tell.run().scope(JOB, outcome="passed").log(b"a\n")
    assert command("logs", "job/evaluation-job-1", "--prefix").out == "[pod/evaluation-job-1-x7k/main] a\n"


def test_a_log_without_times_cannot_be_cut_by_time(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed").log(b"plain\n")
    assert command("logs", "job/evaluation-job-1", "--since", "1h").code == 2


def test_a_missing_log_says_why(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed").say(e.ResourceObserved(resource=POD, uid="p", owner=JOB))
    missing = e.LogsArchived(
        resource=POD, uid="p", owner=JOB, container="main", missing="the container never started"
    )
    tell.say(missing)
    answer = command("logs", "job/evaluation-job-1")
    assert (answer.code, answer.out) == (1, "")
    assert "the container never started" in answer.err


@pytest.mark.parametrize("seen", [True, False])
def test_a_log_that_nobody_archived_yet_points_to_kubectl(seen: bool, tell: Teller, command: Command) -> None:  # noqa: FBT001
    tell.run().scope(JOB)
    if seen:
        tell.say(e.ResourceObserved(resource=POD, uid="p", owner=JOB))
    answer = command("logs", "job/evaluation-job-1")
    assert answer.code == 1
    assert "kubectl logs job/evaluation-job-1 -n crucible" in answer.err


def test_the_newest_use_of_a_name_is_shown_and_said(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed").log(b"first\n")
    tell.scope(JOB, outcome="passed", scope_id="scope-2")
    tell.say(e.ResourceObserved(resource=JOB, uid="j2"), scope_id="scope-2")
    answer = command("logs", "job/evaluation-job-1")
    assert "was used 2 times" in answer.err
