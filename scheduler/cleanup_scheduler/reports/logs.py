"""Which archived logs answer to ``job/x``: as kubectl chooses, one container per pod unless asked for all.

Refuses to read the archive: it names the entries, whoever has the ledger fetches them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from cleanup_scheduler.domain.resources import ResourceRef
from cleanup_scheduler.domain.state import ArchivedLog, Resource, Scope


class LogSelection(msgspec.Struct, kw_only=True):
    """``logs`` have an archived body, ``missing`` say why there is none. ``other_containers`` were not asked
    for; ``pods_without`` are pods that are known and of which nothing was archived."""

    logs: list[ArchivedLog]
    missing: list[ArchivedLog]
    containers: list[str]
    other_containers: list[str]
    pods_without: list[Resource]


def select_logs(
    scope: Scope,
    resource: Resource,
    *,
    container: str = "",
    all_containers: bool = False,
    previous: bool = False,
) -> LogSelection:
    """The logs of ``resource`` and of all that was found through it."""
    pods = list(_with_found(scope, resource.ref, resource.uid))
    logs = [log for pod in pods for log in pod.logs if log.previous == previous]
    chosen: list[ArchivedLog] = []
    others: set[str] = set()
    for name in dict.fromkeys((log.pod, log.pod_uid) for log in logs):
        of_pod = [log for log in logs if (log.pod, log.pod_uid) == name]
        picked = _pick(of_pod, container, all_containers=all_containers)
        chosen.extend(picked)
        others.update({log.container for log in of_pod} - {log.container for log in picked})
    return LogSelection(
        logs=[log for log in chosen if log.archive_id],
        missing=[log for log in chosen if not log.archive_id],
        containers=list(dict.fromkeys(log.container for log in logs)),
        other_containers=sorted(others),
        pods_without=[pod for pod in pods if pod.ref.kind == "pods" and not pod.logs],
    )


def _pick(logs: list[ArchivedLog], container: str, *, all_containers: bool) -> list[ArchivedLog]:
    if all_containers:
        return logs
    wanted = container or logs[0].container
    return [log for log in logs if log.container == wanted]


def _with_found(scope: Scope, ref: ResourceRef, uid: str) -> Iterator[Resource]:
    """The entries under that name (with that uid, where one is known), and what was found through them."""
    seen: set[int] = set()
    queue: list[Resource] = [r for r in scope.resources.values() if r.ref == ref and uid in ("", r.uid)]
    while queue:
        resource = queue.pop(0)
        if id(resource) not in seen:
            seen.add(id(resource))
            yield resource
            queue.extend(_found(scope.found_through(resource.ref)))


def _found(resources: Iterable[Resource]) -> Iterator[Resource]:
    return (resource for resource in resources if not resource.tracked)
