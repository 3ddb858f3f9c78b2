"""Tables: what ``kubectl get`` shows, as columns and rows that the server makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from cleanup_scheduler.testing.objects import Object, decode, encode, now, parse_time
from cleanup_scheduler.testing.resources import Resource
from cleanup_scheduler.testing.store import Stored

_Cells = Callable[[Object], list[object]]


def _age(text: str | None, until: datetime | None = None) -> str:
    if not text:
        return "<unknown>"
    seconds = max(0, int(((until or now()) - parse_time(text)).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size * 2:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _created(obj: Object) -> str:
    return _age(obj["metadata"].get("creationTimestamp"))


def _pod_reason(obj: Object) -> str:
    status = obj.get("status") or {}
    reason = str(status.get("reason") or status.get("phase") or "Unknown")
    for container in status.get("containerStatuses") or ():
        state = container.get("state") or {}
        detail = state.get("waiting") or state.get("terminated") or {}
        reason = detail.get("reason") or reason
    running = any((c.get("state") or {}).get("running") for c in status.get("containerStatuses") or ())
    if reason == "Completed" and running:
        reason = "Running"
    if "deletionTimestamp" in obj["metadata"] and status.get("phase") not in ("Succeeded", "Failed"):
        return "Terminating"
    return reason


def _pod(obj: Object) -> list[object]:
    containers = (obj.get("status") or {}).get("containerStatuses") or ()
    ready = sum(bool(container.get("ready")) for container in containers)
    restarts = sum(container.get("restartCount", 0) for container in containers)
    return [f"{ready}/{len(obj['spec']['containers'])}", _pod_reason(obj), str(restarts), _created(obj)]


def _job(obj: Object) -> list[object]:
    spec, status = obj["spec"], obj.get("status") or {}
    conditions = {c["type"] for c in status.get("conditions") or () if c["status"] == "True"}
    shown = next((kind for kind in ("Complete", "Failed", "Suspended") if kind in conditions), "Running")
    if "deletionTimestamp" in obj["metadata"]:
        shown = "Terminating"
    completions = spec.get("completions")
    wanted = str(completions) if completions is not None else f"1 of {spec.get('parallelism')}"
    end = status.get("completionTime")
    duration = _age(status["startTime"], parse_time(end) if end else None) if status.get("startTime") else ""
    return [shown, f"{status.get('succeeded', 0)}/{wanted}", duration, _created(obj)]


def _quota(obj: Object) -> list[object]:
    hard = (obj.get("spec") or {}).get("hard") or {}
    used = (obj.get("status") or {}).get("used") or {}
    shown: dict[bool, list[str]] = {False: [], True: []}
    for key in sorted(hard):
        shown[key.startswith("limits.")].append(f"{key}: {used.get(key, '0')}/{hard[key]}")
    return [", ".join(shown[False]), ", ".join(shown[True]), _created(obj)]


def _namespace(obj: Object) -> list[object]:
    return [(obj.get("status") or {}).get("phase", ""), _created(obj)]


def _event(obj: Object) -> list[object]:
    about = obj.get("involvedObject") or {}
    subject = f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"
    return [
        _age(obj.get("lastTimestamp")),
        obj.get("type", ""),
        obj.get("reason", ""),
        subject,
        obj.get("message", ""),
    ]


def _node(obj: Object) -> list[object]:
    version = ((obj.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion", "")
    return ["Ready", "<none>", _created(obj), version]


def _plain(obj: Object) -> list[object]:
    return [_created(obj)]


def _data(obj: Object) -> list[object]:
    return [str(len(obj.get("data") or {})), _created(obj)]


_TABLES: dict[str, tuple[tuple[str, ...], _Cells]] = {
    "pods": (("Ready", "Status", "Restarts", "Age"), _pod),
    "jobs.batch": (("Status", "Completions", "Duration", "Age"), _job),
    "resourcequotas": (("Request", "Limit", "Age"), _quota),
    "namespaces": (("Status", "Age"), _namespace),
    "configmaps": (("Data", "Age"), _data),
    "nodes": (("Status", "Roles", "Age", "Version"), _node),
}
_EVENT_COLUMNS = ("Last Seen", "Type", "Reason", "Object", "Message")
_DEFAULT: tuple[tuple[str, ...], _Cells] = (("Age",), _plain)


def table_json(
    resource: Resource,
    items: Iterable[Stored],
    meta: dict[str, object],
    *,
    include: str = "Metadata",
    headers: bool = True,
) -> bytes:
    """A ``Table``; ``include`` is what each row carries of its object: None, Metadata or Object."""
    columns, cells = _TABLES.get(resource.key, _DEFAULT)
    named = resource.key != "events"
    if not named:
        columns, cells = _EVENT_COLUMNS, _event
    rows = []
    for stored in items:
        obj = stored.decode()
        shown = cells(obj)
        row: Object = {"cells": [stored.name, *shown] if named else shown}
        if include != "None":
            row["object"] = obj if include == "Object" else decode(stored.partial_json)
        rows.append(row)
    names = ("Name", *columns) if named else columns
    definitions = [
        {
            "name": name,
            "type": "string",
            "format": "name" if name == "Name" else "",
            "description": "",
            "priority": 0,
        }
        for name in names
    ]
    return encode(
        {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": meta,
            "columnDefinitions": definitions if headers else [],
            "rows": rows,
        }
    )
