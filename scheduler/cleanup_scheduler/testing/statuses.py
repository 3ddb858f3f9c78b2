"""The errors of the Kubernetes API as exceptions that know their ``Status`` answer. It raises none by
itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cleanup_scheduler.testing.objects import Object


@dataclass(frozen=True, slots=True)
class Cause:
    """One field that is wrong; ``reason`` is Kubernetes' word, such as ``FieldValueInvalid``."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"


class ApiError(Exception):
    """A request that the API refuses: HTTP ``code``, Kubernetes' ``reason``, and what it is about."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        name: str = "",
        group: str = "",
        kind: str = "",
        causes: Sequence[Cause] = (),
        retry_after_seconds: int | None = None,
        continue_token: str = "",
        unnamed: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        self.unnamed = unnamed  # Kubernetes says with empty details that it means no object
        self._details = _details(name, group, kind, causes, retry_after_seconds)
        self._metadata: Object = {"continue": continue_token} if continue_token else {}

    def status(self) -> Object:
        body: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self._metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self._details or self.unnamed:
            body["details"] = self._details
        body["code"] = self.code
        return body


def _details(
    name: str, group: str, kind: str, causes: Sequence[Cause], retry_after_seconds: int | None
) -> Object:
    details: Object = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    if causes:
        details["causes"] = [
            {"reason": c.reason, "message": c.message} | ({"field": c.field} if c.field else {})
            for c in causes
        ]
    if retry_after_seconds is not None:
        details["retryAfterSeconds"] = retry_after_seconds
    return details


def qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> ApiError:
    message = f'{qualified(plural, group)} "{name}" not found'
    return ApiError(404, "NotFound", message, name=name, group=group, kind=plural)


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource", unnamed=True)


def already_exists(plural: str, group: str, name: str) -> ApiError:
    message = f'{qualified(plural, group)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, name=name, group=group, kind=plural)


def conflict(plural: str, group: str, name: str, why: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, name=name, group=group, kind=plural)


def forbidden(plural: str, group: str, name: str, why: str, *causes: Cause) -> ApiError:
    message = f'{qualified(plural, group)} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, name=name, group=group, kind=plural, causes=causes)


def invalid(kind: str, group: str, name: str, *causes: Cause) -> ApiError:
    lines = [f"{cause.field}: {cause.message}" for cause in causes]
    told = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
    message = f'{qualified(kind, group)} "{name}" is invalid: {told}'
    return ApiError(422, "Invalid", message, name=name, group=group, kind=kind, causes=causes)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> ApiError:
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, unnamed=True)


def unsupported_media_type(allowed: str) -> ApiError:
    message = f"the body of the request was in an unknown format - accepted media types include: {allowed}"
    return ApiError(415, "UnsupportedMediaType", message)


def expired(message: str, continue_token: str = "") -> ApiError:
    return ApiError(410, "Expired", message, continue_token=continue_token)
