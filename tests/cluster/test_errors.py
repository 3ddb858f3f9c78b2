"""What the cluster's refusals and failures become: one error of ours each, saying what and what to do."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from cleanup_scheduler.cluster import Cluster, connect, transport
from cleanup_scheduler.domain.resources import make_ref
from cleanup_scheduler.errors import (
    BadAnswer,
    ClusterError,
    ClusterUnavailable,
    Conflict,
    CredentialsRefused,
    NotFound,
    PermissionMissing,
    Refused,
    UsageError,
)
from cleanup_scheduler.settings import Settings

from tests.cluster.conftest import Proxied
from tests.faults.proxy import FaultProxy, answer, drip, hang, reset

JOB = make_ref("proxy", "crucible", "jobs", "x")
FORBIDDEN = (
    'jobs.batch "x" is forbidden: User "system:serviceaccount:ci:worker" cannot delete resource "jobs" '
    'in API group "batch" in the namespace "crucible"'
)


@pytest.mark.parametrize(
    ("status", "details", "expected", "retryable", "words"),
    [
        (400, {"message": "bad thing"}, Refused, False, "bad thing"),
        (
            403,
            {"reason": "Forbidden", "message": FORBIDDEN},
            PermissionMissing,
            False,
            "system:serviceaccount:ci:worker may not delete jobs x in namespace crucible (add to the Role in "
            'namespace crucible: apiGroups: ["batch"], resources: ["jobs"], verbs: ["delete"])',
        ),
        (
            403,
            {"reason": "Forbidden", "message": 'pods "x" is forbidden: exceeded quota: evaluation-quota'},
            Refused,
            False,
            "exceeded quota: evaluation-quota (free some of the quota first)",
        ),
        (
            403,
            {
                "reason": "Forbidden",
                "message": "forbidden: unable to create new content in namespace crucible",
                "details": {"causes": [{"reason": "NamespaceTerminating"}]},
            },
            Refused,
            False,
            "namespace crucible is being deleted",
        ),
        (
            403,
            {
                "reason": "Forbidden",
                "message": 'admission webhook "guard.example" denied the request: no',
            },
            Refused,
            False,
            "denied the request: no (an admission webhook of the cluster decides this",
        ),
        (409, {"reason": "Conflict", "message": "the UID in the precondition"}, Conflict, True, "the UID in"),
        (422, {"reason": "Invalid", "message": "spec.x: Invalid"}, Refused, False, "spec.x: Invalid"),
        (429, {"reason": "TooManyRequests"}, ClusterUnavailable, True, "is too busy for"),
        (500, {"message": "failed calling webhook"}, ClusterUnavailable, True, "failed calling webhook"),
        (
            503,
            {"body": b"<html>upstream down</html>"},
            ClusterUnavailable,
            True,
            "<html>upstream down</html>",
        ),
        (504, {}, ClusterUnavailable, True, "HTTP 504"),
        (302, {}, BadAnswer, True, "answered HTTP 302"),
    ],
)
async def test_a_status_becomes_the_error_that_says_who_recovers(
    proxied: Proxied,
    *,
    status: int,
    details: dict[str, Any],
    expected: type[ClusterError],
    retryable: bool,
    words: str,
) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(answer(status, **details))
        with pytest.raises(expected) as caught:
            await cluster.delete(JOB, "a-uid")
    assert type(caught.value) is expected
    assert (caught.value.status, caught.value.retryable) == (status, retryable)
    assert words in str(caught.value)
    assert "delete jobs x in namespace crucible" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(proxy.seen) == 1, "nothing may be sent twice behind our back"


@pytest.mark.parametrize("how", ["seconds", "date", "details"])
async def test_how_long_a_busy_server_wants_to_be_left_alone_is_passed_on(proxied: Proxied, how: str) -> None:
    in_7_seconds = format_datetime(datetime.now(UTC) + timedelta(seconds=7.9), usegmt=True)
    told: dict[str, dict[str, Any]] = {
        "seconds": {"headers": {"Retry-After": "7"}},
        "date": {"headers": {"Retry-After": in_7_seconds}},
        "details": {"details": {"retryAfterSeconds": 7}},
    }
    async with proxied() as (proxy, cluster):
        proxy.arm(answer(429, **told[how]))
        with pytest.raises(ClusterUnavailable) as caught:
            await cluster.get(JOB)
    assert caught.value.retry_after_seconds == pytest.approx(7, abs=1)


async def test_a_missing_object_is_none_and_deleting_it_says_that_it_was_gone(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(answer(404, reason="NotFound"), times=3)
        assert await cluster.get(JOB) is None
        assert await cluster.get_body(JOB) is None
        assert await cluster.delete(JOB, "a-uid") is False


async def test_a_missing_quota_and_a_missing_job_to_suspend_are_not_found(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(answer(404, reason="NotFound"), times=2)
        with pytest.raises(NotFound, match="no quota 'evaluation-quota' in namespace crucible"):
            await cluster.quota("crucible", "evaluation-quota")
        with pytest.raises(NotFound, match="there is no job/x in namespace crucible"):
            await cluster.suspend_job(JOB, "a-uid")


async def test_a_delete_names_the_uid_and_takes_the_pods_along(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(answer(200, body=b"{}"))
        assert await cluster.delete(JOB, "a-uid", grace_seconds=0) is True
    (sent,) = proxy.seen
    assert (sent.method, sent.path) == ("DELETE", "/apis/batch/v1/namespaces/crucible/jobs/x")
    assert sent.json()["preconditions"] == {"uid": "a-uid"}
    assert sent.json()["propagationPolicy"] == "Background"
    assert sent.json()["gracePeriodSeconds"] == 0
    assert sent.headers["User-Agent"].startswith("cleanup-scheduler/")


async def test_a_delete_whose_answer_was_lost_finds_the_object_gone(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(reset())
        proxy.arm(answer(404, reason="NotFound"))
        assert await cluster.delete(JOB, "a-uid") is False
    assert [seen.json()["preconditions"] for seen in proxy.seen] == [{"uid": "a-uid"}] * 2


async def test_nothing_is_deleted_without_a_uid(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        with pytest.raises(UsageError, match="nothing is deleted without its uid"):
            await cluster.delete(JOB, "")
    assert proxy.seen == []


@pytest.mark.parametrize("fault", [hang(), drip()], ids=["hang", "drip"])
async def test_a_server_that_does_not_come_to_an_end_costs_the_time_out_and_no_more(
    proxied: Proxied, fault: Any
) -> None:
    async with proxied(0.3) as (proxy, cluster):
        proxy.arm(fault)
        began = time.monotonic()
        with pytest.raises(ClusterUnavailable, match=r"did not answer within 0\.3 s"):
            await cluster.get(JOB)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "fault", [reset(), drip(pause_seconds=0, cut_after=100)], ids=["before the answer", "in the middle"]
)
async def test_a_connection_that_breaks_is_unavailable(proxied: Proxied, fault: Any) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(fault, times=2)
        with pytest.raises(ClusterUnavailable) as caught:
            await cluster.get(JOB)
    assert proxy.url in str(caught.value)
    assert str(proxy.kubeconfig) in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"garbage", b"\xff\xfe", b"[]", b'{"metadata": 3, "groups": 3}', b"null"]
)
async def test_garbage_is_a_bad_answer(proxied: Proxied, body: bytes) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(answer(200, body=body), times=9)
        with pytest.raises(BadAnswer):
            await cluster.get(JOB)
        with pytest.raises(BadAnswer):
            await cluster.job_status(JOB)
        with pytest.raises(BadAnswer):
            [_ async for _ in cluster.list("jobs", "crucible")]
        with pytest.raises(BadAnswer):
            await cluster.resolve_kind("widgets")


async def test_an_answer_about_another_object_is_a_bad_answer(proxied: Proxied) -> None:
    metadata = {"name": "y", "namespace": "crucible", "uid": "u"}
    metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
    other = json.dumps({"metadata": metadata}).encode()
    async with proxied() as (proxy, cluster):
        proxy.arm(answer(200, body=other))
        with pytest.raises(BadAnswer, match="asked for job/x in namespace crucible, the API sent job/y"):
            await cluster.get(JOB)


def with_token_file(proxy: FaultProxy, folder: Path) -> Settings:
    """Settings of a kubeconfig whose token stands in a file of its own."""
    (folder / "token").write_text("old")
    document = yaml.safe_load(proxy.kubeconfig.read_text())
    document["users"][0]["user"] = {"tokenFile": str(folder / "token")}
    proxy.kubeconfig.write_text(yaml.safe_dump(document))
    return Settings(kubeconfig=str(proxy.kubeconfig))


async def test_a_refused_token_is_read_anew_from_its_file_once_for_all_who_met_it(
    proxied: Proxied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    new_client = transport._new_client

    async def counted(target: Any) -> Any:
        made.append(target)
        return await new_client(target)

    monkeypatch.setattr(transport, "_new_client", counted)
    async with proxied() as (proxy, _):
        settings = with_token_file(proxy, tmp_path)
        made.clear()
        async with connect(settings) as cluster:
            (tmp_path / "token").write_text("new")
            proxy.arm(answer(401, reason="Unauthorized"), times=8)
            proxy.arm(answer(404, reason="NotFound"), times=8)
            assert await asyncio.gather(*(cluster.get(JOB) for _ in range(8))) == [None] * 8
    tokens = [seen.headers["Authorization"] for seen in proxy.seen]
    assert tokens == ["Bearer old"] * 8 + ["Bearer new"] * 8
    assert len(made) == 2


async def test_credentials_that_stay_refused_say_so_after_one_more_try(
    proxied: Proxied, tmp_path: Path
) -> None:
    async with proxied() as (proxy, _), connect(with_token_file(proxy, tmp_path)) as cluster:
        proxy.arm(answer(401, reason="Unauthorized"), times=99)
        with pytest.raises(CredentialsRefused, match="log in anew") as caught:
            await cluster.get(JOB)
    assert len(proxy.seen) == 2
    assert "old" not in str(caught.value)


async def test_no_more_requests_are_in_flight_than_the_settings_allow(
    proxied: Proxied, nowhere: Path
) -> None:
    flying = most = 0

    async def counted(request: Any, _forward: Any) -> Any:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0)
        response = await answer(404)(request, _forward)
        flying -= 1
        return response

    async with proxied() as (proxy, _):
        proxy.arm(counted, times=100)
        settings = Settings(kubeconfig=str(proxy.kubeconfig), concurrency=3)
        async with connect(settings) as cluster:
            await asyncio.gather(*(cluster.get(JOB) for _ in range(20)))
    assert len(proxy.seen) == 20
    assert 1 < most <= 3


def job(**changes: Any) -> bytes:
    """The body of Job x."""
    body = {"metadata": {"name": "x", "namespace": "crucible", "uid": "a-uid"}, "spec": {}, "status": {}}
    return json.dumps({**body, **changes}).encode()


async def suspended(cluster: Cluster, proxy: FaultProxy, body: bytes) -> bool:
    proxy.arm(answer(200, body=body))
    return await cluster.suspend_job(JOB, "a-uid")


async def test_a_job_is_not_suspended_when_there_is_nothing_to_stop(proxied: Proxied) -> None:
    complete = {"conditions": [{"type": "Complete", "status": "True"}]}
    async with proxied() as (proxy, cluster):
        assert await suspended(cluster, proxy, job(status=complete)) is False
        assert await suspended(cluster, proxy, job(spec={"suspend": True})) is False
    assert [seen.method for seen in proxy.seen] == ["GET", "GET"]


async def test_a_job_of_a_foreign_controller_is_not_suspended(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        with pytest.raises(Refused, match=r"run by kueue.x-k8s.io/multikueue \(spec.managedBy\)"):
            await suspended(cluster, proxy, job(spec={"managedBy": "kueue.x-k8s.io/multikueue"}))
    assert [seen.method for seen in proxy.seen] == ["GET"]


async def test_a_namesake_of_the_job_is_not_suspended(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        with pytest.raises(Conflict, match="is uid another now, not a-uid"):
            await suspended(cluster, proxy, job(metadata={"uid": "another"}))
    assert [seen.method for seen in proxy.seen] == ["GET"]
