"""How a test talks to the evaluation service: submit code, wait for what became of it.

Plain ``urllib``, so that a test needs no client of anything. Refuses to know the cluster: like the users of
such a platform, a test learns an evaluation's id, and from it the name of its Job.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

import msgspec

_LOOPBACK: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 1.0


class EvaluationRefused(Exception):
    """The service said no. ``status`` is the HTTP status: 429 for a full quota, 503 without a cluster."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"HTTP {status}: {reason}")
        self.status, self.reason = status, reason


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it. ``status`` is ``queued``, ``running``, ``succeeded`` or ``failed``; ``output`` is
    None as long as there is none, and again once its pod is gone."""

    id: str
    job: str
    status: str
    exit_code: int | None = None
    output: str | None = None
    reason: str = ""

    @property
    def ended(self) -> bool:
        """It will not change any more."""
        return self.status in ("succeeded", "failed")


class ApiSession:
    """The service at ``url``."""

    def __init__(self, url: str, *, timeout_seconds: float = 30.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is not the URL of an evaluation service; it starts with http://")
        self.url = url.rstrip("/")
        self._timeout_seconds = timeout_seconds

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON of the answer; raises :class:`EvaluationRefused`."""
        return self._ask(path, json.dumps(body).encode())

    def get(self, path: str) -> dict[str, Any]:
        """The JSON of the answer; raises :class:`EvaluationRefused`."""
        return self._ask(path, None)

    def _ask(self, path: str, data: bytes | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers)  # noqa: S310 see __init__
        try:
            with _LOOPBACK.open(request, timeout=self._timeout_seconds) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode("utf-8", "replace")
            raise EvaluationRefused(error.code, _reason(said)) from error


def _reason(said: str) -> str:
    try:
        return str(json.loads(said)["error"])
    except (ValueError, KeyError, TypeError):
        return said.strip() or "no reason given"


def submit_evaluation(
    api_session: ApiSession | str,
    *,
    code: str,
    timeout_seconds: float | None = None,
    backoff_limit: int | None = None,
    labels: Mapping[str, str] | None = None,
) -> str:
    """Have ``code`` run as Python in a Job ``evaluation-job-<id>``; returns the id."""
    options = {"timeout_seconds": timeout_seconds, "backoff_limit": backoff_limit, "labels": labels}
    given = {name: value for name, value in options.items() if value is not None}
    return str(_session(api_session).post("/evaluations", {"code": code, **given})["id"])


def get_evaluation(api_session: ApiSession | str, eval_id: str) -> Evaluation:
    """How it stands now."""
    return msgspec.convert(_session(api_session).get(f"/evaluations/{eval_id}"), Evaluation)


def wait_for_evaluation(
    api_session: ApiSession | str, eval_id: str, *, timeout_seconds: float = 60.0, status: str = ""
) -> Evaluation:
    """Wait until it has ended, or has the given ``status``; raises ``TimeoutError`` saying how it stands."""
    deadline, pause = time.monotonic() + timeout_seconds, _FIRST_PAUSE_SECONDS
    while True:
        found = get_evaluation(api_session, eval_id)
        if found.status == status or (not status and found.ended):
            return found
        if found.ended or time.monotonic() >= deadline:
            raise TimeoutError(
                f"evaluation {eval_id} is {found.status}, not {status or 'over'}, after {timeout_seconds:g} s"
                + (f": {found.reason}" if found.reason else "")
            )
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)


def _session(api_session: ApiSession | str) -> ApiSession:
    return ApiSession(api_session) if isinstance(api_session, str) else api_session
