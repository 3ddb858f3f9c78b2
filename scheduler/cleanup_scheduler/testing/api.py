"""The operations of the API on objects, without HTTP: what handlers, controllers and tests in this process
call.

Each call is one transaction on the event loop. Who asks and over which wire is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cleanup_scheduler.testing import defaults, deletion, validation
from cleanup_scheduler.testing.audit import Audit, Caller
from cleanup_scheduler.testing.deletion import Deleted, DeleteOptions
from cleanup_scheduler.testing.objects import Object, format_time, generated_name, metadata, new_uid, now
from cleanup_scheduler.testing.patch import apply_patch
from cleanup_scheduler.testing.quota import Quotas
from cleanup_scheduler.testing.resources import Registry, Resource
from cleanup_scheduler.testing.schema import wrong_field
from cleanup_scheduler.testing.statuses import (
    ApiError,
    Cause,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    not_found,
)
from cleanup_scheduler.testing.store import Store, Stored

_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
_SYSTEM_FIELDS = ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields")


class Api:
    def __init__(self, store: Store, registry: Registry, audit: Audit) -> None:
        self.store = store
        self.registry = registry
        self.audit = audit
        self.quotas = Quotas(store, registry)
        self._namespaces = registry.by_key("namespaces")

    def get(self, resource: Resource, namespace: str, name: str) -> Stored:
        stored = self.store.get(resource, namespace, name)
        if stored is None:
            raise not_found(resource.plural, resource.group, name)
        return stored

    def create(self, resource: Resource, namespace: str, obj: Object, *, dry_run: bool = False) -> Object:
        """Create with defaults, validation and quota. Returns the object as stored (or as it would be)."""
        _check_identity(resource, namespace, obj)
        meta = metadata(obj)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = generated_name(meta["generateName"])
        if not meta.get("name"):
            name_cause = validation.required("metadata.name", "name or generateName is required")
            raise invalid(resource.kind, resource.group, "", name_cause)
        self._check_namespace(resource, namespace, meta["name"])
        for field in (*_SYSTEM_FIELDS, "resourceVersion", "generation"):
            meta.pop(field, None)
        meta["uid"] = new_uid()
        meta["creationTimestamp"] = format_time(now())
        if resource.has_status:
            obj.pop("status", None)
        if resource.custom:
            meta["generation"] = 1
        defaults.fill_in(resource.key, obj)
        validation.check_create(resource, obj)
        self.quotas.admit(resource, obj)
        if self.store.get(resource, namespace, meta["name"]):
            raise already_exists(resource.plural, resource.group, meta["name"])
        return obj if dry_run else self.store.add(resource, obj).decode()

    def update(
        self, resource: Resource, namespace: str, obj: Object, *, subresource: str = "", dry_run: bool = False
    ) -> Object:
        """Replace the object, or only its status. 409 when the object's resourceVersion or uid is another
        one.
        """
        _check_identity(resource, namespace, obj)
        old = self.get(resource, namespace, metadata(obj).get("name", ""))
        uid = metadata(obj).get("uid")
        if uid and uid != old.uid:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.uid}"
            raise conflict(resource.plural, resource.group, old.name, why)
        return self._write(old, obj, subresource, dry_run=dry_run)

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Any,
        content_type: str,
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        old = self.get(resource, namespace, name)
        fresh = apply_patch(content_type, old.decode(), patch, custom=resource.custom)
        if metadata(fresh).get("name") != name:
            told = (
                f"the name of the object ({metadata(fresh).get('name')}) does not match the name on the URL"
            )
            raise bad_request(f"{told} ({name})")
        if wrong := wrong_field(resource.kind, fresh):
            told = f"Invalid value: json: cannot unmarshal into Go struct field {wrong}"
            raise invalid("", "", "", Cause("patch", told))
        return self._write(old, fresh, subresource, dry_run=dry_run)

    def modify(self, stored: Stored, change: Callable[[Object], object], *, subresource: str = "") -> Object:
        """For controllers: change the newest version of an object in one transaction."""
        obj = stored.decode()
        change(obj)
        return self._write(stored, obj, subresource)

    def _write(self, old: Stored, obj: Object, subresource: str, *, dry_run: bool = False) -> Object:
        resource, before = old.resource, old.decode()
        meta = metadata(obj)
        if meta.get("resourceVersion") not in (None, "", str(old.version)):
            raise conflict(resource.plural, resource.group, old.name, _MODIFIED)
        fresh = _only_what_may_change(resource, before, obj, subresource)
        validation.check_update(resource, before, fresh)
        if deletion.is_finished_deleting(fresh) and resource.key != "namespaces":
            return fresh if dry_run else self._finish(old, fresh)
        return fresh if dry_run else self.store.replace(old, fresh).decode()

    def _finish(self, old: Stored, fresh: Object) -> Object:
        """The last finalizer is gone: the update is answered with the object, and the object goes."""
        self.store.remove(self.store.replace(old, fresh))
        return fresh

    def delete(
        self, resource: Resource, namespace: str, name: str, options: DeleteOptions, caller: Caller
    ) -> Deleted:
        """Delete one object and witness it, whatever comes of it."""
        entry = self.audit.begin("delete", resource, namespace, name, options, caller)
        try:
            stored = self.get(resource, namespace, name)
            entry.uid = stored.uid
            deleted = deletion.delete(self.store, stored, options)
        except ApiError as error:
            self.audit.finish(entry, error.code, error.reason)
            raise
        self.audit.finish(entry, 200)
        return deleted

    def delete_collection(
        self, resource: Resource, chosen: list[Stored], namespace: str, options: DeleteOptions, caller: Caller
    ) -> list[Object]:
        """Delete one after the other by name, as Kubernetes does: without uid preconditions of their own."""
        entry = self.audit.begin("deletecollection", resource, namespace, "", options, caller)
        deleted = []
        for stored in chosen:
            current = self.store.get(resource, stored.namespace, stored.name)
            if current is not None:
                deleted.append(deletion.delete(self.store, current, options).obj)
        self.audit.finish(entry, 200)
        return deleted

    def _check_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        if not resource.namespaced:
            return
        stored = self.store.get(self._namespaces, "", namespace)
        if stored is None:
            raise not_found("namespaces", "", namespace)
        if b'"deletionTimestamp"' in stored.metadata_json:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            told = f"namespace {namespace} is being terminated"
            cause = Cause("metadata.namespace", told, "NamespaceTerminating")
            raise forbidden(resource.plural, resource.group, name, why, cause)


def _check_types(resource: Resource, obj: Object) -> None:
    """What an object must get right before it is looked at: the types of the fields that are known."""
    wrong = wrong_field("ObjectMeta", obj.get("metadata") or {}, "metadata")
    if not wrong and not resource.custom:
        wrong = wrong_field(resource.kind, obj)
    if wrong:
        raise bad_request(f"json: cannot unmarshal into Go struct field {resource.kind}.{wrong}: wrong type")


def _check_identity(resource: Resource, namespace: str, obj: Object) -> None:
    """The object is of the kind and the namespace that the path says; what it leaves out is filled in."""
    _check_types(resource, obj)
    api_version, kind = obj.get("apiVersion") or resource.api_version, obj.get("kind") or resource.kind
    if api_version != resource.api_version:
        told = f"the API version in the data ({api_version}) does not match the expected API version "
        raise bad_request(f"{told}({resource.api_version})")
    if kind != resource.kind:
        raise bad_request(f"{kind} in version {resource.version!r} cannot be handled as a {resource.kind}")
    meta = metadata(obj)
    if resource.namespaced:
        if meta.get("namespace") not in (None, "", namespace):
            why = "the namespace of the provided object does not match the namespace sent on the request"
            raise bad_request(why)
        meta["namespace"] = namespace
    rest = {key: value for key, value in obj.items() if key not in ("kind", "apiVersion", "metadata")}
    obj.clear()
    obj.update({"kind": kind, "apiVersion": api_version, "metadata": meta} | rest)


def _only_what_may_change(resource: Resource, before: Object, obj: Object, subresource: str) -> Object:
    """Merge a request into the stored object: the status or all but the status, and never the system's
    fields.
    """
    old_meta, meta = before["metadata"], metadata(obj)
    meta.pop("managedFields", None)
    for field in ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        meta.pop(field, None)
        if field in old_meta:
            meta[field] = old_meta[field]
    meta.setdefault("uid", old_meta["uid"])
    meta["resourceVersion"] = old_meta["resourceVersion"]
    if subresource == "status":
        return {**before, "metadata": meta, "status": obj.get("status") or {}}
    fresh = {"kind": before["kind"], "apiVersion": before["apiVersion"], "metadata": meta} | {
        key: value for key, value in obj.items() if key not in ("kind", "apiVersion", "metadata", "status")
    }
    status_source = before if resource.has_status else obj
    if "status" in status_source:
        fresh["status"] = status_source["status"]
    if meta.get("generation") and fresh.get("spec") != before.get("spec"):
        meta["generation"] += 1
    return fresh
