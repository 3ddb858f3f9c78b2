"""The one door to the kubernetes client: sends requests through ``kubernetes.aio``, hands out raw bytes.

Imported only when a cluster is really used (the client's import takes most of a second). Refuses to retry:
the client's own retries are off. Sent twice is only what met a 401 (with credentials read anew: a client
caches a token file for ever), and, by aiohttp, an idempotent request whose kept-alive connection dropped
before any answer (RFC 9112, 9.3.1): harmless where every change names a uid, and a 404 then means gone.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol, cast
from urllib.request import getproxies

import aiohttp
import yaml
from kubernetes.aio import config as _untyped_config
from kubernetes.aio.client import ApiClient, Configuration

from cleanup_scheduler.cluster.answers import error_from
from cleanup_scheduler.cluster.kubeconfig import Target, find_target
from cleanup_scheduler.cluster.requests import Pace, Request
from cleanup_scheduler.errors import (
    BadAnswer,
    ClusterError,
    ClusterUnavailable,
    CredentialsRefused,
    SettingsError,
)
from cleanup_scheduler.settings import Settings

_USER_AGENT: Final = f"cleanup-scheduler/{version('cleanup-scheduler')}"
kubernetes_config = cast(Any, _untyped_config)
_MAX_ERROR_BYTES: Final = 1_000_000
_CONNECT_SECONDS: Final = 5.0


class _Response(Protocol):
    """The part of the client's response that we use."""

    status: int
    response: aiohttp.ClientResponse


class _Session:
    """A client with the credentials it was made with; closed when retired and no longer in use."""

    def __init__(self, client: Any, generation: int) -> None:
        self.client, self.generation = client, generation
        self.users = 0
        self.retired = False

    async def release(self) -> None:
        self.users -= 1
        await self.close_if_unused()

    async def close_if_unused(self) -> None:
        if self.retired and self.users == 0:
            await self.client.close()


class KubernetesTransport:
    """Requests to one cluster. At most ``concurrency`` short ones are in flight; streams are not counted."""

    def __init__(self, settings: Settings, target: Target, pace: Pace | None = None) -> None:
        self.server = target.server
        self.source = target.source
        self._settings = settings
        self._timeout_seconds = settings.request_timeout_seconds
        self._pace = pace
        self._slots = asyncio.Semaphore(max(1, settings.concurrency))
        self._session: _Session | None = None
        self._renewing = asyncio.Lock()

    async def open(self) -> None:
        """Read the credentials; raises :class:`SettingsError` when they cannot be used."""
        self._session = _Session(await _new_client(find_target(self._settings)), generation=0)

    async def close(self) -> None:
        """Drop all connections."""
        if self._session is not None:
            self._session.retired = True
            await self._session.client.close()

    async def send(self, request: Request) -> bytes:
        """The body of a 2xx answer; an error of ours for everything else."""
        async with self._slots, self._answer(request, self._timeout_seconds) as response:
            return await response.read()

    @asynccontextmanager
    async def stream(
        self, request: Request, *, timeout_seconds: float
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """The body of a 2xx answer as it comes, within ``timeout_seconds`` in all."""
        async with self._answer(request, timeout_seconds) as response:
            yield response.content.iter_any()

    @asynccontextmanager
    async def _answer(self, request: Request, seconds: float) -> AsyncGenerator[aiohttp.ClientResponse]:
        session = self._live()
        try:
            async with self._one_answer(session, request, seconds) as response:
                yield response
                return
        except CredentialsRefused:
            renewed = await self._renew(session.generation)
        async with self._one_answer(renewed, request, seconds) as response:
            yield response

    @asynccontextmanager
    async def _one_answer(
        self, session: _Session, request: Request, seconds: float
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        session.users += 1
        response: aiohttp.ClientResponse | None = None
        try:
            response = await self._ask(session, request, seconds)
            if not 200 <= response.status < 300:
                body = await response.content.read(_MAX_ERROR_BYTES)
                raise error_from(response.status, response.headers, body, request.call, self.server)
            yield response
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error, request, seconds) from error
        finally:
            if response is not None:
                response.release()
            await session.release()

    async def _ask(self, session: _Session, request: Request, seconds: float) -> aiohttp.ClientResponse:
        if self._pace is not None:
            await self._pace.turn()  # before the time for the answer begins
        client = session.client
        headers = {"Accept": request.accept, "Content-Type": request.content_type}
        method, url, headers, body, _ = await client.param_serialize(
            request.method,
            request.path,
            query_params=list(request.query),
            header_params=headers,
            body=request.body,
            auth_settings=["BearerToken"],
        )
        # ``total`` bounds all of it, a body that drips included
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, _CONNECT_SECONDS))
        answer: _Response = await client.call_api(
            method, url, header_params=headers, body=body, _request_timeout=timeout
        )
        return answer.response

    async def _renew(self, generation: int) -> _Session:
        """Credentials read anew, once for all requests that met the same 401."""
        async with self._renewing:
            session = self._live()
            if session.generation == generation:
                target = find_target(self._settings)
                self._session = _Session(await _new_client(target), generation + 1)
                session.retired = True
                await session.close_if_unused()
            return self._live()

    def _live(self) -> _Session:
        if self._session is None:
            raise ClusterError(
                "the connection to the cluster is not open", hint="use `async with connect(…)`"
            )
        return self._session

    def _unreachable(self, error: Exception, request: Request, seconds: float) -> ClusterError:
        """No answer at all: the address, what we wanted there, and what to look at."""
        to_do = f"is the cluster up, and is this its address? It comes from {self.source}"
        match error:
            case TimeoutError():
                why = f"did not answer within {seconds:g} s"
            case (
                aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError() | ssl.SSLError()
            ):
                why = f"has a certificate that we do not trust: {_plain(error)}"
                to_do = f"the certificate authority in {self.source} must be the one of this cluster"
            case aiohttp.ClientConnectorError():
                why = f"cannot be reached: {_plain(error.os_error)}"
            case aiohttp.InvalidURL() | aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
                why = f"broke off its answer: {_plain(error)}"
            case aiohttp.ClientResponseError():
                return BadAnswer(f"{request.call}: {self.server} does not speak HTTP: {_plain(error)}")
            case _:
                why = f"dropped the connection: {_plain(error)}"
        return ClusterUnavailable(f"{request.call}: {self.server} {why}", hint=to_do)


