"""The policy table as it is written in the architecture, row by row, and who may overrule it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.policy import Decision, PolicyRules, Veto, decide, guard, next_due
from cleanup_scheduler.domain.resources import LEVELS, Level, Outcome, make_ref
from cleanup_scheduler.domain.state import Resource

from tests.unit.domain_world import JOB, POD, History, at, seen

HOUR = 3600.0
RULES = PolicyRules()
CONFIG = make_ref("test", "crucible", "configmaps", "settings")
DEPLOYMENT = make_ref("test", "crucible", "deployments", "api")


def ended(level: Level, outcome: Outcome, *, forced: bool = False) -> History:
    """A test that tracked one of each and ended at second 0."""
    history = History().about_run(e.RunStarted(name="r", mode="pytest", cluster="test", namespace="crucible"))
    history.say(e.ScopeOpened(test_id="t", level=level, level_source="option"), seconds=-10)
    for ref in (JOB, POD, CONFIG, DEPLOYMENT):
        history.say(e.ResourceTracked(resource=ref), seconds=-5)
    if outcome == "unknown":
        return history.about_run(e.RunAbandoned(last_heartbeat=at(0)), seconds=60)
    return history.say(e.OutcomeRecorded(outcome=outcome, forced=forced))


def decision(history: History, seconds: float, resource: Resource | None = None) -> Decision:
    return decide(history.run, history.scope, resource or history.resource(), RULES, at(seconds))


PASSED_LIKE: tuple[Outcome, ...] = ("passed", "skipped", "interrupted")
EVERY_OUTCOME: tuple[Outcome, ...] = (*PASSED_LIKE, "failed", "unknown")


@pytest.mark.parametrize("outcome", EVERY_OUTCOME)
def test_level_none_keeps_everything_whatever_the_outcome(outcome: Outcome) -> None:
    history = ended("none", outcome)
    for seconds in (1, 25 * HOUR):
        assert (decision(history, seconds).action, decision(history, seconds).rule) == ("keep", "level-none")


@pytest.mark.parametrize("level", ["pods", "all"])
@pytest.mark.parametrize("outcome", PASSED_LIKE)
def test_a_test_that_did_not_fail_is_due_at_once_at_its_level(outcome: Outcome, level: Level) -> None:
    found = decision(ended(level, outcome), 0)
    assert (found.action, found.rule, found.level) == ("clean", outcome, level)


@pytest.mark.parametrize("level", ["pods", "all"])
def test_a_failed_test_is_preserved_for_a_day_and_then_due(level: Level) -> None:
    history = ended(level, "failed")
    kept = decision(history, 24 * HOUR - 1)
    assert (kept.action, kept.rule, kept.until) == ("preserve", "failed-preserved", at(24 * HOUR))
    due = decision(history, 24 * HOUR)
    assert (due.action, due.rule, due.level) == ("clean", "preserve-expired", level)


@pytest.mark.parametrize("level", ["pods", "all"])
def test_a_failed_test_that_was_forced_is_due_at_once(level: Level) -> None:
    found = decision(ended(level, "failed", forced=True), 0)
    assert (found.action, found.rule, found.level) == ("clean", "failed-forced", level)


@pytest.mark.parametrize("level", ["pods", "all"])
def test_a_dead_runs_test_is_due_after_the_orphan_grace_from_its_last_heartbeat(level: Level) -> None:
    history = ended(level, "unknown")
    waits = decision(history, 599)
    assert (waits.action, waits.rule, waits.until) == ("wait", "orphan-grace", at(600))
    due = decision(history, 600)
    assert (due.action, due.rule, due.level) == ("clean", "run-abandoned", level)


@pytest.mark.parametrize(
    ("ref", "action"), [(JOB, "clean"), (POD, "clean"), (DEPLOYMENT, "clean"), (CONFIG, "keep")]
)
def test_level_pods_concerns_what_has_pods_and_keeps_the_rest(ref: object, action: str) -> None:
    history = ended("pods", "passed")
    [resource] = [r for r in history.scope.own() if r.ref == ref]
    assert decision(history, 0, resource).action == action


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_is_due_while_the_test_runs(level: Level) -> None:
    history = History().say(e.ScopeOpened(test_id="t", level=level, level_source="option"))
    history.say(e.ResourceTracked(resource=JOB))
    assert decision(history, 1000 * HOUR).rule == "scope-open"


def test_a_run_that_finished_without_saying_an_outcome_is_treated_as_one_that_died() -> None:
    history = History().say(e.ScopeOpened(test_id="t", level="all", level_source="option"))
    history.say(e.ResourceTracked(resource=JOB)).about_run(e.RunFinished(exit_code=0), seconds=10)
    assert decision(history, 609).rule == "orphan-grace"
    assert decision(history, 610).rule == "run-abandoned"


# ---- what people say, and what went wrong ------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("outcome", EVERY_OUTCOME)
def test_a_hold_overrules_every_row(level: Level, outcome: Outcome) -> None:
    history = ended(level, outcome).say(e.HoldRequested(who="ada", why="look", resource=JOB), seconds=1)
    assert decision(history, 1000 * HOUR).rule == "hold"
    assert "ada: look" in decision(history, 1000 * HOUR).reason
    history.say(e.ReleaseRequested(who="bob", resource=JOB), seconds=2)
    assert decision(history, 1000 * HOUR).rule == "hold", "a hold is stronger than a release"


@pytest.mark.parametrize(("level", "released_as"), [("none", "all"), ("pods", "pods"), ("all", "all")])
def test_a_release_makes_it_due_at_the_scopes_level_or_at_all_where_that_would_do_nothing(
    level: Level, released_as: Level
) -> None:
    history = ended(level, "failed").say(e.ReleaseRequested(who="ada", resource=JOB), seconds=1)
    found = decision(history, 2)
    assert (found.action, found.rule, found.level) == ("clean", "release", released_as)


def test_a_failed_attempt_waits_for_its_next_time_and_so_does_what_it_was_found_through() -> None:
    history = ended("pods", "passed").say(e.ResourceObserved(resource=JOB, uid="job-a"))
    pod = make_ref("test", "crucible", "pods", "below")
    history.say(e.ResourceObserved(resource=pod, uid="pod-a", owner=JOB))
    failed = e.DeletionFailed(resource=pod, uid="pod-a", attempt=1, error="500", retry_at=at(30), owner=JOB)
    history.say(failed)
    assert (decision(history, 29).rule, decision(history, 29).until) == ("backoff", at(30))
    assert decision(history, 30).action == "clean"


def test_the_next_moment_to_look_is_when_the_first_thing_becomes_due() -> None:
    def due(history: History, seconds: float) -> datetime | None:
        return next_due(history.run, history.scope, RULES, at(seconds))

    assert due(ended("all", "failed"), 0) == at(24 * HOUR)
    assert due(ended("all", "passed"), 5) == at(5)
    assert due(ended("none", "passed"), 5) is None


# ---- the guard ---------------------------------------------------------------------------------------------


def veto(history: History, **more: object) -> str:
    found = guard(history.run, history.scope, history.resource(), seen(**more), RULES, "mine")  # type: ignore[arg-type]
    return found.rule if found else ""


def test_the_guard_lets_the_tests_own_object_pass() -> None:
    assert veto(ended("all", "passed"), seconds=-3) == ""


@pytest.mark.parametrize("name", ["cleanup-scheduler/preserve", "preserve", "debug"])
def test_the_guard_heeds_annotations_that_preserve(name: str) -> None:
    assert veto(ended("all", "passed"), annotations={name: "true"}) == "protected-annotation"
    assert veto(ended("all", "passed"), annotations={name: "false"}) == ""


def test_the_guard_knows_another_uid_and_another_ledger() -> None:
    history = ended("all", "passed").say(e.ResourceObserved(resource=JOB, uid="uid-a"))
    assert veto(history, uid="uid-b") == "another-uid"
    assert veto(history, labels={"cleanup-scheduler/ledger": "theirs"}) == "other-ledger"
    assert veto(history, labels={"cleanup-scheduler/ledger": "mine"}) == ""


def test_the_guard_refuses_what_is_younger_than_the_test() -> None:
    assert veto(ended("all", "passed"), seconds=1) == "created-after-scope"
    assert veto(ended("all", "passed"), seconds=0) == ""


def test_a_uid_that_was_seen_while_the_test_ran_is_in_time_whatever_the_clusters_clock_says() -> None:
    history = ended("all", "passed").say(e.ResourceObserved(resource=JOB, uid="uid-a"))
    assert veto(history, seconds=5) == ""


def test_an_orphan_may_be_younger_than_its_test_but_not_than_its_run() -> None:
    leak = make_ref("test", "crucible", "pods", "leak")
    history = ended("all", "passed").say(e.OrphanFound(resource=leak, uid="uid-a", rule="label"))

    def found(seconds: int, uid: str = "uid-a") -> Veto | None:
        orphan = history.resource(leak, "uid-a")
        return guard(history.run, history.scope, orphan, seen(leak, uid, seconds=seconds), RULES, "mine")

    assert found(5) is None
    history.say(e.RunFinished(), scope_id="")
    assert found(0) is None
    late = found(5)
    assert late is not None
    assert late.rule == "created-after-scope"
    assert "after its run's end" in late.reason


def test_a_dead_run_ended_with_its_last_lease_not_when_somebody_found_out() -> None:
    history = ended("all", "unknown")  # last heartbeat at 0, a lease of 60 s
    assert veto(history, seconds=60) == ""
    assert veto(history, seconds=61) == "created-after-scope"


@pytest.mark.parametrize(
    ("kind", "namespace"),
    [("secrets", "n"), ("persistentvolumeclaims", "n"), ("namespaces", ""), ("clusterroles.rbac", "")],
)
def test_delicate_and_cluster_scoped_kinds_are_touched_only_when_allowed_by_name(
    kind: str, namespace: str
) -> None:
    history, ref = ended("all", "passed"), make_ref("test", namespace, kind, "x")
    for allowed, rule in ((frozenset({kind}), ""), (frozenset({"jobs.batch"}), "kind-not-allowed")):
        rules = PolicyRules(allowed_kinds=allowed)
        found = guard(history.run, history.scope, Resource(ref=ref), seen(ref), rules, "mine")
        assert (found.rule if found else "") == rule


def test_the_guard_keeps_to_the_namespaces_it_may_touch() -> None:
    history = ended("all", "passed")
    for rules, rule in (
        (PolicyRules(protected_namespaces=frozenset({"crucible"})), "protected-namespace"),
        (PolicyRules(allowed_namespaces=frozenset({"elsewhere"})), "namespace-not-allowed"),
        (PolicyRules(allowed_namespaces=frozenset({"crucible"}), preserve_failed=timedelta(1)), ""),
    ):
        found = guard(history.run, history.scope, history.resource(), seen(), rules, "mine")
        assert (found.rule if found else "") == rule
