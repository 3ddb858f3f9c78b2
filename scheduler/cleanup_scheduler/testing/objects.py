"""What every module here needs of a Kubernetes object: JSON, times, names. It knows no kind and keeps no
state.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

Object = dict[str, Any]

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()

# Kubernetes' alphabet for generated names: no vowels and no look-alikes, so that no words appear by chance.
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_GENERATED_NAME_MAX = 63


def encode(value: Any) -> bytes:
    return _encoder.encode(value)


def decode(body: bytes) -> Any:
    return _decoder.decode(body)


def now() -> datetime:
    return datetime.now(UTC)


def format_time(moment: datetime) -> str:
    """Kubernetes' ``Time``: whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def new_uid() -> str:
    return str(uuid.uuid4())


def generated_name(prefix: str) -> str:
    suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(5))
    return prefix[: _GENERATED_NAME_MAX - len(suffix)] + suffix


def metadata(obj: Object) -> Object:
    """The object's metadata, made when it is missing."""
    found = obj.get("metadata")
    if not isinstance(found, dict):
        found = obj["metadata"] = {}
    return found


def finalizers(obj: Object) -> list[str]:
    return list(metadata(obj).get("finalizers") or ())


def set_finalizers(obj: Object, names: Iterable[str]) -> None:
    kept = list(names)
    if kept:
        metadata(obj)["finalizers"] = kept
    else:
        metadata(obj).pop("finalizers", None)


def owner_references(obj: Object) -> list[Object]:
    return list(metadata(obj).get("ownerReferences") or ())


def controller_of(obj: Object) -> Object | None:
    return next((ref for ref in owner_references(obj) if ref.get("controller")), None)


def set_condition(status: Object, kind: str, value: str, *, reason: str = "", message: str = "") -> bool:
    """Set a condition by its type, whose transition time moves only with its value. True when it changed."""
    conditions: list[Object] = status.setdefault("conditions", [])
    moment = format_time(now())
    found = next((condition for condition in conditions if condition.get("type") == kind), None)
    if found is not None and found.get("status") == value and found.get("reason", "") == reason:
        return False
    fresh: Object = {"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": moment}
    if reason:
        fresh["reason"] = reason
    if message:
        fresh["message"] = message
    if found is None:
        conditions.append(fresh)
        return True
    if found.get("status") == value and "lastTransitionTime" in found:
        fresh["lastTransitionTime"] = found["lastTransitionTime"]
    found.clear()
    found.update(fresh)
    return True


def condition_is(obj: Object, kind: str, value: str = "True") -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == kind and c.get("status") == value for c in conditions)
