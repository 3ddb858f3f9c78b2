"""Lists: which objects a query selects, in pages that all show the same moment, in the form that was asked
for.

A continue token names a snapshot and a place in it. A snapshot that is too old answers 410, as Kubernetes'
compaction does, with a token that goes on inconsistently.
"""

from __future__ import annotations

import base64
import bisect
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cleanup_scheduler.testing.objects import decode, encode
from cleanup_scheduler.testing.resources import DEFAULT_FIELDS, Resource
from cleanup_scheduler.testing.selectors import parse_fields, parse_labels
from cleanup_scheduler.testing.statuses import ApiError, Cause, bad_request, expired
from cleanup_scheduler.testing.store import Store, Stored

Form = Literal["full", "partial", "table"]
Choice = Callable[[Stored], bool]

DEFAULT_SNAPSHOT_SECONDS = 300.0
_MAX_SNAPSHOTS = 64
_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new "
    "list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


def choice(resource: Resource, label_selector: str, field_selector: str) -> Choice | None:
    """A predicate for both selectors; None when all is selected. Raises 400 for what does not parse."""
    labels_match = parse_labels(label_selector)
    terms = []
    for field, value, wanted in parse_fields(field_selector):
        if field not in resource.fields:
            known = ", ".join(f'"{name}"' for name in resource.fields)
            plain = f'"{field}" is not a known field selector: only {known}'
            special = f"field label not supported: {field}"
            raise bad_request(plain if resource.fields == DEFAULT_FIELDS else special)
        terms.append((resource.fields.index(field), value, wanted))
    if labels_match is None and not terms:
        return None

    def chosen(stored: Stored) -> bool:
        if labels_match is not None and not labels_match(stored.labels):
            return False
        return all((stored.fields[index] == value) is wanted for index, value, wanted in terms)

    return chosen


@dataclass(frozen=True, slots=True)
class Page:
    items: list[Stored]
    version: int
    continue_token: str = ""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class _Snapshot:
    version: int
    taken_at: float
    objects: list[Stored]


class Lists:
    def __init__(self, store: Store, snapshot_seconds: float = DEFAULT_SNAPSHOT_SECONDS) -> None:
        self._store = store
        self._snapshot_seconds = snapshot_seconds
        self._snapshots: OrderedDict[tuple[str, str, int], _Snapshot] = OrderedDict()

    def page(
        self,
        resource: Resource,
        namespace: str,
        chosen: Choice | None,
        *,
        limit: int = 0,
        continue_token: str = "",
        version: int = 0,
    ) -> Page:
        if version > self._store.version:
            told = f"Timeout: Too large resource version: {version}, current: {self._store.version}"
            cause = Cause("", "Too large resource version", "ResourceVersionTooLarge")
            raise ApiError(504, "Timeout", told, retry_after_seconds=1, causes=[cause])
        if continue_token:
            snapshot, position = self._resume(resource, namespace, continue_token)
        else:
            objects = self._store.within(resource, namespace)
            snapshot, position = _Snapshot(self._store.version, time.monotonic(), objects), 0
        objects = snapshot.objects
        if not limit:
            rest = objects[position:] if position else objects
            return Page(rest if chosen is None else [item for item in rest if chosen(item)], snapshot.version)
        items, position = _take(objects, position, chosen, limit)
        if position >= len(objects):
            return Page(items, snapshot.version)
        self._keep(resource, namespace, snapshot)
        token = _token(snapshot.version, objects[position].path)
        remaining = len(objects) - position if chosen is None else None
        return Page(items, snapshot.version, token, remaining)

    def forget(self) -> None:
        """As if five minutes had passed: every continue token that is out there is too old now."""
        self._snapshots.clear()

    def _keep(self, resource: Resource, namespace: str, snapshot: _Snapshot) -> None:
        self._snapshots.setdefault((resource.key, namespace, snapshot.version), snapshot)
        while len(self._snapshots) > _MAX_SNAPSHOTS:
            self._snapshots.popitem(last=False)
        oldest_allowed = time.monotonic() - self._snapshot_seconds
        for key in [key for key, kept in self._snapshots.items() if kept.taken_at < oldest_allowed]:
            del self._snapshots[key]

    def _resume(self, resource: Resource, namespace: str, token: str) -> tuple[_Snapshot, int]:
        version, start = _read_token(token)
        if version < 0:  # the inconsistent continuation that a 410 offered
            snapshot = _Snapshot(
                self._store.version, time.monotonic(), self._store.within(resource, namespace)
            )
        else:
            found = self._snapshots.get((resource.key, namespace, version))
            if found is None or found.taken_at < time.monotonic() - self._snapshot_seconds:
                raise expired(_EXPIRED, _token(-1, start))
            snapshot = found
        return snapshot, bisect.bisect_left(snapshot.objects, start, key=lambda stored: stored.path)


def _take(
    objects: list[Stored], position: int, chosen: Choice | None, limit: int
) -> tuple[list[Stored], int]:
    if chosen is None:
        return objects[position : position + limit], position + limit
    items: list[Stored] = []
    while position < len(objects) and len(items) < limit:
        if chosen(objects[position]):
            items.append(objects[position])
        position += 1
    while position < len(objects) and not chosen(objects[position]):
        position += 1
    return items, position


def _token(version: int, start: str) -> str:
    raw = encode({"v": "meta.k8s.io/v1", "rv": version, "start": start})
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, str]:
    try:
        content = decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(content["rv"]), str(content["start"])
    except (ValueError, KeyError, TypeError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error


def list_json(resource: Resource, page: Page, form: Form) -> bytes:
    """A typed list, or a metadata-only one. An empty metadata-only list has null items, as the real one."""
    meta: dict[str, object] = {"resourceVersion": str(page.version)}
    if page.continue_token:
        meta["continue"] = page.continue_token
    if page.remaining is not None:
        meta["remainingItemCount"] = page.remaining
    if form == "partial":
        kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        items = b",".join([stored.partial_json for stored in page.items])
        empty = b"null"
    else:
        kind, api_version = f"{resource.kind}List", resource.api_version
        items = b",".join([stored.item_json for stored in page.items])
        empty = b"[]"
    head = encode({"kind": kind, "apiVersion": api_version, "metadata": meta})[:-1]
    return head + b',"items":' + (b"[" + items + b"]" if page.items else empty) + b"}"
