"""What happens to dependents when their owner is deleted: the three propagation policies and each kind's
default.
"""

from __future__ import annotations

import pytest

from tests.contracts.kubernetes.conftest import Template
from tests.contracts.kubernetes.manifests import APP, config_map, job, options, owned_by
from tests.contracts.kubernetes.space import Space, eventually
from tests.contracts.kubernetes.wire import Json

HELD = ["example.com/held"]


def family(space: Space, *, blocks: bool = True) -> tuple[Json, Json]:
    """An owner and a dependent that goes only when the test takes its finalizer off."""
    owner = space.create(config_map("owner"))
    return owner, space.create(
        config_map("child", ownerReferences=[owned_by(owner, blocks=blocks)], finalizers=HELD)
    )


def test_background_removes_the_owner_at_once_and_the_dependents_later(space: Space) -> None:
    """Source: Kubernetes documentation, Garbage Collection, "Background cascading deletion"."""
    family(space)
    space.delete("configmaps", "owner", options(propagationPolicy="Background")).ok(200)
    assert space.served("configmaps", "owner") is None
    space.until(
        "configmaps", "child", lambda seen: "deletionTimestamp" in seen["metadata"], "marked for deletion"
    )
    space.finish("configmaps", "child")
    assert space.served("configmaps", "child") is None


def test_foreground_keeps_the_owner_until_dependents_that_block_it_are_gone(space: Space) -> None:
    """The owner carries deletionTimestamp and the foregroundDeletion finalizer meanwhile.

    Source: Kubernetes documentation, Garbage Collection, "Foreground cascading deletion".
    """
    family(space)
    answer = space.delete("configmaps", "owner", options(propagationPolicy="Foreground")).ok()
    assert answer["metadata"]["finalizers"] == ["foregroundDeletion"]
    space.until(
        "configmaps", "child", lambda seen: "deletionTimestamp" in seen["metadata"], "marked for deletion"
    )
    owner = space.get("configmaps", "owner")["metadata"]
    assert owner["deletionTimestamp"]
    assert owner["finalizers"] == ["foregroundDeletion"]
    space.finish("configmaps", "child")
    space.until_gone("configmaps", "owner")


def test_foreground_does_not_wait_for_dependents_that_do_not_block_the_owner(space: Space) -> None:
    """Source: Kubernetes documentation, Garbage Collection, "Foreground cascading deletion"
    (blockOwnerDeletion).
    """
    family(space, blocks=False)
    space.delete("configmaps", "owner", options(propagationPolicy="Foreground")).ok()
    space.until_gone("configmaps", "owner")
    assert space.served("configmaps", "child")
    space.finish("configmaps", "child")
    space.until_gone("configmaps", "child")


def test_orphan_removes_the_owner_and_takes_its_reference_off_the_dependents(space: Space) -> None:
    """Source: Kubernetes documentation, Garbage Collection, "Orphaned dependents"."""
    family(space)
    space.delete("configmaps", "owner", options(propagationPolicy="Orphan")).ok()
    space.until_gone("configmaps", "owner")
    child = space.get("configmaps", "child")["metadata"]
    assert "ownerReferences" not in child
    assert "deletionTimestamp" not in child
    space.finish("configmaps", "child")


def test_most_kinds_are_deleted_in_the_background_when_no_policy_is_named(space: Space) -> None:
    """Source: Kubernetes documentation, Garbage Collection, "Background cascading deletion" (the default)."""
    family(space)
    space.delete("configmaps", "owner").ok(200)
    assert space.served("configmaps", "owner") is None
    space.until(
        "configmaps", "child", lambda seen: "deletionTimestamp" in seen["metadata"], "marked for deletion"
    )
    space.finish("configmaps", "child")


def test_a_job_deleted_without_a_policy_leaves_its_pods_as_orphans(space: Space, playing: Template) -> None:
    """Clients that send no propagationPolicy (the official Python client among them) leave a Job's pods
    behind.

    Source: Kubernetes documentation, Jobs, "TTL mechanism for finished Jobs" (default policy
    orphanDependents);
    kubernetes/kubernetes, pkg/registry/batch/job/strategy.go, ``DefaultGarbageCollectionPolicy``.
    """
    space.create(job("work", playing("complete")))
    space.until_condition("work", "Complete")
    [before] = space.pods_of("work")
    space.delete("jobs", "work").ok()
    space.until_gone("jobs", "work")
    [after] = space.pods_of("work")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert "ownerReferences" not in after["metadata"]
    assert "deletionTimestamp" not in after["metadata"]


