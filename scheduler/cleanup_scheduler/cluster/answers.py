"""What an answer that says no means for us: one of the errors of the tree, never the client's own.

Refuses to decide whether to try again: that is the type's business (``retryable``) and the caller's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from cleanup_scheduler.cluster.requests import Call
from cleanup_scheduler.cluster.wire import WireStatus, read_status
from cleanup_scheduler.errors import (
    BadAnswer,
    ClusterError,
    ClusterUnavailable,
    Conflict,
    CredentialsRefused,
    NotFound,
    PermissionMissing,
    Refused,
)

_USER: Final = re.compile(r'User "([^"]*)" cannot ')
_LATER: Final = frozenset({408, 425, 429})


class Expired(ClusterError):
    """410: a continue token is too old. Stays inside this package; ``token`` lets the list go on."""

    def __init__(self, message: str, *, token: str = "") -> None:
        super().__init__(message, status=410)
        self.token = token


def error_from(code: int, headers: Mapping[str, str], body: bytes, call: Call, server: str) -> ClusterError:
    """The error that an answer with status ``code`` (not 2xx) stands for."""
    status = read_status(body)
    said = " ".join(status.message.split()) or f"HTTP {code}"
    if code == 401:
        return CredentialsRefused(
            f"{server} does not accept our credentials for: {call}",
            hint="the token or certificate has expired or was revoked; log in anew",
            status=code,
        )
    if code == 403:
        return _forbidden(status, said, call)
    if code == 404:
        return NotFound(f"{call}: {said}", status=code)
    if code == 409:
        return Conflict(f"{call}: {said}", status=code)
    if code == 410:
        return Expired(f"{call}: {said}", token=status.metadata.continue_token if status.metadata else "")
    if code in _LATER or code >= 500:
        return _unavailable(code, headers, status, said, call, server)
    if 400 <= code < 500:
        return Refused(f"{call}: {said}", hint=_refusal_hint(said), status=code)
    return BadAnswer(f"{call}: {server} answered HTTP {code}, which the API never does: {said}", status=code)


def _forbidden(status: WireStatus, said: str, call: Call) -> ClusterError:
    """403 is RBAC's no, but also a full quota's, a terminating namespace's and an admission plugin's."""
    if _USER.search(said) or status.reason != "Forbidden" or said == "HTTP 403":
        who = _USER.search(said)
        grant = f'apiGroups: ["{call.group}"], resources: ["{call.resource}"], verbs: ["{call.verb}"]'
        where = f"the Role in namespace {call.namespace}" if call.namespace else "a ClusterRole"
        return PermissionMissing(
            f"{who[1] if who else 'our user'} may not {call}", hint=f"add to {where}: {grant}", status=403
        )
    causes = [cause.reason for cause in (status.details.causes or ())] if status.details else []
    if "NamespaceTerminating" in causes:
        return Refused(
            f"{call}: namespace {call.namespace} is being deleted", hint="wait until it is gone", status=403
        )
    return Refused(f"{call}: {said}", hint=_refusal_hint(said), status=403)


def _refusal_hint(said: str) -> str:
    if "exceeded quota" in said:
        return "free some of the quota first"
    if "admission webhook" in said:
        return "an admission webhook of the cluster decides this; its owner knows why"
    return ""


def _unavailable(
    code: int, headers: Mapping[str, str], status: WireStatus, said: str, call: Call, server: str
) -> ClusterUnavailable:
    seconds = _retry_after(headers.get("Retry-After", ""))
    if seconds is None and status.details is not None and status.details.retry_after_seconds:
        seconds = float(status.details.retry_after_seconds)
    why = "is too busy for" if code == 429 else f"failed (HTTP {code}) at"
    return ClusterUnavailable(f"{server} {why}: {call}: {said}", status=code, retry_after_seconds=seconds)


def _retry_after(value: str) -> float | None:
    """Seconds, from either form that RFC 9110 allows; None when it is neither."""
    if value.strip().isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at - datetime.now(UTC)).total_seconds()) if at.tzinfo else None
