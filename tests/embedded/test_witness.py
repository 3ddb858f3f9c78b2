"""The witness: every request to delete, whatever became of it, in the words of Kubernetes' audit log."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from cleanup_scheduler.testing import EmbeddedCluster

from tests.embedded.world import (
    CONFIG_MAPS,
    JOBS,
    NAMESPACE,
    PODS,
    World,
    api_of,
    config_map,
    eventually,
    shell,
    simulated,
)

Unique = Callable[[str], str]
ADMIN = "embedded-admin"


def test_a_delete_is_recorded_with_its_uid_options_and_answer(own: World) -> None:
    uid = own.api.post(CONFIG_MAPS, config_map("a")).ok(201)["metadata"]["uid"]
    wrong = {"preconditions": {"uid": "another"}}
    own.api.delete(f"{CONFIG_MAPS}/a", wrong).refused(409, "Conflict")
    right = {"preconditions": {"uid": uid}, "propagationPolicy": "Background", "gracePeriodSeconds": 0}
    own.api.delete(f"{CONFIG_MAPS}/a", right).ok(200)
    own.api.delete(f"{CONFIG_MAPS}/a", right).refused(404, "NotFound")
    records = own.cluster.deletes()
    assert [(r.verb, r.resource.key, r.name, r.uid, r.code) for r in records] == [
        ("delete", "configmaps", "a", uid, 409),
        ("delete", "configmaps", "a", uid, 200),
        ("delete", "configmaps", "a", "", 404),
    ]
    assert [r.options.uid for r in records] == ["another", uid, uid]
    assert (records[1].options.propagation, records[1].options.grace_seconds) == ("Background", 0)
    assert {r.caller.user for r in records} == {ADMIN}


def test_deleting_a_collection_is_recorded_as_one_request(own: World) -> None:
    own.api.delete(CONFIG_MAPS, labelSelector="app=none").ok(200)
    [record] = own.cluster.deletes()
    assert (record.verb, record.name, record.namespace) == ("deletecollection", "", NAMESPACE)


def test_what_controllers_and_the_node_delete_is_recorded_under_their_own_names(own: World) -> None:
    template = {"spec": simulated("x", "run")["spec"], "metadata": simulated("x", "run")["metadata"]}
    template["metadata"].pop("name")
    job = {"metadata": {"name": "work"}, "spec": {"template": template}}
    own.api.post(JOBS, job).ok(201)
    eventually(lambda: own.api.get(PODS).ok(200)["items"], "the Job's pod")
    own.api.delete(f"{JOBS}/work", {"propagationPolicy": "Background"}).ok(200)
    eventually(lambda: not own.api.get(PODS).ok(200)["items"], "the Job's pod gone")
    users = [(record.resource.key, record.caller.user) for record in own.cluster.deletes()]
    assert users == [
        ("jobs.batch", ADMIN),
        ("pods", "system:serviceaccount:kube-system:generic-garbage-collector"),
        ("pods", "system:node:embedded"),
    ]


def test_the_log_file_has_the_fields_of_an_audit_event(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    with EmbeddedCluster(namespace=NAMESPACE, audit_log=path) as cluster, api_of(cluster) as api:
        uid = api.post(PODS, simulated("a")).ok(201)["metadata"]["uid"]
        World(cluster, api).until_phase("a", "Succeeded")
        api.delete(f"{PODS}/a", {"preconditions": {"uid": uid}}).ok(200)
        [event] = [json.loads(line) for line in path.read_text().splitlines()]
    assert event["stage"] == "ResponseComplete"
    assert event["verb"] == "delete"
    assert event["user"] == {"username": ADMIN}
    assert "urllib3" in event["userAgent"]
    reference = event["objectRef"]
    assert (reference["resource"], reference["namespace"], reference["name"]) == ("pods", NAMESPACE, "a")
    assert event["requestObject"]["preconditions"] == {"uid": uid}
    assert event["responseStatus"]["code"] == 200
    for field in ("requestReceivedTimestamp", "stageTimestamp"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event[field])


def test_nothing_but_deletes_is_recorded(own: World) -> None:
    own.run("a", shell("true"))
    own.api.get(PODS).ok(200)
    assert own.cluster.deletes() == []