def test_a_job_deleted_in_the_background_is_gone_at_once_and_its_pods_follow(
    space: Space, playing: Template
) -> None:
    """Running and finished pods alike, in spite of the job-tracking finalizer.

    Source: Kubernetes documentation, Use Cascading Deletion in a Cluster, "Use background cascading
    deletion".
    """
    space.create(job("runs", playing("run")))
    space.create(job("done", playing("complete")))
    space.until_pods_run("runs")
    space.until_condition("done", "Complete")
    for name in ("runs", "done"):
        space.delete("jobs", name, options(propagationPolicy="Background")).ok(200)
        assert space.served("jobs", name) is None
    eventually(
        lambda: not space.pods_of("runs") and not space.pods_of("done"), "pods of deleted jobs collected"
    )


def test_a_job_deleted_in_the_foreground_outlives_its_pods(space: Space, playing: Template) -> None:
    """The Job controller sets blockOwnerDeletion on its pods, so a finalizer of a pod holds the Job too.

    Source: Kubernetes documentation, Use Cascading Deletion in a Cluster, "Use foreground cascading
    deletion".
    """
    template = playing("complete")
    template["metadata"]["finalizers"] = HELD
    space.create(job("work", template))
    space.until_condition("work", "Complete")
    [mine] = space.names("pods")
    space.delete("jobs", "work", options(propagationPolicy="Foreground")).ok()
    space.until("pods", mine, lambda seen: "deletionTimestamp" in seen["metadata"], "marked for deletion")
    assert space.get("jobs", "work")["metadata"]["finalizers"] == ["foregroundDeletion"]
    space.finish("pods", mine)
    space.until_gone("jobs", "work")
    assert space.names("pods") == []


def test_a_dependent_with_two_owners_stays_until_the_last_is_gone(space: Space) -> None:
    """The reference to the deleted one is taken off.

    Source: kubernetes/kubernetes, pkg/controller/garbagecollector/garbagecollector.go,
    ``attemptToDeleteItem``.
    """
    owners = [space.create(config_map(name)) for name in ("first", "second")]
    space.create(config_map("child", ownerReferences=[owned_by(owner) for owner in owners]))
    space.delete("configmaps", "first", options(propagationPolicy="Background")).ok(200)
    left = space.until(
        "configmaps",
        "child",
        lambda seen: len(seen["metadata"]["ownerReferences"]) == 1,
        "left with one owner",
    )
    assert left["metadata"]["ownerReferences"][0]["name"] == "second"
    space.delete("configmaps", "second", options(propagationPolicy="Background")).ok(200)
    space.until_gone("configmaps", "child")


def test_a_dependent_is_collected_when_only_the_name_of_its_owner_exists(space: Space) -> None:
    """An owner is its uid: an object of the same name made later does not keep the dependents of the
    former one.

    Source: Kubernetes documentation, Owners and Dependents, "Owner references in object specifications".
    """
    former = space.create(config_map("owner"))
    space.delete("configmaps", "owner").ok(200)
    space.create(config_map("owner"))
    space.create(config_map("child", ownerReferences=[owned_by(former)]))
    space.until_gone("configmaps", "child")
    assert space.served("configmaps", "owner")


@pytest.mark.needs("apps")
def test_a_deployment_deleted_without_a_policy_takes_its_replica_sets_and_pods_along(
    space: Space, playing: Template
) -> None:
    """apps/v1 kinds are collected in the background by default, through two levels of owners.

    Source: Kubernetes documentation, Use Cascading Deletion in a Cluster (default: background);
    kubernetes/kubernetes, pkg/registry/apps/deployment/strategy.go, ``DefaultGarbageCollectionPolicy``.
    """
    template = playing("run", restartPolicy="Always")
    template["metadata"]["labels"] = APP
    spec = {"replicas": 2, "selector": {"matchLabels": APP}, "template": template}
    space.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
    pods = eventually(lambda: found if len(found := space.items("pods")) == 2 else [], "two pods")
    [replica_set] = space.items("replicasets")
    owners = {pod["metadata"]["ownerReferences"][0]["uid"] for pod in pods}
    assert owners == {replica_set["metadata"]["uid"]}
    assert replica_set["metadata"]["ownerReferences"][0]["kind"] == "Deployment"
    space.delete("deployments", "web").ok(200)
    assert space.served("deployments", "web") is None
    eventually(lambda: not space.names("replicasets") and not space.names("pods"), "all dependents collected")


@pytest.mark.needs("apps")
def test_a_deleted_pod_of_a_deployment_is_replaced_at_once(space: Space, playing: Template) -> None:
    """Deleting pods alone frees nothing while what owns them lives.

    Source: Kubernetes documentation, ReplicaSet, "How a ReplicaSet works".
    """
    template = playing("run", restartPolicy="Always")
    template["metadata"]["labels"] = APP
    spec = {"replicas": 1, "selector": {"matchLabels": APP}, "template": template}
    space.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
    [first] = eventually(lambda: space.names("pods"), "a pod")
    space.delete("pods", first).ok()
    eventually(lambda: [name for name in space.names("pods") if name != first], "another pod")
