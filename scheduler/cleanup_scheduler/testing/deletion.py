"""How the API deletes: preconditions, grace periods, finalizers and what the propagation policy makes of
them.

Follows ``registry/generic/registry/store.go`` and ``registry/rest/delete.go`` of Kubernetes. It marks or
removes one object; the dependents are the garbage collector's business.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cleanup_scheduler.testing.objects import Object, finalizers, format_time, now, parse_time, set_finalizers
from cleanup_scheduler.testing.statuses import ApiError, Cause, bad_request, conflict, invalid
from cleanup_scheduler.testing.store import Store, Stored

ORPHAN_FINALIZER = "orphan"
FOREGROUND_FINALIZER = "foregroundDeletion"
_POLICIES = ("Foreground", "Background", "Orphan")


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    grace_seconds: int | None = None
    propagation: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False


def parse_delete_options(body: Any, query: dict[str, str]) -> DeleteOptions:
    """From the request's body or, when it has none, its query: never both. Raises 400 and 422 as Kubernetes
    does.
    """
    given: Object = dict(query) if body is None else _options_body(body)
    grace, propagation = given.get("gracePeriodSeconds"), given.get("propagationPolicy")
    orphan = given.get("orphanDependents")
    if orphan is not None and propagation is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        raise _invalid_options("propagationPolicy", f'Invalid value: "{propagation}": {why}')
    if propagation is not None and propagation not in _POLICIES:
        supported = ", ".join(f'"{policy}"' for policy in (*_POLICIES, "nil"))
        told = f'Unsupported value: "{propagation}": supported values: {supported}'
        raise _invalid_options("propagationPolicy", told, "FieldValueNotSupported")
    if orphan is not None:
        propagation = "Orphan" if str(orphan).lower() == "true" else "Background"
    preconditions = given.get("preconditions") or {}
    try:
        grace_seconds = None if grace is None else int(grace)
    except (TypeError, ValueError) as error:
        why = "json: cannot unmarshal into Go struct field DeleteOptions.gracePeriodSeconds of type int64"
        raise bad_request(why) from error
    return DeleteOptions(
        grace_seconds=grace_seconds,
        propagation=propagation,
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        dry_run=is_dry_run(given.get("dryRun"), "DeleteOptions"),
    )


def is_dry_run(asked: Any, kind: str) -> bool:
    """Whether ``dryRun`` says All; 422 for what it may not say. ``kind`` is that of the options."""
    values = [asked] if isinstance(asked, str) and asked else asked or []
    if values and values != ["All"]:
        told = f'Unsupported value: {json.dumps(values)}: supported values: "All"'
        raise _invalid_options("dryRun", told, "FieldValueNotSupported", kind)
    return bool(values)


def _invalid_options(
    field: str, told: str, reason: str = "FieldValueInvalid", kind: str = "DeleteOptions"
) -> ApiError:
    return invalid(kind, "meta.k8s.io", "", Cause(field, told, reason))


def _options_body(body: Any) -> Object:
    if not isinstance(body, dict) or body.get("kind", "DeleteOptions") != "DeleteOptions":
        raise bad_request("the object provided is unrecognized (must be of type DeleteOptions)")
    preconditions = body.get("preconditions") or {}
    if not isinstance(preconditions, dict) or any(
        not isinstance(v, str | None) for v in preconditions.values()
    ):
        raise bad_request("json: cannot unmarshal into Go struct field Preconditions of type string")
    return body


@dataclass(frozen=True, slots=True)
class Deleted:
    """The object as it is now, or was last; ``removed`` when the API no longer has it."""

    obj: Object
    removed: bool


def delete(store: Store, stored: Stored, options: DeleteOptions) -> Deleted:
    """Delete one object as far as its finalizers and its grace period allow at once."""
    obj = stored.decode()
    meta = obj["metadata"]
    if stored.resource.key == "namespaces":
        return _delete_namespace(store, stored, obj, options)
    check_preconditions(stored, options)
    graceful = stored.resource.key == "pods"
    if graceful and not _apply_grace(obj, options):
        return Deleted(obj, removed=False)  # already being deleted, and not sooner by this request
    _set_policy_finalizers(stored, obj, options)
    if finalizers(obj):
        if not graceful or meta.get("deletionGracePeriodSeconds") == 0:
            mark(obj)
        return Deleted(_write(store, stored, obj, options), removed=False)
    if graceful and meta["deletionGracePeriodSeconds"] > 0:
        return Deleted(_write(store, stored, obj, options), removed=False)
    if not options.dry_run:
        obj = store.remove(store.replace(stored, obj) if graceful else stored).decode()
    return Deleted(obj, removed=True)


def check_preconditions(stored: Stored, options: DeleteOptions) -> None:
    resource = stored.resource
    if options.uid is not None and options.uid != stored.uid:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({stored.uid}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict(resource.kind, resource.group, stored.name, why)
    if options.resource_version is not None and options.resource_version != str(stored.version):
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the "
            f"ResourceVersion "
            f"in record ({stored.version}). The object might have been modified"
        )
        raise conflict(resource.kind, resource.group, stored.name, why)


def mark(obj: Object) -> None:
    """Set the deletion timestamp to now, unless it is earlier already, and the grace to none."""
    meta = obj["metadata"]
    moment = now()
    if "deletionTimestamp" not in meta:
        if meta.get("generation"):
            meta["generation"] += 1
        meta["deletionTimestamp"] = format_time(moment)
    elif parse_time(meta["deletionTimestamp"]) > moment:
        meta["deletionTimestamp"] = format_time(moment)
    meta["deletionGracePeriodSeconds"] = 0


def is_finished_deleting(obj: Object) -> bool:
    """True when nothing holds a deleted object any longer: the update that made it so removes it."""
    meta = obj["metadata"]
    if "deletionTimestamp" not in meta or meta.get("finalizers"):
        return False
    return not meta.get("deletionGracePeriodSeconds")


def _write(store: Store, stored: Stored, obj: Object, options: DeleteOptions) -> Object:
    return obj if options.dry_run else store.replace(stored, obj).decode()


def _apply_grace(obj: Object, options: DeleteOptions) -> bool:
    """Set or shorten a pod's grace period. False when a deletion is pending that this one does not hasten."""
    meta = obj["metadata"]
    asked = options.grace_seconds
    if asked is not None and asked < 0:
        asked = 1
    if "deletionTimestamp" in meta:
        pending = meta.get("deletionGracePeriodSeconds") or 0
        if not pending:
            return True
        if asked is None or asked >= pending:
            return False
        _shorten(meta, pending, asked)
        return True
    seconds = asked if asked is not None else obj["spec"].get("terminationGracePeriodSeconds", 0)
    if not obj["spec"].get("nodeName") or obj.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        seconds = 0
    meta["deletionTimestamp"] = format_time(now() + timedelta(seconds=seconds))
    meta["deletionGracePeriodSeconds"] = seconds
    if meta.get("generation"):
        meta["generation"] += 1
    return True


