"""What was seen of a Kubernetes object: its metadata, never its body."""

from __future__ import annotations

from datetime import datetime

import msgspec

from cleanup_scheduler.domain.resources import ResourceRef


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """One owner reference. ``kind`` is the API's CamelCase word, ``controller`` as the API gives it."""

    kind: str
    name: str
    uid: str
    api_version: str = ""
    controller: bool = False


class ObservedObject(msgspec.Struct, frozen=True, kw_only=True):
    """Metadata of one object as the API served it. ``created_at`` has whole seconds (API convention)."""

    ref: ResourceRef
    uid: str
    created_at: datetime
    resource_version: str = ""
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owners: list[Owner] = []
    finalizers: list[str] = []
