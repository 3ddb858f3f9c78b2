"""What each verb does with a request, and the form of its answer: full objects, metadata only, or a table."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from cleanup_scheduler.testing.api import Api
from cleanup_scheduler.testing.audit import Caller
from cleanup_scheduler.testing.deletion import Deleted, is_dry_run, parse_delete_options
from cleanup_scheduler.testing.kubelet import Kubelet
from cleanup_scheduler.testing.lists import Form, Lists, Page, choice, list_json
from cleanup_scheduler.testing.objects import Object, encode
from cleanup_scheduler.testing.paths import Target
from cleanup_scheduler.testing.podlogs import open_log
from cleanup_scheduler.testing.resources import Resource
from cleanup_scheduler.testing.statuses import ApiError, bad_request, method_not_allowed
from cleanup_scheduler.testing.store import Stored, freeze
from cleanup_scheduler.testing.tables import table_json
from cleanup_scheduler.testing.watch import Watch, WatchRequest

_JSON = {"Content-Type": "application/json"}
_DEFAULT_WATCH_SECONDS = (1_800.0, 3_600.0)


@dataclass(frozen=True, slots=True)
class Request:
    raw: web.BaseRequest
    target: Target
    verb: str
    query: dict[str, str]
    body: Any
    caller: Caller

    @property
    def resource(self) -> Resource:
        return self.target.resource

    @property
    def dry_run(self) -> bool:
        kind = {"create": "CreateOptions", "patch": "PatchOptions"}.get(self.verb, "UpdateOptions")
        return is_dry_run(self.query.get("dryRun"), kind)

    @property
    def form(self) -> Form:
        """The first form of the Accept header that is served; 406 when there is none."""
        accept = self.raw.headers.get("Accept") or "*/*"
        for wanted in accept.split(","):
            media_type, _, parameters = wanted.strip().partition(";")
            if media_type not in ("application/json", "*/*", "application/*"):
                continue
            if "as=Table" in parameters:
                if "v=v1beta1" not in parameters:
                    return "table"
            elif "as=PartialObjectMetadata" in parameters:
                return "partial"
            elif "as=" not in parameters:
                return "full"
        raise ApiError(406, "NotAcceptable", "only the following media types are accepted: application/json")


class Handlers:
    def __init__(self, api: Api, lists: Lists, kubelet: Kubelet) -> None:
        self._api = api
        self._lists = lists
        self._kubelet = kubelet

    async def handle(self, request: Request) -> web.StreamResponse:
        """Answer a request, or raise ApiError."""
        subresource = request.target.subresource
        if subresource == "log":
            return await self._log(request)
        if request.verb == "watch":
            return await self._watch(request)
        if subresource and request.verb not in ("get", "update", "patch"):
            raise method_not_allowed()
        verbs: dict[str, Callable[[Request], web.Response]] = {
            "get": self._get,
            "list": self._list,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }
        named = bool(request.target.name)
        if request.verb not in verbs or named is (request.verb in ("create", "list", "deletecollection")):
            raise method_not_allowed()
        needs_namespace = request.resource.namespaced and request.verb not in ("list", "deletecollection")
        if needs_namespace and not request.target.namespace:
            raise method_not_allowed()
        return verbs[request.verb](request)

    def _get(self, request: Request) -> web.Response:
        target = request.target
        return _answer(request, self._api.get(target.resource, target.namespace, target.name))

    def _page(self, request: Request) -> Page:
        query = request.query
        chosen = choice(request.resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        exact = query.get("resourceVersionMatch") == "Exact"
        version = _number(query, "resourceVersion")
        if exact and 0 < version < self._api.store.version:
            raise ApiError(410, "Expired", f"The resourceVersion for the provided list is too old: {version}")
        return self._lists.page(
            request.resource,
            request.target.namespace,
            chosen,
            limit=_number(query, "limit"),
            continue_token=query.get("continue", ""),
            version=version,
        )

    def _list(self, request: Request) -> web.Response:
        page, form = self._page(request), request.form
        if form == "table":
            meta: dict[str, object] = {"resourceVersion": str(page.version)}
            if page.continue_token:
                meta["continue"] = page.continue_token
            include = request.query.get("includeObject", "Metadata")
            return _json(table_json(request.resource, page.items, meta, include=include))
        return _json(list_json(request.resource, page, form))

    def _create(self, request: Request) -> web.Response:
        obj = self._api.create(
            request.resource, request.target.namespace, _object_in(request), dry_run=request.dry_run
        )
        return _answer(request, freeze(request.resource, obj), status=201)

    def _update(self, request: Request) -> web.Response:
        target, obj = request.target, _object_in(request)
        meta = obj.setdefault("metadata", {})
        if meta.setdefault("name", target.name) != target.name:
            why = (
                f"the name of the object ({meta['name']}) does not match the name on the URL ({target.name})"
            )
            raise bad_request(why)
        updated = self._api.update(
            target.resource, target.namespace, obj, subresource=target.subresource, dry_run=request.dry_run
        )
        return _answer(request, freeze(target.resource, updated))

    def _patch(self, request: Request) -> web.Response:
        target = request.target
        content_type = request.raw.headers.get("Content-Type", "").partition(";")[0]
        patched = self._api.patch(
            target.resource,
            target.namespace,
            target.name,
            request.body,
            content_type,
            subresource=target.subresource,
            dry_run=request.dry_run,
        )
        return _answer(request, freeze(target.resource, patched))

    def _delete(self, request: Request) -> web.Response:
        target = request.target
        options = parse_delete_options(request.body, request.query)
        deleted = self._api.delete(target.resource, target.namespace, target.name, options, request.caller)
        if deleted.removed and not target.resource.returns_deleted:
            return _json(encode(_deleted_status(target, deleted)))
        return _answer(request, freeze(target.resource, deleted.obj))

    def _delete_collection(self, request: Request) -> web.Response:
        if request.resource.namespaced and not request.target.namespace:
            raise method_not_allowed()
        options = parse_delete_options(request.body, request.query)
        page, target = self._page(request), request.target
        gone = self._api.delete_collection(
            target.resource, page.items, target.namespace, options, request.caller
        )
        items = [freeze(target.resource, obj) for obj in gone]
        return _json(list_json(target.resource, Page(items, page.version), request.form))

    async def _watch(self, request: Request) -> web.StreamResponse:
        query, resource, form = request.query, request.resource, request.form
        chosen = choice(resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        watch_request = WatchRequest(
            resource=resource,
            namespace=request.target.namespace,
            chosen=chosen,
            version=_number(query, "resourceVersion"),
            bookmarks=query.get("allowWatchBookmarks", "").lower() in ("true", "1"),
            initial_events=query.get("sendInitialEvents", "").lower() in ("true", "1"),
            timeout_seconds=float(_number(query, "timeoutSeconds"))
            or random.uniform(*_DEFAULT_WATCH_SECONDS),  # noqa: S311
        )
        response = web.StreamResponse(headers=_JSON)
        with Watch(self._api.store, watch_request, _renderer(resource, form, query)) as watch:
            await response.prepare(request.raw)
            async for lines in watch.lines():
                await response.write(lines)
        await response.write_eof()
        return response

    async def _log(self, request: Request) -> web.StreamResponse:
        if request.verb != "get":
            raise method_not_allowed()
        target = request.target
        stored = self._api.get(target.resource, target.namespace, target.name)
        chunks = open_log(self._kubelet, stored, request.query)
        if chunks is None:
            return web.Response(status=204)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request.raw)
        async for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
        return response


def _renderer(resource: Resource, form: Form, query: dict[str, str]) -> Callable[[Stored], bytes]:
    if form == "partial":
        return lambda stored: stored.partial_json
    if form == "full":
        return lambda stored: stored.body
    include = query.get("includeObject", "Metadata")

    def row(stored: Stored) -> bytes:
        meta: dict[str, object] = {"resourceVersion": str(stored.version)}
        return table_json(resource, [stored], meta, include=include)

    return row


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(status=status, body=body, headers=_JSON)


def _answer(request: Request, stored: Stored, status: int = 200) -> web.Response:
    form = request.form
    if form == "partial":
        return _json(stored.partial_json, status)
    if form == "table":
        include = request.query.get("includeObject", "Metadata")
        meta: dict[str, object] = {"resourceVersion": str(stored.version)}
        return _json(table_json(request.resource, [stored], meta, include=include), status)
    return _json(stored.body, status)


def _deleted_status(target: Target, deleted: Deleted) -> Object:
    details: Object = {
        "name": target.name,
        "kind": target.resource.plural,
        "uid": deleted.obj["metadata"]["uid"],
    }
    if target.resource.group:
        details["group"] = target.resource.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _object_in(request: Request) -> Object:
    if not isinstance(request.body, dict):
        raise bad_request("the request needs a JSON object as its body")
    return dict(request.body)


def _number(query: dict[str, str], name: str) -> int:
    text = query.get(name) or "0"
    try:
        return int(text)
    except ValueError as error:
        raise bad_request(f"{name}: Invalid value: {text!r}: must be a number") from error
