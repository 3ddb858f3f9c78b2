"""Reports: every tracked resource stands in exactly one place, with the rule and the reason."""

from __future__ import annotations

import msgspec
import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.policy import PolicyRules
from cleanup_scheduler.domain.resources import LEVELS, Level, Outcome, make_ref
from cleanup_scheduler.reports import Counts, RunReport, StateSource, explain, report_run, summarise
from cleanup_scheduler.reports.model import STANDINGS
from cleanup_scheduler.reports.runs import walk

from tests.unit.domain_world import JOB, POD, START, History, at

RULES = PolicyRules()
OTHER = make_ref("test", "crucible", "jobs", "evaluation-job-2")


def opened(level: Level = "pods", *, test: str = "t") -> History:
    return (
        History()
        .about_run(
            e.RunStarted(name="pytest", mode="pytest", cluster="test", namespace="crucible", host="h", pid=7)
        )
        .say(e.ScopeOpened(test_id=test, level=level, level_source="option"))
        .say(e.ResourceTracked(resource=JOB))
    )


def report(history: History, *, seconds: float = 10, namespace: str | None = None) -> RunReport:
    return report_run(
        history.run, list(history.state.scopes.values()), RULES, at(seconds), namespace=namespace
    )


def only(found: RunReport) -> tuple[str, str, str]:
    resource = found.scopes[0].resources[0]
    return resource.standing, resource.rule, resource.reason


def test_what_was_tracked_by_a_running_test_waits_for_its_end() -> None:
    assert only(report(opened())) == ("waiting", "scope-open", "its test has not ended")


def test_a_passed_test_whose_turn_has_not_come_is_due() -> None:
    assert only(report(opened().say(e.OutcomeRecorded(outcome="passed"))))[:2] == ("due", "passed")


def test_a_failed_test_is_preserved_until_its_retention_is_over() -> None:
    history = opened().say(e.OutcomeRecorded(outcome="failed"), seconds=5)
    found = report(history).scopes[0].resources[0]
    assert (found.standing, found.rule, found.until) == ("preserved", "failed-preserved", at(5 + 86400))


def test_what_was_preserved_long_enough_is_due_before_any_worker_said_so() -> None:
    history = opened().say(e.OutcomeRecorded(outcome="failed"), seconds=5)
    history.say(e.ResourcePreserved(resource=JOB, until=at(86405), rule="failed-preserved"))
    assert only(report(history, seconds=86400 + 6))[:2] == ("due", "preserve-expired")


def test_a_hold_shows_who_holds_and_why_and_its_lifting_makes_it_due_again() -> None:
    history = opened().say(e.OutcomeRecorded(outcome="passed"))
    history.say(e.HoldRequested(who="ada@lab", why="looking", resource=JOB))
    history.say(e.ResourceKept(resource=JOB, rule="hold", reason="held by ada@lab: looking"))
    assert only(report(history)) == ("kept", "hold", "held by ada@lab: looking")
    history.say(e.HoldLifted(who="ada@lab", resource=JOB))
    assert only(report(history))[0] == "due"


def test_pods_found_through_a_job_stand_under_it_and_are_summed_apart() -> None:
    history = opened().say(e.OutcomeRecorded(outcome="passed"))
    history.say(e.ResourceObserved(resource=POD, uid="p1", owner=JOB))
    history.say(e.DeletionRequested(resource=POD, uid="p1", rule="passed", owner=JOB))
    history.say(e.ResourceGone(resource=POD, uid="p1", how="deleted", owner=JOB))
    history.say(e.ResourceKept(resource=JOB, rule="level-pods", reason="level pods frees pods"))
    found = report(history)
    job = found.scopes[0].resources[0]
    assert [(part.short, part.standing, part.reason) for part in job.found] == [
        ("pod/evaluation-job-1-x7k", "gone", "deleted")
    ]
    assert (found.tracked.total, found.tracked.kept, found.found.gone) == (1, 1, 1)


def test_a_pod_of_a_preserved_job_is_preserved_with_it() -> None:
    history = opened().say(e.OutcomeRecorded(outcome="failed"))
    history.say(e.ResourceObserved(resource=POD, uid="p1", owner=JOB))
    assert report(history).found.preserved == 1


def test_a_pod_of_a_released_job_is_due_with_it() -> None:
    history = opened().say(e.OutcomeRecorded(outcome="failed"))
    history.say(e.ResourceObserved(resource=POD, uid="p1", owner=JOB))
    history.say(e.ReleaseRequested(who="ada", resource=JOB))
    assert (report(history).tracked.due, report(history).found.due) == (1, 1)


def test_two_objects_of_one_name_are_both_counted_and_the_pod_is_listed_once() -> None:
    history = opened("all").say(e.ResourceObserved(resource=JOB, uid="a"))
    history.say(e.ResourceGone(resource=JOB, uid="a", how="deleted"))
    history.say(e.ResourceTracked(resource=JOB)).say(e.ResourceObserved(resource=JOB, uid="b"))
    history.say(e.ResourceObserved(resource=POD, uid="p1", owner=JOB))
    found = report(history)
    assert (found.tracked.total, found.tracked.gone, found.found.total) == (2, 1, 1)
    assert [part.short for r in found.scopes[0].resources for part in r.found] == [POD.short]


