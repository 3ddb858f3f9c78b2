"""The objects, as immutable JSON with one counter of versions, and the events that watches and controllers
follow.

Bytes instead of dictionaries: a hundred thousand pods fit in memory, nobody can change an object in place,
and a list or a metadata-only list is a join of slices. Everything runs on one event loop; a call that does
not await is a transaction. It knows nothing of HTTP, admission or deletion rules.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from cleanup_scheduler.testing.objects import Object, decode, encode
from cleanup_scheduler.testing.resources import Resource
from cleanup_scheduler.testing.selectors import field_value

DEFAULT_HISTORY_EVENTS = 10_000
_NO_LABELS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """One version of one object."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    version: int
    labels: Mapping[str, str]
    owner_uids: tuple[str, ...]
    fields: tuple[str, ...]
    body: bytes
    metadata_start: int
    metadata_end: int

    @property
    def path(self) -> str:
        return f"{self.namespace}/{self.name}"

    def decode(self) -> Object:
        """A fresh dictionary; the caller may change it."""
        found: Object = decode(self.body)
        return found

    @property
    def metadata_json(self) -> bytes:
        return self.body[self.metadata_start : self.metadata_end]

    @property
    def item_json(self) -> bytes:
        """As an item of a typed list, where built-in kinds carry no kind and apiVersion."""
        if self.resource.custom:
            return self.body
        return b"{" + self.body[self.metadata_start - len(_METADATA) + 1 :]

    @property
    def partial_json(self) -> bytes:
        return (
            b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":'
            + self.metadata_json
            + b"}"
        )


_METADATA = b',"metadata":'


def freeze(resource: Resource, obj: Object) -> Stored:
    meta = obj["metadata"]
    head = encode({"kind": obj.get("kind"), "apiVersion": obj.get("apiVersion")})[:-1]
    meta_json = encode(meta)
    rest = encode({key: value for key, value in obj.items() if key not in ("kind", "apiVersion", "metadata")})
    start = len(head) + len(_METADATA)
    tail = b"," + rest[1:] if len(rest) > len(b"{}") else b"}"
    return Stored(
        resource=resource,
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        uid=meta["uid"],
        version=int(meta.get("resourceVersion") or 0),
        labels=meta.get("labels") or _NO_LABELS,
        owner_uids=tuple(ref["uid"] for ref in meta.get("ownerReferences") or ()),
        fields=tuple(field_value(obj, path) for path in resource.fields),
        body=head + _METADATA + meta_json + tail,
        metadata_start=start,
        metadata_end=start + len(meta_json),
    )


EventType = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True, slots=True)
class Event:
    type: EventType
    stored: Stored
    previous: Stored | None

    @property
    def version(self) -> int:
        return self.stored.version


Listener = Callable[[Event], None]


class Table:
    """All objects of one ``plural.group``."""

    def __init__(self, history_events: int) -> None:
        self.objects: dict[str, Stored] = {}
        self.paths: list[str] = []
        self.history: deque[Event] = deque()
        self.forgotten_version = 0
        self.listeners: list[Listener] = []
        self._history_events = history_events

    def record(self, event: Event) -> None:
        self.history.append(event)
        if len(self.history) > self._history_events:
            self.forgotten_version = self.history.popleft().version
        for listener in tuple(self.listeners):
            listener(event)

    def forget_history(self, version: int) -> None:
        self.history.clear()
        self.forgotten_version = version


class Store:
    """Tables of objects and the indexes that controllers need: by uid, and by owner's uid."""

    def __init__(self, history_events: int = DEFAULT_HISTORY_EVENTS) -> None:
        self.version = 1
        self._history_events = history_events
        self._tables: dict[str, Table] = {}
        self._by_uid: dict[str, Stored] = {}
        self._dependents: dict[str, set[str]] = {}
        self._listeners: list[Listener] = []

    def table(self, resource: Resource) -> Table:
        found = self._tables.get(resource.key)
        if found is None:
            found = self._tables[resource.key] = Table(self._history_events)
        return found

    def tables(self) -> Iterator[Table]:
        return iter(list(self._tables.values()))

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` for every event of every kind, in the transaction that makes it."""
        self._listeners.append(listener)

    def get(self, resource: Resource, namespace: str, name: str) -> Stored | None:
        return self.table(resource).objects.get(f"{namespace}/{name}")

    def by_uid(self, uid: str) -> Stored | None:
        return self._by_uid.get(uid)

    def dependents(self, uid: str) -> list[Stored]:
        """The objects that name this uid as an owner."""
        return [self._by_uid[dependent] for dependent in self._dependents.get(uid, ())]

    def within(self, resource: Resource, namespace: str = "") -> list[Stored]:
        """All objects of a kind, of one namespace or of all, in the order of their paths."""
        table = self.table(resource)
        paths = table.paths
        if namespace:
            # "0" follows "/" in ASCII, so this is the end of everything that starts with "namespace/".
            start, end = (
                bisect.bisect_left(paths, f"{namespace}/"),
                bisect.bisect_left(paths, f"{namespace}0"),
            )
            paths = paths[start:end]
        return [table.objects[path] for path in paths]

    def add(self, resource: Resource, obj: Object) -> Stored:
        stored = self._freeze(resource, obj)
        table = self.table(resource)
        bisect.insort(table.paths, stored.path)
        table.objects[stored.path] = stored
        self._index(stored)
        self._tell(table, Event("ADDED", stored, None))
        return stored

    def replace(self, old: Stored, obj: Object) -> Stored:
        """Store a new version, unless nothing but the version would differ: then the old one stays."""
        obj["metadata"]["resourceVersion"] = str(old.version)
        if obj == old.decode():
            return old
        stored = self._freeze(old.resource, obj)
        table = self.table(old.resource)
        table.objects[stored.path] = stored
        self._unindex(old)
        self._index(stored)
        self._tell(table, Event("MODIFIED", stored, old))
        return stored

    def remove(self, old: Stored) -> Stored:
        """Take the object out. Returns its last state with the version of the removal."""
        table = self.table(old.resource)
        del table.objects[old.path]
        del table.paths[bisect.bisect_left(table.paths, old.path)]
        self._unindex(old)
        last = self._freeze(old.resource, old.decode())
        self._tell(table, Event("DELETED", last, old))
        return last

    def forget_history(self) -> None:
        """As if five minutes had passed: watches from older versions get 410."""
        for table in self._tables.values():
            table.forget_history(self.version)

    def _freeze(self, resource: Resource, obj: Object) -> Stored:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        return freeze(resource, obj)

    def _tell(self, table: Table, event: Event) -> None:
        table.record(event)
        for listener in self._listeners:
            listener(event)

    def _index(self, stored: Stored) -> None:
        self._by_uid[stored.uid] = stored
        for owner in stored.owner_uids:
            self._dependents.setdefault(owner, set()).add(stored.uid)

    def _unindex(self, stored: Stored) -> None:
        self._by_uid.pop(stored.uid, None)
        for owner in stored.owner_uids:
            found = self._dependents.get(owner, set())
            found.discard(stored.uid)
            if not found:
                self._dependents.pop(owner, None)
