"""Fault points: the server misbehaves exactly where and as often as a test says."""

from __future__ import annotations

import time

import pytest
import urllib3
from cleanup_scheduler.testing import Fault, RequestFacts

from tests.embedded.world import CONFIG_MAPS, NAMESPACE, World, config_map


def deletes(facts: RequestFacts) -> bool:
    return facts.verb == "delete" and facts.resource == "configmaps"


def anything(_: RequestFacts) -> bool:
    return True


def make(world: World, name: str) -> str:
    world.api.post(CONFIG_MAPS, config_map(name)).ok(201)
    return f"{CONFIG_MAPS}/{name}"


def test_an_answer_is_given_as_often_as_asked_and_then_no_more(own: World) -> None:
    path = make(own, "a")
    fault = own.cluster.faults.add(Fault(match=deletes, status=429, retry_after_seconds=7, times=2))
    for _ in range(2):
        reply = own.api.delete(path)
        reply.refused(429, "TooManyRequests")
        assert reply.headers["Retry-After"] == "7"
    assert own.api.get(path).status == 200, "the fault is for deletes only, and nothing was deleted"
    own.api.delete(path).ok(200)
    assert own.cluster.faults.hits(fault) == 2
    assert [record.code for record in own.cluster.deletes()] == [200], "the refused ones never arrived"


def test_a_dropped_connection_leaves_the_request_undone_or_done_as_asked(own: World) -> None:
    undone, done = make(own, "undone"), make(own, "done")
    for path, after in ((undone, False), (done, True)):
        own.cluster.faults.add(Fault(match=deletes, drop=True, after=after))
        with pytest.raises(urllib3.exceptions.ProtocolError):
            own.api.delete(path)
    assert own.api.get(undone).status == 200
    assert own.api.get(done).status == 404


def test_an_answer_can_be_falsified_after_the_request_took_effect(own: World) -> None:
    path = make(own, "a")
    own.cluster.faults.add(Fault(match=deletes, status=500, after=True))
    own.api.delete(path).refused(500, "InternalError")
    assert own.api.get(path).status == 404


def test_a_hang_waits_and_then_goes_on(own: World) -> None:
    path = make(own, "a")
    own.cluster.faults.add(Fault(match=deletes, hang_seconds=0.3))
    began = time.monotonic()
    own.api.delete(path).ok(200)
    assert time.monotonic() - began >= 0.3


def test_garbage_comes_as_it_is_whole_or_in_drips(own: World) -> None:
    own.cluster.faults.add(Fault(match=anything, body=b"<html>not JSON", status=502))
    reply = own.api.get(CONFIG_MAPS)
    assert (reply.status, reply.body) == (502, b"<html>not JSON")
    own.cluster.faults.add(Fault(match=anything, body=b"drip", drip_seconds=0.05))
    began = time.monotonic()
    assert own.api.get(CONFIG_MAPS).text == "drip"
    assert time.monotonic() - began >= 0.15


def test_a_fault_without_a_count_stays_until_it_is_removed(own: World) -> None:
    fault = own.cluster.faults.add(Fault(match=anything, status=503, times=None))
    for _ in range(3):
        own.api.get(CONFIG_MAPS).refused(503, "ServiceUnavailable")
    own.cluster.faults.remove(fault)
    own.api.get(CONFIG_MAPS).ok(200)
    own.cluster.faults.add(Fault(match=anything, status=503, times=None))
    own.cluster.faults.clear()
    own.api.get(CONFIG_MAPS).ok(200)


def test_a_predicate_sees_what_the_request_is_about(own: World) -> None:
    seen: list[RequestFacts] = []

    def look(facts: RequestFacts) -> bool:
        seen.append(facts)
        return False

    own.cluster.faults.add(Fault(match=look))
    own.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/x/log", follow="true")
    own.api.get("/apis/batch/v1/jobs", watch="true", timeoutSeconds=0, resourceVersion=-1)
    own.api.get("/version")
    log, watch, version = seen
    assert (log.verb, log.resource, log.namespace, log.name) == ("get", "pods", NAMESPACE, "x")
    assert (log.subresource, log.query) == ("log", {"follow": "true"})
    assert (watch.verb, watch.resource, watch.namespace) == ("watch", "jobs.batch", "")
    assert (version.method, version.path, version.verb) == ("GET", "/version", "")