def _plain(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


async def _new_client(target: Target) -> Any:
    """A client with the target's credentials. Certificates given as data touch the disk only until the TLS
    context has read them."""
    configuration = Configuration()
    try:
        with tempfile.TemporaryDirectory(prefix="cleanup-scheduler-") as folder:
            if target.document is None:
                kubernetes_config.load_incluster_config(configuration)
            else:
                document = _with_files(target.document, Path(folder))
                await kubernetes_config.load_kube_config_from_dict(
                    document, context=target.context, client_configuration=configuration
                )
            # None, not False: ``kubernetes.aio`` 37 takes False for the number 0, and its retry library then
            # never stops (it waits for attempt 1 to equal 0): a 5xx was sent again until the time-out
            configuration.retries = None
            configuration.connection_pool_maxsize = 0  # no limit here: `Transport` counts the requests
            # looking for a proxy costs two hops to another thread for each request: only where there is one
            configuration.client_session_kwargs = {"trust_env": bool(getproxies())}
            client = ApiClient(configuration)
    except (kubernetes_config.ConfigException, ssl.SSLError, OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(
            f"the credentials in {target.source} cannot be used: {_plain(error)}",
            hint=f"look at context {target.context!r} there",
        ) from error
    client.user_agent = _USER_AGENT
    return client


def _with_files(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The document with ``*-data`` in files in ``folder`` instead: TLS contexts load keys from files only."""
    written = {**document}
    for key, inner in (("clusters", "cluster"), ("users", "user")):
        written[key] = [
            {**entry, inner: _entry_with_files(entry[inner], folder / f"{key}-{index}")}
            for index, entry in enumerate(document[key])
        ]
    return written


def _entry_with_files(entry: dict[str, Any], stem: Path) -> dict[str, Any]:
    result = dict(entry)
    for field in ("certificate-authority", "client-certificate", "client-key"):
        if data := result.pop(f"{field}-data", None):
            file = stem.with_suffix(f".{field}")
            file.write_bytes(base64.b64decode(data))
            result[field] = str(file)
    return result
