"""The JSON that the API sends, as far as we read it: metadata, lists, discovery, ``Status``.

Decoded piece by piece, so that one odd object costs only itself; refuses to guess what a field that is not
as promised might have meant.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from cleanup_scheduler.domain.objects import ObservedObject, Owner
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.errors import BadAnswer

# "Receiving resources as metadata": PartialObjectMetadata and its list; plain JSON for servers without it
METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


class _Wire(msgspec.Struct, frozen=True, rename="camel"):
    """Base: the API's field names, unknown fields ignored."""


class WireOwner(_Wire, frozen=True):
    """An owner reference."""

    kind: str
    name: str
    uid: str
    api_version: str = ""
    controller: bool | None = None


class WireMetadata(_Wire, frozen=True):
    """ObjectMeta."""

    name: str
    uid: str
    creation_timestamp: datetime
    namespace: str = ""
    resource_version: str = ""
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[WireOwner] | None = None
    finalizers: list[str] | None = None


class WireObject(_Wire, frozen=True):
    """Any object; its body stays unread."""

    metadata: WireMetadata


class WireListMetadata(_Wire, frozen=True):
    """ListMeta. ``continue`` is a keyword here, hence its name."""

    resource_version: str = ""
    continue_token: str = msgspec.field(default="", name="continue")


class WireList(_Wire, frozen=True):
    """A page of a list. An empty one may say ``"items": null``."""

    metadata: WireListMetadata
    items: list[msgspec.Raw] | None = None


class WireCause(_Wire, frozen=True):
    """One of the causes in a Status."""

    reason: str = ""
    message: str = ""
    field: str = ""


class WireStatusDetails(_Wire, frozen=True):
    """The details of a Status."""

    name: str = ""
    kind: str = ""
    causes: list[WireCause] | None = None
    retry_after_seconds: int = 0


class WireStatus(_Wire, frozen=True):
    """How the API says no."""

    kind: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: WireStatusDetails | None = None
    metadata: WireListMetadata | None = None


_OBJECT: Final = msgspec.json.Decoder(WireObject)
_LIST: Final = msgspec.json.Decoder(WireList)
_STATUS: Final = msgspec.json.Decoder(WireStatus)


def read_object(body: bytes | msgspec.Raw, *, cluster: str, kind: str) -> ObservedObject:
    """The metadata of one object; raises :class:`BadAnswer` saying what is wrong with it."""
    try:
        metadata = _OBJECT.decode(body).metadata
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswer(f"the API sent an object of {kind} that cannot be read: {error}") from error
    return ObservedObject(
        ref=ResourceRef(cluster, metadata.namespace, kind, metadata.name),
        uid=metadata.uid,
        created_at=metadata.creation_timestamp,
        resource_version=metadata.resource_version,
        deletion_timestamp=metadata.deletion_timestamp,
        labels=metadata.labels or {},
        annotations=metadata.annotations or {},
        owners=[_owner(owner) for owner in metadata.owner_references or ()],
        finalizers=metadata.finalizers or [],
    )


def _owner(owner: WireOwner) -> Owner:
    return Owner(
        kind=owner.kind,
        name=owner.name,
        uid=owner.uid,
        api_version=owner.api_version,
        controller=bool(owner.controller),
    )


def read_page(body: bytes, what: str) -> WireList:
    """One page of a list, its items still raw; raises :class:`BadAnswer`."""
    try:
        return _LIST.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswer(f"the API's answer to {what} is no list: {error}") from error


def read_json(body: bytes | msgspec.Raw, what: str) -> dict[str, Any]:
    """A JSON object; raises :class:`BadAnswer`."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswer(f"the API's answer to {what} is not the JSON that it promises: {error}") from error


def read_status(body: bytes) -> WireStatus:
    """The Status in an answer that says no; an empty one when a proxy in between wrote something else."""
    try:
        status = _STATUS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return WireStatus(message=" ".join(body[:200].decode("utf-8", "replace").split()))
    return status
