"""HTTP: who asks, what for, in which form the answer goes out, and the faults that a test has armed.

What a request does is in :mod:`cleanup_scheduler.testing.handlers`; this module never touches an object.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
import tempfile

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from cleanup_scheduler.testing import discovery, protobuf
from cleanup_scheduler.testing.audit import Caller
from cleanup_scheduler.testing.certificate import loopback_certificate
from cleanup_scheduler.testing.faults import Fault, Faults, RequestFacts
from cleanup_scheduler.testing.handlers import Handlers, Request
from cleanup_scheduler.testing.objects import decode, encode
from cleanup_scheduler.testing.paths import Target, parse_path, verb_of
from cleanup_scheduler.testing.resources import Registry
from cleanup_scheduler.testing.statuses import (
    ApiError,
    bad_request,
    no_such_path,
    unauthorized,
    unsupported_media_type,
)

_log = logging.getLogger(__name__)
_OPEN_PATHS = frozenset({"/healthz", "/readyz", "/livez"})
_ADMIN = "embedded-admin"
_MAX_BODY_BYTES = 3 * 1024 * 1024


class Server:
    """Listens on loopback over TLS; knows one user by a random token."""

    def __init__(self, handlers: Handlers, registry: Registry, faults: Faults) -> None:
        self.token = secrets.token_urlsafe(24)
        self.certificate_pem, self._key_pem = loopback_certificate()
        self._handlers = handlers
        self._registry = registry
        self._faults = faults
        self._web_server = web.Server(
            self._handle, request_factory=_request, access_log=None, handler_cancellation=True
        )
        self._runner = web.ServerRunner(self._web_server, handle_signals=False, shutdown_timeout=0.1)
        self.port = 0

    async def start(self, port: int) -> None:
        """Listen on ``port``, 0 for any that is free. OSError when it is taken."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=self._ssl_context())
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening and cut what is still open: clients that keep a connection would hold us up."""
        transports = [connection.transport for connection in self._web_server.connections]
        await self._runner.cleanup()
        for transport in transports:
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
        await asyncio.sleep(0)  # the transports tell their ends in the next turn of the loop

    def _ssl_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as bundle:
            bundle.write(self._key_pem + self.certificate_pem)
            bundle.flush()
            context.load_cert_chain(bundle.name)
        return context

    async def _handle(self, raw: web.BaseRequest) -> web.StreamResponse:
        parts = [part for part in raw.path.split("/") if part]
        target = parse_path(self._registry, parts)
        facts = _facts(raw, target)
        fault = self._faults.meet(facts)
        if fault is not None and not fault.after:
            falsified = await _misbehave(raw, fault)
            if falsified is not None:
                return falsified
        try:
            response = await self._serve(raw, parts, target, facts)
        except ApiError as error:
            response = _error(error)
        except ConnectionError:  # the client left in the middle of a watch or a log
            return web.Response()
        except Exception as error:  # noqa: BLE001  (a bug here must answer 500, as a server does, and be told)
            _log.exception("the embedded cluster failed at %s %s", raw.method, raw.path)
            response = _error(ApiError(500, "InternalError", f"Internal error occurred: {error!r}"))
        falsified = await _misbehave(raw, fault) if fault is not None and fault.after else None
        return response if falsified is None else falsified

    async def _serve(
        self, raw: web.BaseRequest, parts: list[str], target: Target | None, facts: RequestFacts
    ) -> web.StreamResponse:
        if raw.path in _OPEN_PATHS:
            return web.Response(text="ok")
        self._authenticate(raw)
        if not self._knows(parts):
            return web.Response(status=404, text="404 page not found\n")
        if target is None:
            return self._discover(raw, parts)
        caller = Caller(_ADMIN, facts.user_agent)
        body = await _body(raw)
        return await self._handlers.handle(Request(raw, target, facts.verb, facts.query, body, caller))

    def _authenticate(self, raw: web.BaseRequest) -> None:
        given = raw.headers.get("Authorization", "")
        if not secrets.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            raise unauthorized()

    def _knows(self, parts: list[str]) -> bool:
        """Whether there is anything at all below such a path; what is not answers in plain text."""
        if parts[:1] == ["apis"] and len(parts) > 1:
            return parts[1] in self._registry.groups()
        return parts[:1] in (["api"], ["apis"], ["version"], ["openapi"])

    def _discover(self, raw: web.BaseRequest, parts: list[str]) -> web.Response:
        if raw.method != "GET":
            raise no_such_path()
        accept = raw.headers.get("Accept", "")
        aggregated = discovery.AGGREGATED in accept and "v=v2;" in f"{accept.replace(',', ';')};"
        content = discovery.document(self._registry, parts, aggregated=aggregated and len(parts) == 1)
        kind = "application/json"
        if aggregated and parts in (["api"], ["apis"]):
            kind = f"application/json;g={discovery.AGGREGATED};v=v2;as=APIGroupDiscoveryList"
        return web.Response(body=encode(content), headers={"Content-Type": kind})


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """As aiohttp makes them, but with Kubernetes' limit on bodies."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_MAX_BODY_BYTES)


def _facts(raw: web.BaseRequest, target: Target | None) -> RequestFacts:
    query = dict(raw.query)
    watching = query.get("watch", "").lower() in ("true", "1")
    return RequestFacts(
        method=raw.method,
        path=raw.path,
        query=query,
        verb=verb_of(raw.method, target, watch=watching),
        resource=target.resource.key if target else "",
        namespace=target.namespace if target else "",
        name=target.name if target else "",
        subresource=target.subresource if target else "",
        user_agent=raw.headers.get("User-Agent", ""),
    )


async def _body(raw: web.BaseRequest) -> object:
    if not raw.can_read_body:
        return None
    try:
        content = await raw.read()
    except web.HTTPRequestEntityTooLarge as error:
        told = f"Request entity too large: limit is {_MAX_BODY_BYTES}"
        raise ApiError(413, "RequestEntityTooLarge", told) from error
    if not content:
        return None
    media_type = raw.headers.get("Content-Type", "application/json").partition(";")[0]
    if media_type == protobuf.MEDIA_TYPE:
        return protobuf.decode_protobuf(content)
    if "json" not in media_type:
        raise unsupported_media_type(f"application/json, {protobuf.MEDIA_TYPE}")
    try:
        return decode(content)
    except ValueError as error:
        raise bad_request(f"the object provided is unrecognized: couldn't decode JSON: {error}") from error


def _error(error: ApiError) -> web.Response:
    headers = {"Content-Type": "application/json"}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    return web.Response(status=error.code, body=encode(error.status()), headers=headers)


async def _misbehave(raw: web.BaseRequest, fault: Fault) -> web.StreamResponse | None:
    """What a fault answers; None when it only waited."""
    if fault.hang_seconds:
        await asyncio.sleep(fault.hang_seconds)
    if fault.drop:
        if raw.transport is not None:
            raw.transport.abort()
        raise ConnectionResetError("dropped by a fault point")
    if fault.body is not None:
        return await _falsified(raw, fault, fault.body)
    if fault.status is None:
        return None
    reason = fault.reason or {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}.get(
        fault.status, ""
    )
    told = ApiError(fault.status, reason, fault.message, retry_after_seconds=fault.retry_after_seconds)
    return _error(told)


async def _falsified(raw: web.BaseRequest, fault: Fault, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(status=fault.status or 200, headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(raw)
    if not fault.drip_seconds:
        await response.write(body)
        return response
    for position in range(len(body)):
        await response.write(body[position : position + 1])
        await asyncio.sleep(fault.drip_seconds)
    return response
