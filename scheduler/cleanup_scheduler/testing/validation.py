"""What makes an object acceptable: names, the fields that a kind cannot do without, and what may not change.

Only what a test meets by mistake is checked; the rest of Kubernetes' schema is not repeated here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from cleanup_scheduler.testing.objects import Object, encode, metadata
from cleanup_scheduler.testing.resources import Resource
from cleanup_scheduler.testing.simulation import SIMULATE, SIMULATED
from cleanup_scheduler.testing.statuses import Cause, invalid

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_QUALIFIED_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")

_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
    "must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
    "validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_NAME_PART_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_FINALIZER_RULE = "name is neither a standard finalizer name nor is it fully qualified"
_STANDARD_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})
_NAMED_BY_LABEL = frozenset({"namespaces", "services"})


def invalid_value(field: str, value: object, why: str) -> Cause:
    shown = f'"{value}"' if isinstance(value, str) else repr(value)
    return Cause(field, f"Invalid value: {shown}: {why}")


def required(field: str, why: str = "") -> Cause:
    return Cause(field, f"Required value: {why}" if why else "Required value", "FieldValueRequired")


def unsupported(field: str, value: str, supported: Iterable[str]) -> Cause:
    names = ", ".join(f'"{name}"' for name in supported)
    return Cause(field, f'Unsupported value: "{value}": supported values: {names}', "FieldValueNotSupported")


def check_name(resource: Resource, name: str) -> list[Cause]:
    by_label = resource.key in _NAMED_BY_LABEL
    pattern, rule, longest = (_LABEL, _LABEL_RULE, 63) if by_label else (_SUBDOMAIN, _SUBDOMAIN_RULE, 253)
    causes = []
    if not pattern.fullmatch(name):
        causes.append(invalid_value("metadata.name", name, rule))
    if len(name) > longest:
        causes.append(invalid_value("metadata.name", name, f"must be no more than {longest} bytes"))
    return causes


def check_metadata(obj: Object, resource: Resource) -> list[Cause]:
    meta = metadata(obj)
    causes = check_name(resource, meta["name"])
    for key, value in (meta.get("labels") or {}).items():
        if not isinstance(value, str) or len(value) > 63 or not _LABEL_VALUE.fullmatch(value):
            causes.append(invalid_value("metadata.labels", value, _LABEL_VALUE_RULE))
        if not _QUALIFIED_NAME.fullmatch(key.rpartition("/")[2]):
            causes.append(invalid_value("metadata.labels", key, _NAME_PART_RULE))
    for position, ref in enumerate(meta.get("ownerReferences") or ()):
        causes += [
            required(f"metadata.ownerReferences[{position}].{field}", "must not be empty")
            for field in ("apiVersion", "kind", "name", "uid")
            if not ref.get(field)
        ]
    for position, finalizer in enumerate(meta.get("finalizers") or ()):
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            causes.append(invalid_value(f"metadata.finalizers[{position}]", finalizer, _FINALIZER_RULE))
    if {"orphan", "foregroundDeletion"} <= set(meta.get("finalizers") or ()):
        both = "finalizer orphan and foregroundDeletion cannot be both set"
        causes.append(invalid_value("metadata.finalizers", meta["finalizers"], both))
    return causes


def _check_pod_spec(spec: Any, path: str) -> list[Cause]:
    if not isinstance(spec, dict) or not spec.get("containers"):
        return [required(f"{path}.containers")]
    causes = []
    for position, container in enumerate(spec["containers"]):
        where = f"{path}.containers[{position}]"
        if not container.get("name"):
            causes.append(required(f"{where}.name"))
        elif not _LABEL.fullmatch(container["name"]):
            causes.append(invalid_value(f"{where}.name", container["name"], _LABEL_RULE))
        if not container.get("image"):
            causes.append(required(f"{where}.image"))
    return causes


def _check_pod(obj: Object) -> list[Cause]:
    causes = _check_pod_spec(obj.get("spec"), "spec")
    policy, allowed = obj["spec"].get("restartPolicy"), ("Always", "OnFailure", "Never")
    if policy not in allowed:
        causes.append(unsupported("spec.restartPolicy", policy, allowed))
    played = (metadata(obj).get("annotations") or {}).get(SIMULATE)
    if played is not None and played not in SIMULATED:
        causes.append(unsupported(f"metadata.annotations[{SIMULATE}]", played, SIMULATED))
    return causes


def _check_job(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    template = spec.get("template") or {}
    causes = _check_pod_spec(template.get("spec"), "spec.template.spec")
    policy = (template.get("spec") or {}).get("restartPolicy", "")
    allowed = ("OnFailure", "Never")
    if policy in ("", None):
        causes.append(required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    elif policy not in allowed:
        causes.append(unsupported("spec.template.spec.restartPolicy", policy, allowed))
    for field in (
        "parallelism",
        "completions",
        "backoffLimit",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
    ):
        value = spec.get(field)
        if value is not None and value < 0:
            causes.append(invalid_value(f"spec.{field}", value, "must be greater than or equal to 0"))
    return causes


_CHECKS: dict[str, Callable[[Object], list[Cause]]] = {"pods": _check_pod, "jobs.batch": _check_job}


def check_create(resource: Resource, obj: Object) -> None:
    """Raise 422 with every field that is wrong."""
    causes = check_metadata(obj, resource)
    if resource.key in _CHECKS:
        causes += _CHECKS[resource.key](obj)
    _raise(resource, obj, causes)


def _raise(resource: Resource, obj: Object, causes: list[Cause]) -> None:
    if causes:
        raise invalid(resource.kind, resource.group, metadata(obj).get("name", ""), *causes)


def _was_suspended(old: Object) -> bool:
    return bool(old["spec"].get("suspend")) and not (old.get("status") or {}).get("startTime")


def _without_scheduling(template: Any) -> Object:
    """What of a pod template stays fixed while its Job is suspended: all but where its pods may go."""
    spec = dict((template or {}).get("spec") or {})
    for field in ("nodeSelector", "tolerations", "affinity", "schedulingGates"):
        spec.pop(field, None)
    return spec


def _check_job_update(old: Object, new: Object) -> list[Cause]:
    causes = []
    for field in ("selector", "completions", "completionMode", "template", "managedBy"):
        before, after = old["spec"].get(field), new["spec"].get(field)
        if field == "template" and _was_suspended(old):
            before, after = _without_scheduling(before), _without_scheduling(after)
        if before != after:
            shown = encode(after).decode() if isinstance(after, dict) else after
            causes.append(invalid_value(f"spec.{field}", shown, "field is immutable"))
    return causes + _check_job(new)


_POD_MUTABLE = frozenset(
    {"activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "schedulingGates"}
)


def _check_pod_update(old: Object, new: Object) -> list[Cause]:
    def frozen(pod: Object) -> Object:
        spec = {key: value for key, value in pod["spec"].items() if key not in _POD_MUTABLE}
        spec["containers"] = [{**c, "image": ""} for c in spec.get("containers") or ()]
        return spec

    if frozen(old) == frozen(new):
        return []
    why = (
        "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
        "existing "
        "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously "
        "negative)"
    )
    return [Cause("spec", why, "FieldValueForbidden")]


_UPDATE_CHECKS: dict[str, Callable[[Object, Object], list[Cause]]] = {
    "pods": _check_pod_update,
    "jobs.batch": _check_job_update,
}


def check_update(resource: Resource, old: Object, new: Object) -> None:
    causes = check_metadata(new, resource)
    for field in ("uid", "name", "namespace"):
        if metadata(old).get(field) != metadata(new).get(field):
            causes.append(invalid_value(f"metadata.{field}", metadata(new).get(field), "field is immutable"))
    if metadata(old).get("deletionTimestamp"):
        added = set(metadata(new).get("finalizers") or ()) - set(metadata(old).get("finalizers") or ())
        if added:
            rule = "Forbidden: no new finalizers can be added if the object is being deleted"
            why = f"{rule}, found new finalizers {sorted(added)!r}"
            causes.append(Cause("metadata.finalizers", why, "FieldValueForbidden"))
    if resource.key in _UPDATE_CHECKS:
        causes += _UPDATE_CHECKS[resource.key](old, new)
    _raise(resource, new, causes)
