"""Reads kube-apiserver's audit log: the witness that knows every request to delete, whoever sent it.

What our own code says that it did plays no part here. It refuses to guess: a line that is no audit event is
an error.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class BadAuditLog(Exception):
    """The file holds something else than audit events, one in a line."""


@dataclass(frozen=True, kw_only=True)
class AuditedDelete:
    """One request. ``asked_uid`` is its precondition, ``object_uid`` the uid of what the name led to (empty
    when there was nothing, or when the cluster does not log bodies).
    """

    verb: str  # delete, deletecollection, or evict
    resource: str  # plural, with its group: jobs.batch
    namespace: str
    name: str
    asked_uid: str
    object_uid: str
    user: str
    user_agent: str
    received_at: datetime
    code: int
    audit_id: str

    @property
    def accepted(self) -> bool:
        return 200 <= self.code < 300

    def __str__(self) -> str:
        what = f"{self.verb} {self.resource} {self.namespace}/{self.name}".rstrip("/")
        uid = self.asked_uid or "none"
        return f"{what} (uid asked for: {uid}) by {self.user} with {self.user_agent}: {self.code}"


def parse(line: str) -> AuditedDelete | None:
    """None for a request that deletes nothing."""
    try:
        event: Event = json.loads(line)
        verb = verb_of(event)
        return read(event, verb) if verb and event["stage"] == "ResponseComplete" else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadAuditLog(f"no audit event ({error!r}): {line[:200]}") from error


def verb_of(event: Event) -> str:
    if event["verb"] in ("delete", "deletecollection"):
        return str(event["verb"])
    return "evict" if (event.get("objectRef") or {}).get("subresource") == "eviction" else ""


def read(event: Event, verb: str) -> AuditedDelete:
    reference, options = event["objectRef"], event.get("requestObject") or {}
    options = options.get("deleteOptions") or options  # an Eviction carries them inside
    group = reference.get("apiGroup", "")
    return AuditedDelete(
        verb=verb,
        resource=f"{reference['resource']}.{group}" if group and verb != "evict" else reference["resource"],
        namespace=reference.get("namespace", ""),
        name=reference.get("name", ""),
        asked_uid=(options.get("preconditions") or {}).get("uid", ""),
        object_uid=object_uid(event),
        user=event["user"]["username"],
        user_agent=event.get("userAgent", ""),
        received_at=datetime.fromisoformat(event["requestReceivedTimestamp"]),
        code=(event.get("responseStatus") or {}).get("code", 0),
        audit_id=event["auditID"],
    )


def object_uid(event: Event) -> str:
    """From the answer: the object that goes, or the Status that speaks of it."""
    answer = event.get("responseObject") or {}
    found: str = (answer.get("details") or {}).get("uid") or (answer.get("metadata") or {}).get("uid") or ""
    return found or event["objectRef"].get("uid", "")


class AuditLog:
    """One file, read from marks on, so that a long day's log is not read again by each test."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def mark(self) -> int:
        """Where the log ends now; hand it to :meth:`deletes` for what comes later."""
        return self.file.stat().st_size if self.file.exists() else 0

    def deletes(
        self, since: int = 0, *, where: Callable[[AuditedDelete], bool] = lambda _: True
    ) -> list[AuditedDelete]:
        """In the order in which they were answered. A line that is still being written is left for later."""
        found = (parse(line) for _, line in lines(self.file, since))
        return [delete for delete in found if delete and where(delete)]

    def catch_up(self, delete_something: Callable[[str], object], *, within_seconds: float = 10) -> None:
        """Wait until everything answered so far is in the file: the API server answers first and writes then.

        ``delete_something(name)`` asks the API to delete something of that name, which need not exist.
        """
        start, name = self.mark(), f"audit-{uuid.uuid4().hex}"
        delete_something(name)
        deadline = time.monotonic() + within_seconds
        while not any(delete.name == name for delete in self.deletes(start)):
            if time.monotonic() > deadline:
                raise BadAuditLog(f"{self.file} shows no delete of {name} within {within_seconds:g} s")
            time.sleep(0.02)


class Follower:
    """Collects the deletes as events of ``audit.k8s.io/v1``, from its own making on; reads each line once."""

    def __init__(self, log: AuditLog) -> None:
        self._file, self._position = log.file, log.mark()
        self._seen: list[Event] = []

    def deletes(self) -> list[Event]:
        for end, line in lines(self._file, self._position):
            self._position = end
            if parse(line):
                self._seen.append(json.loads(line))
        return list(self._seen)


def lines(file: Path, since: int) -> Iterable[tuple[int, str]]:
    """The complete lines behind ``since``, which may lie inside a line, each with where it ends."""
    if not file.exists():
        return
    with file.open("rb") as log:
        log.seek(max(since - 1, 0))
        if since and log.read(1) != b"\n":
            log.readline()
        while (line := log.readline()).endswith(b"\n"):
            yield log.tell(), line.decode()


def by_agent(prefix: str) -> Callable[[AuditedDelete], bool]:
    """Requests of a program, by how its user agent begins."""
    return lambda delete: delete.user_agent.startswith(prefix)


def by_service_account(namespace: str, name: str) -> Callable[[AuditedDelete], bool]:
    return lambda delete: delete.user == f"system:serviceaccount:{namespace}:{name}"


@dataclass(frozen=True)
class Comparison:
    """What was asked of the API, against the uids that were to be asked for."""

    unguarded: list[AuditedDelete]  # without a uid, or a whole collection: could have hit anything
    unrequested: list[AuditedDelete]  # with a uid that nobody requested
    never_sent: set[str]  # requested, and the API never heard of it

    def assert_nothing_else_was_deleted(self) -> None:
        wrong = [*self.unguarded, *self.unrequested]
        assert not wrong, "deletes that nobody requested:\n" + "\n".join(map(str, wrong))


def compare(deletes: Iterable[AuditedDelete], requested: Collection[str]) -> Comparison:
    """``requested`` are uids: the identity; a name is only an address."""
    seen = list(deletes)
    guarded = [delete for delete in seen if delete.verb == "delete" and delete.asked_uid]
    return Comparison(
        unguarded=[delete for delete in seen if delete not in guarded],
        unrequested=[delete for delete in guarded if delete.asked_uid not in requested],
        never_sent=set(requested) - {delete.asked_uid for delete in guarded},
    )