def _shorten(meta: Object, pending: int, asked: int) -> None:
    moment = parse_time(meta["deletionTimestamp"]) + timedelta(seconds=asked - pending)
    if moment < now():
        moment = now()
        asked = min(asked, 1)
    meta["deletionTimestamp"] = format_time(moment)
    meta["deletionGracePeriodSeconds"] = asked


def _set_policy_finalizers(stored: Stored, obj: Object, options: DeleteOptions) -> None:
    current = finalizers(obj)
    policy = options.propagation
    if policy is None:
        if ORPHAN_FINALIZER in current:
            policy = "Orphan"
        elif FOREGROUND_FINALIZER in current:
            policy = "Foreground"
        elif stored.resource.orphans_by_default:
            policy = "Orphan"
    kept = [name for name in current if name not in (ORPHAN_FINALIZER, FOREGROUND_FINALIZER)]
    if policy == "Orphan":
        kept.append(ORPHAN_FINALIZER)
    elif policy == "Foreground":
        kept.append(FOREGROUND_FINALIZER)
    set_finalizers(obj, kept)


def _delete_namespace(store: Store, stored: Stored, obj: Object, options: DeleteOptions) -> Deleted:
    for name, wanted, found in (
        ("UID", options.uid, stored.uid),
        ("ResourceVersion", options.resource_version, str(stored.version)),
    ):
        if wanted is not None and wanted != found:
            why = f"Precondition failed: {name} in precondition: {wanted}, {name} in object meta: {found}"
            raise conflict("namespaces", "", stored.name, why)
    if "deletionTimestamp" not in obj["metadata"]:
        obj["metadata"]["deletionTimestamp"] = format_time(now())
        obj.setdefault("status", {})["phase"] = "Terminating"
        return Deleted(_write(store, stored, obj, options), removed=False)
    if (obj.get("spec") or {}).get("finalizers") or finalizers(obj):
        return Deleted(obj, removed=False)
    if not options.dry_run:
        obj = store.remove(stored).decode()
    return Deleted(obj, removed=True)
