"""An HTTP proxy in front of a cluster that misbehaves on request, and remembers what passed through it.

It logs in to the cluster with the given kubeconfig and serves plain HTTP on loopback; ``kubeconfig`` is what
its clients use. Faults are armed for requests that match, in the order of arming, each a number of times.

    async with FaultProxy(kubeconfig, folder) as proxy:
        proxy.arm(answer(503), method="DELETE", path="/jobs/x", times=2)
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

Forward = Callable[[], Awaitable[web.StreamResponse]]
Fault = Callable[[web.Request, Forward], Awaitable[web.StreamResponse]]
_HOP_BY_HOP = {
    "host",
    "connection",
    "transfer-encoding",
    "content-length",
    "content-encoding",
    "accept-encoding",
}


@dataclass
class Seen:
    """One request that a client sent, and the status that it was answered with (0: none yet)."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    status: int = 0

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class _Armed:
    fault: Fault
    method: str
    path: str
    left: int


def answer(
    status: int,
    *,
    reason: str = "",
    message: str = "",
    body: bytes | None = None,
    content_type: str = "application/json",
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Fault:
    """Answer without asking the cluster: a ``Status`` as the API writes it, or any ``body``."""
    told = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status}
    told |= {"reason": reason, "message": message or f"told to answer {status}", **more}
    text = json.dumps(told).encode() if body is None else body

    async def act(_request: web.Request, _forward: Forward) -> web.StreamResponse:
        return web.Response(status=status, body=text, content_type=content_type, headers=headers)

    return act


def reset(*, after_the_cluster_did_it: bool = False) -> Fault:
    """Drop the connection, before or after the request reached the cluster."""

    async def act(request: web.Request, forward: Forward) -> web.StreamResponse:
        if after_the_cluster_did_it:
            await forward()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return act


def hang() -> Fault:
    """Say nothing until the client gives up."""

    async def act(_request: web.Request, _forward: Forward) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets this event")

    return act


def unfiltered() -> Fault:
    """A server so old that it knows no selectors: it ignores them."""

    async def act(request: web.Request, forward: Forward) -> web.StreamResponse:
        request["query"] = {"labelSelector": None, "fieldSelector": None}
        return await forward()

    return act


def in_pages_of(size: int) -> Fault:
    """A server that sends fewer objects at a time than it was asked for."""

    async def act(request: web.Request, forward: Forward) -> web.StreamResponse:
        request["query"] = {"limit": str(size)}
        return await forward()

    return act


def drip(*, pause_seconds: float = 0.05, body: bytes = b" " * 100_000, cut_after: int | None = None) -> Fault:
    """Send a byte at a time, for ever slower than any time-out between bytes; or cut it off after some."""

    async def act(request: web.Request, _forward: Forward) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(body)
        await response.prepare(request)
        for index in range(len(body)):
            if index == cut_after:
                assert request.transport is not None
                request.transport.abort()
                break
            await response.write(body[index : index + 1])
            await asyncio.sleep(pause_seconds)
        return response

    return act


@dataclass
class FaultProxy:
    """The proxy; an asynchronous context manager."""

    upstream_kubeconfig: Path
    folder: Path
    impersonate: str = ""  # the user whose rights its clients have, where the cluster knows users
    seen: list[Seen] = field(default_factory=list)
    kubeconfig: Path = field(init=False)

    def __post_init__(self) -> None:
        self._armed: list[_Armed] = []
        self.kubeconfig = self.folder / "proxy-kubeconfig"

    def arm(self, fault: Fault, *, method: str = "", path: str = "", times: int = 1) -> None:
        """Let the next ``times`` requests with that method and that in their path meet the fault."""
        self._armed.append(_Armed(fault, method, path, times))

    def disarm(self) -> None:
        """Be an honest proxy again."""
        self._armed.clear()

    async def __aenter__(self) -> FaultProxy:
        self._server, context, headers, namespace = _login(self.upstream_kubeconfig)
        if self.impersonate:
            headers["Impersonate-User"] = self.impersonate
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0), headers=headers, auto_decompress=True
        )
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{anything:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [
                {"name": "proxy", "context": {"cluster": "proxy", "user": "proxy", "namespace": namespace}}
            ],
        }
        self.kubeconfig.write_text(yaml.safe_dump(document), encoding="utf-8")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._client.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        seen = Seen(request.method, request.path, dict(request.query), dict(request.headers), body)
        self.seen.append(seen)

        async def forward() -> web.StreamResponse:
            return await self._forward(request, seen)

        for armed in self._armed:
            if armed.left and armed.method in ("", request.method) and armed.path in request.path:
                armed.left -= 1
                response = await armed.fault(request, forward)
                seen.status = response.status
                return response
        return await forward()

    async def _forward(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        headers = {
            k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP | {"authorization"}
        }
        url = URL(self._server + request.raw_path, encoded=True)
        for name, value in request.get("query", {}).items():
            url = url.without_query_params(name) if value is None else url.update_query({name: value})
        timeout = aiohttp.ClientTimeout(total=None)
        try:
            asked = await self._client.request(
                request.method, url, data=seen.body or None, headers=headers, timeout=timeout
            )
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=f"the proxy cannot reach the cluster: {error}")
        async with asked as upstream:
            seen.status = upstream.status
            response = web.StreamResponse(status=upstream.status)
            for name, value in upstream.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    response.headers[name] = value
            await response.prepare(request)
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response


def _login(kubeconfig: Path) -> tuple[str, ssl.SSLContext | bool, dict[str, str], str]:
    """Server, TLS context, headers and namespace of the current context."""
    document = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    by_name = {
        key: {entry["name"]: entry for entry in document[key]} for key in ("contexts", "clusters", "users")
    }
    context = by_name["contexts"][document["current-context"]]["context"]
    cluster = by_name["clusters"][context["cluster"]]["cluster"]
    user = by_name["users"][context["user"]]["user"] or {}
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    tls: ssl.SSLContext | bool = True
    if cluster["server"].startswith("https"):
        with tempfile.TemporaryDirectory() as folder:
            tls = _tls(cluster, user, kubeconfig.parent, Path(folder))
    return cluster["server"].rstrip("/"), tls, headers, context.get("namespace", "default")


def _tls(cluster: dict[str, Any], user: dict[str, Any], base: Path, folder: Path) -> ssl.SSLContext:
    def file(section: dict[str, Any], name: str) -> str | None:
        if f"{name}-data" in section:
            (folder / name).write_bytes(base64.b64decode(section[f"{name}-data"]))
            return str(folder / name)
        return str(base / section[name]) if name in section else None

    tls = ssl.create_default_context(cafile=file(cluster, "certificate-authority"))
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    certificate = file(user, "client-certificate")
    if certificate:
        tls.load_cert_chain(certificate, file(user, "client-key"))
    return tls
