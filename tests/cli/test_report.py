"""`report`, `runs`, `explain` and `status` on a ledger with a history."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
import yaml
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.resources import make_ref

from tests.cli.conftest import Command
from tests.cli.world import JOB, NOW, POD, RUN, TEST, Teller


def finished(tell: Teller) -> Teller:
    """One test that passed and was cleaned, one that failed."""
    tell.run().scope(JOB, outcome="passed").gone(POD, "p1", owner=JOB)
    tell.say(
        e.ResourceKept(resource=JOB, rule="level-pods", reason="level pods frees pods and keeps the rest")
    )
    failed = make_ref("demo", "crucible", "jobs", "evaluation-job-2")
    tell.scope(failed, outcome="failed", scope_id="scope-2", test="tests/test_a.py::test_fails")
    return tell.say(e.RunFinished(exit_code=1), scope_id="")


def test_the_report_sums_up_what_was_tracked_and_shows_what_is_preserved(
    tell: Teller, command: Command
) -> None:
    finished(tell)
    answer = command("report")
    assert answer.code == 0
    assert "2 tracked by tests: 1 kept, 1 preserved" in answer.out
    assert "1 found through those (pods): 1 gone" in answer.out
    assert "cleanup-cli logs job/evaluation-job-2" in answer.out
    assert "cleanup-cli release job/evaluation-job-2" in answer.out


def test_a_run_s_report_says_of_each_resource_why_it_stands_where_it_stands(
    tell: Teller, command: Command
) -> None:
    finished(tell)
    answer = command("report", "last")
    assert "level pods frees pods and keeps the rest [level-pods]" in answer.out
    assert "its test failed; kept for somebody to look at [failed-preserved]" in answer.out
    assert "finished with exit code 1" in answer.out
    assert command("report", RUN[:8]).out == answer.out


def test_dead_letters_come_first_with_their_diagnosis_and_the_exit_code_says_so(
    tell: Teller, command: Command
) -> None:
    tell.run().scope(JOB, outcome="passed").given_up()
    answer = command("report")
    assert answer.code == 1
    first = answer.out.splitlines()[:4]
    assert first[0].startswith("GIVEN UP (1)")
    assert "a finalizer of acme.example" in first[2]
    assert "cleanup-cli retry uid-1" in first[3]


def test_the_report_says_what_a_preserved_thing_still_holds(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="failed")
    tell.say(e.ResourcePreserved(resource=JOB, until=NOW + timedelta(hours=24), rule="failed-preserved"))
    tell.say(
        e.ResourceSecured(
            resource=JOB,
            ttl_seconds=60,
            running_pods=2,
            cpu_millicores=1500,
            memory_bytes=256 * 1024**2,
            problem="the cluster was deleting it already",
        )
    )
    assert "takes up 2 pods, 1500m CPU, 256Mi memory" in command("report").out
    detail = command("report", "last").out
    assert "holds 2 pods, 1500m CPU, 256Mi memory" in detail
    assert "may go before that: the cluster was deleting it already" in detail
    told = command("report", "--json").json
    assert told["occupied"]["cpu_millicores"] == 1500
    resource = told["runs"][0]["scopes"][0]["resources"][0]
    assert (resource["occupied"]["running_pods"], resource["lifted_ttl_seconds"]) == (2, 60)
    [row] = csv.DictReader(io.StringIO(command("report", "-o", "csv").out))
    assert (row["running_pods"], row["memory_bytes"]) == ("2", str(256 * 1024**2))
    tell.say(e.ReleaseRequested(who="ada", resource=JOB))
    assert "running_pods" not in command("report", "--json").json["occupied"]


def test_json_and_yaml_hold_the_same_whole_report(tell: Teller, command: Command) -> None:
    finished(tell)
    answer = command("report", "--json")
    assert answer.json["tracked"]["total"] == 2
    statuses = [r["status"] for scope in answer.json["runs"][0]["scopes"] for r in scope["resources"]]
    assert statuses == ["kept", "preserved"]
    other = yaml.safe_load(command("report", "-o", "yaml").out)
    assert {**other, "at": ""} == {**answer.json, "at": ""}


def test_csv_has_a_line_per_resource_and_name_one_word_each(tell: Teller, command: Command) -> None:
    finished(tell)
    rows = list(csv.DictReader(io.StringIO(command("report", "-o", "csv").out)))
    assert [(row["kind"], row["origin"], row["status"]) for row in rows] == [
        ("jobs.batch", "tracked", "kept"),
        ("pods", "found", "gone"),
        ("jobs.batch", "tracked", "preserved"),
    ]
    assert command("report", "-o", "name").out.split() == ["job/evaluation-job-1", "job/evaluation-job-2"]


def test_wide_shows_the_pods_too(tell: Teller, command: Command) -> None:
    finished(tell)
    assert "pod/evaluation-job-1-x7k" in command("report", "-o", "wide").out
    assert "pod/evaluation-job-1-x7k" not in command("report").out


def test_since_leaves_older_runs_out(tell: Teller, command: Command) -> None:
    tell.run(ago_seconds=7200).run("0190bbbb" + RUN[8:], ago_seconds=60)
    assert [run["run_id"] for run in command("report", "--json", "--since", "1h").json["runs"]] == [
        "0190bbbb" + RUN[8:]
    ]
    assert len(command("runs", "--json").json) == 2


def test_a_namespace_narrows_the_report(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, make_ref("demo", "other", "jobs", "x"), outcome="passed")
    assert command("report", "-n", "other", "--json").json["tracked"]["total"] == 1


@pytest.mark.parametrize("form", ["report", "runs"])
def test_an_empty_ledger_is_no_error(form: str, command: Command) -> None:
    answer = command(form)
    assert answer.code == 0


def test_runs_tells_the_living_from_the_silent_and_the_dead(tell: Teller, command: Command) -> None:
    tell.run()
    assert command("runs", "--json").json[0]["condition"] == "silent"
    tell.ledger.beat("run", RUN, lease_seconds=60)
    assert command("runs", "--json").json[0]["condition"] == "running"
    tell.say(e.RunAbandoned(last_heartbeat=NOW), scope_id="")
    assert command("runs", "--json").json[0]["condition"] == "died"


def test_explain_tells_the_story_and_the_decision_of_now(tell: Teller, command: Command) -> None:
    finished(tell)
    answer = command("explain", "job/evaluation-job-2")
    assert answer.code == 0
    assert "the test failed" in answer.out
    assert "it is preserved until" in answer.out
    assert "evaluation-job-1" not in answer.out
    story = command("explain", "jobs", "evaluation-job-1", "--json").json[0]
    assert story["action"] == "done"
    assert story["timeline"][-1]["type"] == "RunFinished"


def test_explain_of_a_test_explains_what_it_tracked(tell: Teller, command: Command) -> None:
    finished(tell)
    assert "job/evaluation-job-1 in namespace crucible: kept" in command("explain", TEST).out


def test_status_complains_when_something_is_due_and_nobody_is_alive(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="passed")
    answer = command("status")
    assert answer.code == 1
    assert "1 due now: job/evaluation-job-1" in answer.out
    assert "cleanup-scheduler run --once" in answer.err
    tell.ledger.beat("worker", "w1", lease_seconds=60, info="demo")
    answer = command("status", "--json")
    assert (answer.code, answer.json["workers"][0]["info"]) == (0, "demo")


def test_status_says_what_each_living_worker_is_doing(tell: Teller, command: Command) -> None:
    tell.ledger.beat("worker", "w1", lease_seconds=60, info="demo", doing="w1 works \x1b[31mhard")
    tell.ledger.beat("worker", "w2", lease_seconds=-1, info="demo", doing="w2 worked")
    answer = command("status")
    assert "w1 works" in answer.out
    assert "\x1b" not in answer.out
    assert "w2 worked" not in answer.out, "what a dead worker did is not what it does"
    doing = {one["id"]: one["doing"] for one in command("status", "--json").json["workers"]}
    assert doing["w1"].startswith("w1 works")


def test_status_says_when_something_will_be_due_by_itself(tell: Teller, command: Command) -> None:
    tell.run().scope(JOB, outcome="failed")
    assert "next by itself" in command("status").out


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_hostile_test_name_cannot_reach_the_terminal(form: str, tell: Teller, command: Command) -> None:
    hostile = "t.py::[bold red]x[/]\x1b]0;owned\x07\x9b2J\u202e\r\n::evil"
    tell.run().scope(JOB, outcome="failed", test=hostile)
    out = command("report", "last", "-o", form).out
    assert not any(char in out for char in "\x1b\x07\x9b\u202e\r")
    assert "[bold red]x[/]" in out
