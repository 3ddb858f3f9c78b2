"""Single objects and lists of any kind: get, list, create, patch, delete. Every change names a uid.

Refuses to hand out an object that was not asked for (another namespace, a selector that the server
ignored), and to let one odd object stop a list.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Container, Coroutine, Mapping
from typing import Any, Final, Literal

import msgspec

from cleanup_scheduler.cluster import wire
from cleanup_scheduler.cluster.answers import Expired
from cleanup_scheduler.cluster.kinds import Kind, Kinds
from cleanup_scheduler.cluster.requests import Call, Request, Transport
from cleanup_scheduler.cluster.selectors import Selector, parse_selector
from cleanup_scheduler.domain.objects import ObservedObject
from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.errors import BadAnswer, ClusterUnavailable, Conflict, NotFound, Refused, UsageError

_LOGGER = logging.getLogger(__name__)
PAGE_SIZE: Final = 500
_MAX_RESTARTS: Final = 3
_MERGE_PATCH: Final = "application/merge-patch+json"
Odd = Callable[[BadAnswer], None]


class Objects:
    """The objects of one cluster."""

    def __init__(self, transport: Transport, kinds: Kinds, cluster: str) -> None:
        self._transport, self._kinds, self._cluster = transport, kinds, cluster

    async def get(self, ref: ResourceRef) -> ObservedObject | None:
        """Its metadata; None when nothing has that name."""
        body = await self._read(ref, accept=wire.METADATA)
        if body is None:
            return None
        found = wire.read_object(body, cluster=self._cluster, kind=ref.kind)
        if (found.ref.namespace, found.ref.name) != (ref.namespace, ref.name):
            raise BadAnswer(f"asked for {ref}, the API sent {found.ref}")
        return found

    async def get_body(self, ref: ResourceRef) -> dict[str, Any] | None:
        """The whole object; None when nothing has that name."""
        body = await self._read(ref, accept="application/json")
        return None if body is None else wire.read_json(body, f"get {ref}")

    async def _read(self, ref: ResourceRef, *, accept: str) -> bytes | None:
        kind = await self._kinds.resolve(ref.kind)
        try:
            return await self._transport.send(_request("get", kind, ref.namespace, ref.name, accept=accept))
        except NotFound:
            return None

    async def list(
        self,
        kind_name: str,
        namespace: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        page_size: int = PAGE_SIZE,
        on_odd: Odd | None = None,
    ) -> AsyncIterator[ObservedObject]:
        """What carries the labels, page by page; ``namespace`` "" means all of them.

        An object that cannot be read is handed to ``on_odd`` (default: logged as a warning) and left out.
        The field selector is checked again here as far as it speaks of the name and the namespace.
        """
        kind = await self._kinds.resolve(kind_name)
        meant = _Meant(parse_selector(label_selector), _fields(field_selector), namespace)
        query = {"labelSelector": meant.labels.text, "fieldSelector": field_selector, "limit": str(page_size)}
        report = on_odd or (lambda odd: _LOGGER.warning("left out of a list: %s", odd))
        seen: set[str] = set()
        async for page in self._pages(kind, namespace, query):
            for item in page.items or ():
                try:
                    found = wire.read_object(item, cluster=self._cluster, kind=kind.canonical)
                except BadAnswer as odd:
                    report(odd)
                    continue
                if found.uid in seen:
                    continue
                seen.add(found.uid)
                if meant.matches(found):
                    yield found
                else:
                    report(BadAnswer(f"{found.ref} was not asked for; does the API ignore the selector?"))

    async def list_bodies(
        self, kind_name: str, namespace: str, names: Container[str]
    ) -> AsyncIterator[tuple[ResourceRef, dict[str, Any] | None]]:
        """Every object there, page by page, with its whole body where it has one of these names."""
        kind = await self._kinds.resolve(kind_name)
        async for page in self._pages(kind, namespace, {"limit": str(PAGE_SIZE)}, accept="application/json"):
            for item in page.items or ():
                ref = wire.read_object(item, cluster=self._cluster, kind=kind.canonical).ref
                wanted = ref.namespace == namespace and ref.name in names
                yield ref, wire.read_json(item, f"list {kind.canonical}") if wanted else None

    async def _pages(
        self, kind: Kind, namespace: str, query: dict[str, str], *, accept: str = wire.METADATA_LIST
    ) -> AsyncIterator[wire.WireList]:
        """API concepts, "Retrieving large results sets in chunks": an expired token comes with one that goes
        on from the same place (what changes meanwhile may be missed), else the list starts anew."""
        restarts = 0

        async def fetch(token: str) -> wire.WireList:
            asked = tuple((key, value) for key, value in {**query, "continue": token}.items() if value)
            request = _request("list", kind, namespace, accept=accept, query=asked)
            return wire.read_page(await self._transport.send(request), str(request.call))

        async with _Ahead(fetch("")) as ahead:
            while True:
                try:
                    page = await ahead.result()
                except Expired as expired:
                    restarts += 1
                    if restarts > _MAX_RESTARTS:
                        why = f"{expired.message}; the list expired {restarts} times before its end"
                        raise ClusterUnavailable(why, status=expired.status) from expired
                    ahead.begin(fetch(expired.token))
                    continue
                if page.metadata.continue_token:
                    ahead.begin(fetch(page.metadata.continue_token))
                yield page
                if not page.metadata.continue_token:
                    return

    async def create(self, manifest: Mapping[str, Any], namespace: str) -> ObservedObject:
        """Create what the manifest says; ``namespace`` holds where it names none."""
        api_version, word = manifest.get("apiVersion"), manifest.get("kind")
        metadata = manifest.get("metadata") or {}
        if not (isinstance(api_version, str) and isinstance(word, str) and isinstance(metadata, Mapping)):
            raise UsageError(
                "a manifest needs apiVersion, kind and metadata", hint="as kubectl create takes it"
            )
        kind = await self._kinds.of_manifest(api_version, word)
        where = (metadata.get("namespace") or namespace) if kind.namespaced else ""
        name = str(metadata.get("name") or metadata.get("generateName") or "")
        request = _request("create", kind, where, body=manifest, accept=wire.METADATA)
        named = msgspec.structs.replace(request.call, name=name)
        body = await self._transport.send(msgspec.structs.replace(request, call=named))
        return wire.read_object(body, cluster=self._cluster, kind=kind.canonical)

    async def patch(self, ref: ResourceRef, uid: str, changes: Mapping[str, Any]) -> ObservedObject:
        """Merge ``changes`` into the object with that uid; raises ``Conflict`` when another has the name now.

        The API lets nobody change a uid, so one in the patch is a precondition. It answers 422 then (1.37,
        measured), not the 409 of a deletion's precondition.
        """
        kind = await self._kinds.resolve(ref.kind)
        body = {**changes, "metadata": {**(changes.get("metadata") or {}), "uid": uid}}
        request = _request(
            "patch", kind, ref.namespace, ref.name, body=body, content_type=_MERGE_PATCH, accept=wire.METADATA
        )
        try:
            answer = await self._transport.send(request)
        except Refused as error:
            if error.status != 422 or "metadata.uid: Invalid value" not in error.message:
                raise
            raise Conflict(f"{ref} is not uid {uid} any more", hint="look again", status=422) from error
        return wire.read_object(answer, cluster=self._cluster, kind=ref.kind)

    async def delete(
        self,
        ref: ResourceRef,
        uid: str,
        *,
        propagation: Literal["Background", "Foreground", "Orphan"] | None = None,
        grace_seconds: int | None = None,
    ) -> bool:
        """True when the API accepted the deletion of that very uid, False when the name was gone already.

        Raises ``Conflict`` when another uid has the name now. Without ``propagation`` the dependents go in
        the background: the API's own default would orphan the pods of a Job.
        """
        if not uid:
            raise UsageError(f"{ref}: nothing is deleted without its uid", hint="look at the object first")
        kind = await self._kinds.resolve(ref.kind)
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": propagation or "Background",
        }
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            await self._transport.send(
                _request("delete", kind, ref.namespace, ref.name, body=options, accept=wire.METADATA)
            )
        except NotFound:
            return False
        return True


class _Ahead:
    """What is fetched while the caller looks at what came before."""

    def __init__(self, first: Coroutine[Any, Any, wire.WireList]) -> None:
        self._task = asyncio.create_task(first)

    def begin(self, work: Coroutine[Any, Any, wire.WireList]) -> None:
        self._task = asyncio.create_task(work)

    async def result(self) -> wire.WireList:
        return await self._task

    async def __aenter__(self) -> _Ahead:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        if not self._task.cancelled() and self._task.done():
            self._task.exception()  # looked at, so that nobody complains that it was not


class _Meant(msgspec.Struct, frozen=True):
    """What a list was asked for."""

    labels: Selector
    fields: dict[str, str]
    namespace: str

    def matches(self, found: ObservedObject) -> bool:
        name = self.fields.get("metadata.name", found.ref.name)
        namespace = self.namespace or self.fields.get("metadata.namespace", found.ref.namespace)
        return (name, namespace) == (found.ref.name, found.ref.namespace) and self.labels.matches(
            found.labels
        )


def _fields(selector: str) -> dict[str, str]:
    """The ``field=value`` parts of a field selector; ``!=`` is the API's to check."""
    parts = (part.strip().replace("==", "=") for part in selector.split(","))
    return dict(part.split("=", 1) for part in parts if "=" in part and "!=" not in part)


def _request(
    verb: Literal["get", "list", "create", "patch", "delete"],
    kind: Kind,
    namespace: str,
    name: str = "",
    *,
    accept: str = "application/json",
    query: tuple[tuple[str, str], ...] = (),
    body: Mapping[str, Any] | None = None,
    content_type: str = "application/json",
) -> Request:
    methods = {"get": "GET", "list": "GET", "create": "POST", "patch": "PATCH", "delete": "DELETE"}
    return Request(
        call=Call(verb=verb, resource=kind.plural, group=kind.group, namespace=namespace, name=name),
        method=methods[verb],
        path=kind.path(namespace, name),
        query=query,
        accept=accept,
        body=body,
        content_type=content_type,
    )