def test_an_orphan_is_counted_apart_from_what_was_tracked() -> None:
    history = opened().about_run(e.RunAbandoned(last_heartbeat=START))
    history.say(e.OrphanFound(resource=OTHER, uid="o1", rule="window", likely_test="t"))
    found = report(history, seconds=3600)
    assert (found.tracked.total, found.orphans.total, found.condition) == (1, 1, "died")


@pytest.mark.parametrize("seconds", [0, 700, 90000])
def test_the_sums_add_up_to_what_the_events_say_was_tracked(seconds: float) -> None:
    history = History().about_run(
        e.RunStarted(name="pytest", mode="pytest", cluster="test", namespace="crucible")
    )
    outcomes: list[Outcome] = ["passed", "failed", "skipped", "interrupted"]
    for number in range(24):
        scope_id = f"scope-{number}"
        ref = make_ref("test", "crucible", "jobs", f"job-{number}")
        level: Level = LEVELS[number % 3]
        history.say(e.ScopeOpened(test_id=f"t{number}", level=level, level_source="o"), scope_id=scope_id)
        history.say(e.ResourceTracked(resource=ref), scope_id=scope_id)
        if number % 5:
            history.say(e.OutcomeRecorded(outcome=outcomes[number % 4]), scope_id=scope_id)
        if number % 7 == 0:
            history.say(
                e.DeletionGivenUp(resource=ref, attempts=8, diagnosis="a finalizer"), scope_id=scope_id
            )
    found = report(history, seconds=seconds)
    tracked = {
        event.payload.resource for event in history.events if isinstance(event.payload, e.ResourceTracked)
    }
    assert found.tracked.total == len(tracked)
    assert sum(found.tracked.of(standing) for standing in STANDINGS) == len(tracked)
    summary = summarise([found], at=at(seconds), ledger="memory")
    assert [letter.resource.short for letter in summary.dead_letters] == [
        f"job/job-{number}" for number in (0, 7, 14, 21)
    ]


def test_a_report_that_loses_a_resource_is_refused() -> None:
    counts = Counts(total=2)
    counts.count("gone")
    with pytest.raises(AssertionError, match="2 tracked, 1 accounted for"):
        counts.check("run x")


def test_a_namespace_narrows_the_report_and_its_sums() -> None:
    elsewhere = make_ref("test", "other", "jobs", "evaluation-job-9")
    history = opened().say(e.ResourceTracked(resource=elsewhere))
    assert report(history, namespace="other").tracked.total == 1
    assert report(history).tracked.total == 2


def test_a_report_survives_json_and_comes_back_equal() -> None:
    found = report(opened().say(e.OutcomeRecorded(outcome="failed")))
    assert msgspec.json.decode(msgspec.json.encode(found), type=RunReport) == found
    assert msgspec.to_builtins(found)["scopes"][0]["resources"][0]["status"] == "preserved"


def test_a_silent_run_is_told_apart_from_a_running_one_by_its_heartbeat() -> None:
    history = opened()
    conditions = [
        report_run(history.run, [], RULES, at(1), alive=alive).condition for alive in ({"run"}, set())
    ]
    assert conditions == ["running", "silent"]


def test_every_event_type_has_a_sentence_of_its_own() -> None:
    from cleanup_scheduler.reports.sentences import sentence

    samples = {
        "resource": JOB, "uid": "u", "who": "ada", "rule": "r", "how": "deleted", "until": START,
        "attempts": 1, "attempt": 1, "error": "x", "retry_at": START, "diagnosis": "d",
        "last_heartbeat": START, "name": "n", "mode": "m", "cluster": "c", "namespace": "n", "test_id": "t",
        "level": "pods", "level_source": "s", "older_than": START, "runs": 2, "ranges": [],
        "outcome": "passed", "container": "c", "ttl_seconds": 60,
    }  # fmt: skip
    for name, kind in e.EVENT_TYPES.items():
        required = {f.name: samples[f.name] for f in msgspec.structs.fields(kind) if f.required}
        said = sentence(kind(**required))
        assert said != name, name
        assert " " in said, name


def test_explaining_tells_the_story_of_this_resource_only_and_the_decision_now() -> None:
    history = opened().say(e.ResourceTracked(resource=OTHER))
    history.say(e.ResourceObserved(resource=POD, uid="p1", owner=JOB))
    history.say(e.OutcomeRecorded(outcome="failed"))
    story = explain(history.events, history.run, history.scope, history.resource(), RULES, at(1))
    assert (story.action, story.rule) == ("preserve", "failed-preserved")
    told = [moment.what for moment in story.timeline]
    assert [moment.type for moment in story.timeline] == [
        "RunStarted", "ScopeOpened", "ResourceTracked", "ResourceObserved", "OutcomeRecorded",
    ]  # fmt: skip
    assert not any("evaluation-job-2" in what for what in told)


def test_walking_meets_every_resource_once() -> None:
    history = opened().say(e.ResourceObserved(resource=POD, uid="p1", owner=JOB))
    found = report(history)
    assert [r.short for r in walk(found.scopes[0].resources)] == [JOB.short, POD.short]


def test_runs_come_newest_first_and_can_be_cut_by_their_start() -> None:
    history = opened()
    history.say(
        e.RunStarted(name="later", mode="pytest", cluster="c", namespace="n"),
        seconds=60,
        run_id="r2",
        scope_id="",
    )
    source = StateSource(history.state)
    assert [run.run_id for run in source.all_runs()] == ["r2", "run"]
    assert [run.run_id for run in source.all_runs(since=at(30))] == ["r2"]
