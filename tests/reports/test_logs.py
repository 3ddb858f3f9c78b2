"""Which archived logs answer to a name."""

from __future__ import annotations

from cleanup_scheduler.domain import events as e
from cleanup_scheduler.domain.resources import ResourceRef, make_ref
from cleanup_scheduler.reports import select_logs

from tests.unit.domain_world import JOB, POD, History

POD_2 = make_ref("test", "crucible", "pods", "evaluation-job-1-zzz")


def archived(
    pod: ResourceRef = POD, uid: str = "p1", *, container: str = "main", **more: object
) -> e.LogsArchived:
    values: dict[str, object] = {"archive_id": f"{uid}-{container}", **more}
    return e.LogsArchived(resource=pod, uid=uid, owner=JOB, container=container, **values)  # type: ignore[arg-type]


def world(*logs: e.LogsArchived) -> History:
    history = History().say(e.ResourceTracked(resource=JOB)).say(e.ResourceObserved(resource=JOB, uid="j1"))
    for log in logs:
        history.say(e.ResourceObserved(resource=log.resource, uid=log.uid, owner=JOB)).say(log)
    return history


def test_a_job_answers_with_the_logs_of_all_its_pods() -> None:
    history = world(archived(), archived(POD_2, "p2"))
    chosen = select_logs(history.scope, history.resource())
    assert [log.pod for log in chosen.logs] == [POD.name, POD_2.name]


def test_a_pod_answers_with_its_own_log_only() -> None:
    history = world(archived(), archived(POD_2, "p2"))
    chosen = select_logs(history.scope, history.resource(POD_2, "p2"))
    assert [log.pod for log in chosen.logs] == [POD_2.name]


def test_without_a_container_the_first_is_shown_and_the_others_are_named() -> None:
    history = world(archived(), archived(container="sidecar"))
    chosen = select_logs(history.scope, history.resource())
    assert [log.container for log in chosen.logs] == ["main"]
    assert chosen.other_containers == ["sidecar"]
    everything = select_logs(history.scope, history.resource(), all_containers=True)
    assert [log.container for log in everything.logs] == ["main", "sidecar"]


def test_the_previous_log_is_another_log() -> None:
    history = world(archived(), archived(previous=True, archive_id="before"))
    assert [log.archive_id for log in select_logs(history.scope, history.resource()).logs] == ["p1-main"]
    before = select_logs(history.scope, history.resource(), previous=True)
    assert [log.archive_id for log in before.logs] == ["before"]


def test_what_could_not_be_archived_keeps_its_reason() -> None:
    history = world(archived(archive_id="", missing="the container never started"))
    chosen = select_logs(history.scope, history.resource())
    assert (chosen.logs, [log.missing for log in chosen.missing]) == ([], ["the container never started"])


def test_pods_that_were_seen_and_not_archived_are_named() -> None:
    history = world().say(e.ResourceObserved(resource=POD, uid="p1", owner=JOB))
    assert [p.ref for p in select_logs(history.scope, history.resource()).pods_without] == [POD]
