"""The fold: what each event does to the state, in whatever order producers cause."""

from __future__ import annotations

from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.policy import PolicyRules, decide

from tests.unit.domain_world import JOB, POD, History, at


def tracked() -> History:
    return (
        History()
        .say(e.ScopeOpened(test_id="t", level="all", level_source="option"))
        .say(e.ResourceTracked(resource=JOB))
    )


def test_a_name_tracked_again_is_looked_at_anew() -> None:
    history = tracked().say(e.ResourceObserved(resource=JOB, uid="uid-a"))
    history.say(e.ResourceTracked(resource=JOB), seconds=5)
    assert history.resource().uid == ""
    assert history.resource().tracked_at == at(5)


def test_a_name_tracked_again_after_it_was_gone_leaves_the_first_object_in_the_sums() -> None:
    history = tracked().say(e.ResourceObserved(resource=JOB, uid="uid-a"))
    history.say(e.ResourceGone(resource=JOB, uid="uid-a", how="deleted"))
    history.say(e.ResourceTracked(resource=JOB)).say(e.ResourceObserved(resource=JOB, uid="uid-b"))
    assert history.resource().uid == "uid-b"
    assert history.resource(uid="uid-a").status == "gone"
    assert len(list(history.scope.tracked())) == 2


def test_tracking_again_while_it_is_being_deleted_does_not_forget_whose_deletion_was_requested() -> None:
    history = tracked().say(e.DeletionRequested(resource=JOB, uid="uid-a", rule="passed"))
    history.say(e.ResourceTracked(resource=JOB))
    assert history.resource().uid == "uid-a"
    assert history.resource().status == "deleting"


def test_a_hold_survives_that_the_name_is_tracked_again() -> None:
    history = tracked().say(e.ResourceObserved(resource=JOB, uid="uid-a"))
    history.say(e.HoldRequested(who="ada", resource=JOB))
    history.say(e.ResourceTracked(resource=JOB, uid="uid-b"))
    assert history.resource().held_by == "ada"


def test_an_orphan_that_turns_out_to_be_tracked_is_one_resource() -> None:
    history = History().say(e.OrphanFound(resource=JOB, uid="uid-a", rule="label"))
    history.say(e.DeletionRequested(resource=JOB, uid="uid-a", rule="run-abandoned"))
    history.say(e.ResourceTracked(resource=JOB)).say(e.ResourceObserved(resource=JOB, uid="uid-a"))
    assert len(history.scope.resources) == 1
    assert history.resource().tracked
    assert history.resource().status == "deleting"


def test_an_orphan_gives_its_level_only_to_a_scope_that_no_test_opened() -> None:
    orphan = e.OrphanFound(resource=JOB, uid="uid-a", rule="window", level="all")
    assert History().say(orphan).scope.level == "all"
    opened = History().say(e.ScopeOpened(test_id="t", level="pods", level_source="option")).say(orphan)
    assert opened.scope.level == "pods"


def test_an_orphan_does_not_bring_its_dead_run_back_to_life() -> None:
    history = History().about_run(e.RunStarted(name="r", mode="pytest", cluster="c", namespace="n"))
    history.about_run(e.RunAbandoned(last_heartbeat=at(1)), seconds=60)
    history.say(e.OrphanFound(resource=JOB, uid="uid-a", rule="window", level="all"), seconds=61)
    assert history.run.abandoned_at == at(60)


def test_a_release_tries_again_what_was_given_up_below_the_resource() -> None:
    history = tracked().say(e.ResourceObserved(resource=POD, uid="pod-a", owner=JOB))
    history.say(e.DeletionGivenUp(resource=POD, uid="pod-a", attempts=8, diagnosis="stuck", owner=JOB))
    history.say(e.ResourceKept(resource=JOB, uid="", rule="level-pods"))
    history.say(e.ReleaseRequested(who="ada", resource=JOB))
    assert history.resource(POD, "pod-a").status == "tracked"
    assert history.resource(POD, "pod-a").attempts == 0


def test_what_a_hold_on_the_run_kept_is_due_again_when_the_hold_is_lifted() -> None:
    history = tracked().say(e.OutcomeRecorded(outcome="passed"))
    history.about_run(e.HoldRequested(who="ada")).say(e.ResourceKept(resource=JOB, rule="hold"))
    assert not history.scope.settled
    assert decide(history.run, history.scope, history.resource(), PolicyRules(), at(1)).rule == "hold"
    history.about_run(e.HoldLifted(who="ada"))
    assert decide(history.run, history.scope, history.resource(), PolicyRules(), at(1)).action == "clean"


def test_a_paused_test_that_wakes_up_and_tracks_is_open_again_although_a_pass_called_it_unknown() -> None:
    history = History().about_run(e.RunStarted(name="r", mode="pytest", cluster="c", namespace="n"))
    history.say(e.ScopeOpened(test_id="t", level="all", level_source="option"))
    history.about_run(e.RunAbandoned(last_heartbeat=at(1)), seconds=60)
    history.say(e.PolicyApplied(level="all", outcome="unknown", rule="run-abandoned"), seconds=61)
    history.say(e.ResourceTracked(resource=JOB), seconds=3600)
    decision = decide(history.run, history.scope, history.resource(), PolicyRules(), at(7200))
    assert (decision.action, decision.rule) == ("wait", "scope-open")
