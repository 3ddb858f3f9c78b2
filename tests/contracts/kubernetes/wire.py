"""A bare HTTP client for a Kubernetes API, so that the contract tests assert what is on the wire.

It refuses to retry, to follow watches again, or to turn answers into models: what the server said is
what the test sees.
"""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
import yaml

Json = dict[str, Any]

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Json:
        answer = json.loads(self.body)
        assert isinstance(answer, dict), answer
        return answer

    def ok(self, *codes: int) -> Json:
        """The body of an answer that must be a success (of these codes, when some are given)."""
        assert self.status in (codes or (200, 201, 202)), f"{self.status}: {self.text}"
        return self.json

    def refused(self, code: int, reason: str) -> Json:
        """The ``Status`` of an answer that must be this refusal."""
        assert self.status == code, f"{self.status}: {self.text}"
        status = self.json
        assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure"), status
        assert (status["code"], status["reason"]) == (code, reason), status
        return status


class Api:
    """Requests to one API server with the credentials of one kubeconfig, or with a bearer token in their
    place.
    """

    def __init__(self, kubeconfig: Path, *, token: str | None = None) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        context = _named(config, "context", config["current-context"])
        cluster = _named(config, "cluster", context["cluster"])
        user = {"token": token} if token is not None else _named(config, "user", context["user"])
        self.kubeconfig = kubeconfig
        self.server = cluster["server"].rstrip("/")
        self._headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        self._pool = urllib3.PoolManager(
            num_pools=2, maxsize=16, retries=False, ssl_context=_tls(cluster, user, kubeconfig.parent)
        )

    def close(self) -> None:
        self._pool.clear()

    def get(self, path: str, *, accept: str = "application/json", **query: Any) -> Reply:
        return self.request("GET", path, accept=accept, query=query)

    def post(self, path: str, body: Mapping[str, Any], **query: Any) -> Reply:
        return self.request("POST", path, body, query=query)

    def put(self, path: str, body: Mapping[str, Any], **query: Any) -> Reply:
        return self.request("PUT", path, body, query=query)

    def patch(self, path: str, body: object, content_type: str = MERGE, **query: Any) -> Reply:
        return self.request("PATCH", path, body, content_type=content_type, query=query)

    def delete(self, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Reply:
        return self.request("DELETE", path, body, query=query)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Reply:
        """Send one request, once. A ``bytes`` body goes as it is, everything else as JSON."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Accept": accept, **self._headers} | ({"Content-Type": content_type} if sent else {})
        reply = self._pool.request(
            method, self.url(path, query), body=sent, headers=headers, timeout=urllib3.Timeout(total=30)
        )
        return Reply(reply.status, reply.headers, reply.data)

    @contextmanager
    def stream(
        self, path: str, *, accept: str = "application/json", silence_seconds: float = 30, **query: Any
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """An answer that is read while it comes; a silence longer than the limit is an error."""
        reply = self._pool.request(
            "GET",
            self.url(path, query),
            headers={"Accept": accept, **self._headers},
            preload_content=False,
            timeout=urllib3.Timeout(connect=5, read=silence_seconds),
        )
        try:
            yield reply
        finally:
            reply.close()

    @contextmanager
    def watch(self, path: str, **query: Any) -> Iterator[Iterator[Json]]:
        """The events of one watch, until the server ends it (``timeoutSeconds`` bounds it: 30 by default)."""
        with self.stream(path, **{"watch": "true", "timeoutSeconds": 30, **query}) as reply:
            assert reply.status == 200, reply.read()
            yield _lines(reply)

    def url(self, path: str, query: Mapping[str, Any] | None = None) -> str:
        return f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")


def _lines(reply: urllib3.BaseHTTPResponse) -> Iterator[Json]:
    rest = b""
    for chunk in reply.stream():
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (json.loads(line) for line in whole if line)
    assert not rest, rest


def _named(config: Json, kind: str, name: str) -> Json:
    found: Json = next(entry[kind] for entry in config[f"{kind}s"] if entry["name"] == name)
    return found


def _tls(cluster: Json, user: Json, folder: Path) -> ssl.SSLContext | None:
    if not cluster["server"].startswith("https:"):
        return None
    context = ssl.create_default_context(cadata=_material(cluster, "certificate-authority", folder).decode())
    if any(key.startswith("client-certificate") for key in user):
        with tempfile.NamedTemporaryFile() as both:  # the ssl module reads certificates from files only
            both.write(_material(user, "client-certificate", folder) + b"\n")
            both.write(_material(user, "client-key", folder))
            both.flush()
            context.load_cert_chain(both.name)
    return context


def _material(entry: Json, key: str, folder: Path) -> bytes:
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"])
    return Path(folder, entry[key]).read_bytes()
