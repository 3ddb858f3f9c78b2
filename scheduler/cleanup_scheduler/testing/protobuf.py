"""Reads the protobuf bodies that newer kubectls send for ``create namespace``, ``quota``, ``job`` …

Only requests, and only the kinds and fields that such commands make: a field that is not in the schema's
table is refused with its number, never dropped. Answers are JSON, which every client takes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from cleanup_scheduler.testing.objects import Object, format_time
from cleanup_scheduler.testing.schema import MESSAGES
from cleanup_scheduler.testing.statuses import bad_request

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"


def decode_protobuf(body: bytes) -> Object:
    """The object in a request's body. Raises 400 for what cannot be read whole."""
    if not body.startswith(_MAGIC):
        raise bad_request("the protobuf body does not begin with Kubernetes' magic number")
    try:
        envelope = _message("Unknown", body[len(_MAGIC) :])
        kind = envelope["typeMeta"]["kind"]
        if kind not in MESSAGES:
            raise bad_request(
                f"{kind} is not read from protobuf here: send it as JSON (kubectl create -f FILE)"
            )
        content = _message(kind, base64.b64decode(envelope.get("raw", "")))
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise bad_request(f"the protobuf body cannot be read: {error!r}") from error
    return {"kind": kind, "apiVersion": envelope["typeMeta"]["apiVersion"]} | content


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _entries(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        if key & 7 == 0:
            value, position = _varint(data, position)
            yield key >> 3, value
        elif key & 7 == 2:
            length, position = _varint(data, position)
            if position + length > len(data):
                raise IndexError("a field is longer than the message")
            yield key >> 3, data[position : position + length]
            position += length
        else:
            raise KeyError(f"wire type {key & 7}")


def _message(name: str, data: bytes) -> Object:
    result: Object = {}
    for number, raw in _entries(data):
        if number not in MESSAGES[name]:
            told = f"field {number} of {name} is not read from protobuf here: send the object as JSON"
            raise bad_request(f"{told} (kubectl create -f FILE)")
        label, kind = MESSAGES[name][number]
        if kind == "-":
            continue
        if kind.startswith("*"):
            result.setdefault(label, []).append(_value(kind[1:], raw))
        elif kind.startswith("%"):
            entry = dict(_entries(_bytes(raw)))
            result.setdefault(label, {})[_text(entry.get(1, b""))] = _value(kind[1:], entry.get(2, b""))
        else:
            value = _value(kind, raw)
            if value not in ("", None):
                result[label] = value
    return result


def _bytes(raw: int | bytes) -> bytes:
    if isinstance(raw, int):
        raise KeyError("a number where bytes belong")
    return raw


def _text(raw: int | bytes) -> str:
    return _bytes(raw).decode()


def _quantity(raw: int | bytes) -> str:
    return _text(dict(_entries(_bytes(raw))).get(1, b""))


def _time(raw: int | bytes) -> str | None:
    seconds = dict(_entries(_bytes(raw))).get(1)
    return format_time(datetime.fromtimestamp(seconds, UTC)) if isinstance(seconds, int) else None


def _signed(raw: int | bytes) -> int:
    value = raw if isinstance(raw, int) else 0
    return value - (1 << 64) if value >> 63 else value


_SCALARS: dict[str, Callable[[int | bytes], Any]] = {
    "s": _text,
    "i": _signed,
    "b": bool,
    "y": lambda raw: base64.b64encode(_bytes(raw)).decode(),
    "q": _quantity,
    "t": _time,
}


def _value(kind: str, raw: int | bytes) -> Any:
    if kind.startswith("@"):
        return _message(kind[1:], _bytes(raw))
    return _SCALARS[kind](raw)
