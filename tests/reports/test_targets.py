"""What a person means by a word, and what is said when it fits nothing or several things."""

from __future__ import annotations

import pytest
from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.resources import make_ref
from cleanup_scheduler.errors import UnknownName, UsageError
from cleanup_scheduler.reports import StateSource, resolve_run, resolve_target, still_there

from tests.unit.domain_world import JOB, POD, History

TEST = "tests/test_a.py::test_b[x/y]"
RUN_A = "0190aaaaaaaa0000"
RUN_B = "0190bbbbbbbb0000"


def world() -> History:
    history = History()
    for seconds, run_id in ((0, RUN_A), (60, RUN_B)):
        started = e.RunStarted(name="pytest", mode="pytest", cluster="test", namespace="crucible")
        history.say(started, seconds=seconds, run_id=run_id, scope_id="")
    opened = e.ScopeOpened(test_id=TEST, level="pods", level_source="o")
    history.say(opened, run_id=RUN_A, scope_id="a1").say(
        e.ResourceTracked(resource=JOB), run_id=RUN_A, scope_id="a1"
    )
    history.say(e.ResourceObserved(resource=JOB, uid="uid-a"), run_id=RUN_A, scope_id="a1")
    history.say(e.ResourceObserved(resource=POD, uid="uid-p", owner=JOB), run_id=RUN_A, scope_id="a1")
    return history


def again(history: History, uid: str) -> History:
    """The same test tracked the same name in the later run."""
    history.say(e.ScopeOpened(test_id=TEST, level="pods", level_source="o"), run_id=RUN_B, scope_id="b1")
    history.say(e.ResourceTracked(resource=JOB), run_id=RUN_B, scope_id="b1")
    return history.say(e.ResourceObserved(resource=JOB, uid=uid), run_id=RUN_B, scope_id="b1")


@pytest.mark.parametrize(
    "words",
    [("job/evaluation-job-1",), ("jobs", "evaluation-job-1"), ("Job.batch/evaluation-job-1",), ("uid-a",),
     ("evaluation-job-1",)],
)  # fmt: skip
def test_a_resource_is_named_as_kubectl_names_it_or_by_its_uid(words: tuple[str, ...]) -> None:
    target = resolve_target(StateSource(world().state), words)
    assert (target.kind, [r.uid for _, _, r in target.resources]) == ("resource", ["uid-a"])


def test_a_test_id_may_hold_slashes() -> None:
    target = resolve_target(StateSource(world().state), (TEST,))
    assert (target.kind, [scope.scope_id for _, scope in target.scopes]) == ("test", ["a1"])


@pytest.mark.parametrize("word", [RUN_B, RUN_B[:8], "last"])
def test_a_run_is_named_by_its_id_its_beginning_or_last(word: str) -> None:
    assert resolve_run(StateSource(world().state), word).run_id == RUN_B
    assert resolve_target(StateSource(world().state), (word,)).kind == "run"


def test_a_beginning_that_fits_two_runs_lists_both() -> None:
    history = world()
    history.say(
        e.RunStarted(name="p", mode="pytest", cluster="c", namespace="n"),
        run_id="0190aaaaaaaa1111",
        scope_id="",
    )
    with pytest.raises(UsageError, match=r"say which: 0190aaaaaaaa(0000|1111); 0190aaaaaaaa(0000|1111)\)"):
        resolve_run(StateSource(history.state), "0190aaaa")


def test_a_misspelt_name_gets_the_nearest_one() -> None:
    with pytest.raises(UnknownName, match="did you mean job/evaluation-job-1"):
        resolve_target(StateSource(world().state), ("job/evaluation-jop-1",))


def test_a_malformed_name_says_what_kubernetes_allows() -> None:
    with pytest.raises(UsageError, match="lower-case letters"):
        resolve_target(StateSource(world().state), ("jobs", "Not_A_Name"))


def test_one_name_in_two_namespaces_asks_which() -> None:
    history = world()
    elsewhere = make_ref("test", "other", "jobs", "evaluation-job-1")
    history.say(e.ResourceTracked(resource=elsewhere), run_id=RUN_A, scope_id="a1")
    source = StateSource(history.state)
    with pytest.raises(UsageError, match=r"-n crucible .*-n other"):
        resolve_target(source, ("job/evaluation-job-1",))
    assert len(resolve_target(source, ("job/evaluation-job-1",), namespace="other").resources) == 1


def test_two_objects_under_one_name_ask_for_the_uid_as_long_as_both_are_there() -> None:
    history = again(world(), "uid-b")
    target = resolve_target(StateSource(history.state), ("job/evaluation-job-1",))
    with pytest.raises(UsageError, match=r"uid uid-b .*uid uid-a"):
        still_there(target)
    history.say(e.ResourceGone(resource=JOB, uid="uid-a", how="deleted"), run_id=RUN_A, scope_id="a1")
    target = resolve_target(StateSource(history.state), ("job/evaluation-job-1",))
    assert [r.uid for _, _, r in still_there(target)] == ["uid-b"]


def test_a_test_with_something_left_in_two_runs_asks_which_run() -> None:
    source = StateSource(again(world(), "uid-b").state)
    with pytest.raises(UsageError, match=f"--run {RUN_B}; --run {RUN_A}"):
        resolve_target(source, (TEST,))
    assert resolve_target(source, (TEST,), run=RUN_A).scopes[0][0].run_id == RUN_A
