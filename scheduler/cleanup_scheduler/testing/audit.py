"""The witness: every request to delete, with who asked and what became of it, as Kubernetes' audit log would
tell it.

It only ever records; nothing in the cluster reads it back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cleanup_scheduler.testing.deletion import DeleteOptions
from cleanup_scheduler.testing.objects import Object, encode, format_micro_time, new_uid, now
from cleanup_scheduler.testing.resources import Resource


@dataclass(frozen=True, slots=True)
class Caller:
    user: str
    agent: str = ""


def controller(name: str) -> Caller:
    return Caller(f"system:serviceaccount:kube-system:{name}", "embedded-cluster")


NODE = Caller("system:node:embedded", "embedded-cluster")


@dataclass(slots=True)
class DeleteRecord:
    """One request. ``uid`` is the uid of the object that the name led to, empty when there was none."""

    verb: str
    resource: Resource
    namespace: str
    name: str
    options: DeleteOptions
    caller: Caller
    received_at: str = field(default_factory=lambda: format_micro_time(now()))
    answered_at: str = ""
    uid: str = ""
    code: int = 0
    reason: str = ""
    audit_id: str = field(default_factory=new_uid)

    def event(self) -> Object:
        """In the fields of ``audit.k8s.io/v1``."""
        reference: Object = {"resource": self.resource.plural, "apiVersion": self.resource.version}
        optional = {
            "namespace": self.namespace,
            "name": self.name,
            "apiGroup": self.resource.group,
            "uid": self.uid,
        }
        reference |= {key: value for key, value in optional.items() if value}
        return {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Request",
            "auditID": self.audit_id,
            "stage": "ResponseComplete",
            "verb": self.verb,
            "user": {"username": self.caller.user},
            "userAgent": self.caller.agent,
            "objectRef": reference,
            "requestObject": _options_object(self.options),
            "responseStatus": {"metadata": {}, "code": self.code}
            | ({"reason": self.reason} if self.reason else {}),
            "requestReceivedTimestamp": self.received_at,
            "stageTimestamp": self.answered_at,
        }


def _options_object(options: DeleteOptions) -> Object:
    found: Object = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    if options.grace_seconds is not None:
        found["gracePeriodSeconds"] = options.grace_seconds
    if options.propagation is not None:
        found["propagationPolicy"] = options.propagation
    if options.dry_run:
        found["dryRun"] = ["All"]
    preconditions = {"uid": options.uid, "resourceVersion": options.resource_version}
    given = {key: value for key, value in preconditions.items() if value is not None}
    if given:
        found["preconditions"] = given
    return found


class Audit:
    def __init__(self, log_file: Path | None = None) -> None:
        self._records: list[DeleteRecord] = []
        self._lock = threading.Lock()
        self._log = log_file.open("ab", buffering=0) if log_file else None

    def begin(
        self, verb: str, resource: Resource, namespace: str, name: str, options: DeleteOptions, caller: Caller
    ) -> DeleteRecord:
        return DeleteRecord(verb, resource, namespace, name, options, caller)

    def finish(self, record: DeleteRecord, code: int, reason: str = "") -> None:
        record.code, record.reason = code, reason
        record.answered_at = format_micro_time(now())
        with self._lock:
            self._records.append(record)
        if self._log is not None:
            self._log.write(encode(record.event()) + b"\n")

    def deletes(self, chosen: Callable[[DeleteRecord], bool] = lambda _: True) -> list[DeleteRecord]:
        """From any thread: what was asked so far, in the order of the answers."""
        with self._lock:
            return [record for record in self._records if chosen(record)]

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
