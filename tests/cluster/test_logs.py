"""Logs that end otherwise than by their end: the reason is kept, and nothing else is called a log."""

from __future__ import annotations

import pytest
from cleanup_scheduler.cluster import Cluster, LogText
from cleanup_scheduler.domain.resources import make_ref
from cleanup_scheduler.errors import ClusterUnavailable, NotFound, Refused

from tests.cluster.conftest import Proxied
from tests.faults.proxy import Fault, answer, drip, hang

POD = make_ref("proxy", "crucible", "pods", "x")


def text(body: bytes) -> Fault:
    return answer(200, body=body, content_type="text/plain")


async def read(cluster: Cluster, *, max_bytes: int = 1000, timeout_seconds: float = 5) -> LogText:
    return await cluster.logs(POD, "main", max_bytes=max_bytes, timeout_seconds=timeout_seconds)


async def test_the_request_says_what_is_wanted(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(text(b"hello\n"))
        await cluster.logs(
            POD, "init", previous=True, follow=True, timestamps=True, max_bytes=9, timeout_seconds=5
        )
    (sent,) = proxy.seen
    assert sent.path == "/api/v1/namespaces/crucible/pods/x/log"
    assert sent.query == {"container": "init", "follow": "true", "previous": "true", "timestamps": "true"}


@pytest.mark.parametrize(
    "excuse",
    [
        b"unable to retrieve container logs for containerd://0123",
        b'failed to try resolving symlinks in path "/var/log/pods/x": lstat /var/log/pods/x: no such file\n',
    ],
)
async def test_a_kubelets_excuse_is_no_log(proxied: Proxied, excuse: bytes) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(text(excuse))
        log = await read(cluster)
    assert log.body == b""
    assert log.missing == f"its node no longer has it: {excuse.decode().strip()}"


async def test_a_log_that_merely_speaks_of_such_an_excuse_is_one(proxied: Proxied) -> None:
    said = b"the kubelet was unable to retrieve container logs for containerd://0123\n"
    async with proxied() as (proxy, cluster):
        proxy.arm(text(said))
        assert await read(cluster) == LogText(body=said)


async def test_the_reason_of_a_refusal_is_kept_without_our_own_words(proxied: Proxied) -> None:
    why = 'container "main" in pod "x" is waiting to start: ImagePullBackOff'
    async with proxied() as (proxy, cluster):
        proxy.arm(answer(400, reason="BadRequest", message=why))
        assert await read(cluster) == LogText(missing=why)
        proxy.arm(answer(404, reason="NotFound", message='pods "x" not found'))
        assert await read(cluster) == LogText(missing="the pod is gone")


async def test_what_may_come_back_is_raised_and_not_called_missing(proxied: Proxied) -> None:
    async with proxied(0.3) as (proxy, cluster):
        proxy.arm(answer(502, message="dial tcp 10.0.0.1:10250: connect: connection refused"))
        with pytest.raises(ClusterUnavailable, match="connection refused"):
            await read(cluster)
        proxy.arm(hang())
        with pytest.raises(ClusterUnavailable, match="did not answer"):
            await read(cluster, timeout_seconds=0.2)


async def test_what_was_read_before_it_broke_off_is_kept(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(drip(body=b"one\ntwo\nthree\n", pause_seconds=0, cut_after=8))
        log = await read(cluster)
    assert log.body == b"one\ntwo\n"
    assert log.truncated
    assert log.note.startswith("reading broke off before its end: get pods/log x in namespace crucible")


async def test_what_drips_is_read_as_far_as_the_time_goes(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(drip(body=b"a" * 1000, pause_seconds=0.02))
        log = await read(cluster, timeout_seconds=0.5)
    assert 1 < len(log.body) < 50
    assert log.note == "reading stopped after 0.5 s, before its end"


@pytest.mark.parametrize("max_bytes", [1, 10, 19, 20, 21])
async def test_the_limit_holds_and_the_end_is_what_stays(proxied: Proxied, max_bytes: int) -> None:
    body = b"0123456789\n12345678\n"
    async with proxied() as (proxy, cluster):
        proxy.arm(text(body))
        log = await read(cluster, max_bytes=max_bytes)
    assert len(log.body) <= max_bytes
    assert body.endswith(log.body)
    assert log.truncated is (max_bytes < len(body))


async def test_a_single_line_longer_than_the_limit_keeps_its_end(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(text(b"x" * 5000 + b"the end"))
        log = await read(cluster, max_bytes=7)
    assert (log.body, log.note) == (b"the end", "its first 5,000 bytes are left out")


async def test_a_stream_raises_what_a_finished_read_would_explain(proxied: Proxied) -> None:
    async with proxied() as (proxy, cluster):
        proxy.arm(text(b"live\n"))
        assert [chunk async for chunk in cluster.stream_logs(POD, "main", timeout_seconds=5)] == [b"live\n"]
        proxy.arm(answer(404, reason="NotFound"))
        with pytest.raises(NotFound):
            [chunk async for chunk in cluster.stream_logs(POD, "main", timeout_seconds=5)]
        proxy.arm(answer(400, message="waiting to start"))
        with pytest.raises(Refused, match="waiting to start"):
            [chunk async for chunk in cluster.stream_logs(POD, "main", timeout_seconds=5)]
