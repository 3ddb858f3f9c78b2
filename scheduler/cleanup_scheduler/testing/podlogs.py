"""``pods/log``: finds the container's log that a request means, or says as the kubelet would why there is
none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

from cleanup_scheduler.testing.kubelet import Kubelet
from cleanup_scheduler.testing.logs import LogQuery
from cleanup_scheduler.testing.objects import Object, now, parse_time
from cleanup_scheduler.testing.simulation import SIMULATE, simulated_log
from cleanup_scheduler.testing.statuses import ApiError, bad_request
from cleanup_scheduler.testing.store import Stored


def parse_log_query(query: dict[str, str]) -> LogQuery:
    """The options of a log request. Raises 400 and 422 for those that make no sense."""
    try:
        tail, limit = query.get("tailLines"), query.get("limitBytes")
        since = parse_time(query["sinceTime"]) if query.get("sinceTime") else None
        if query.get("sinceSeconds"):
            since = now() - timedelta(seconds=int(query["sinceSeconds"]))
        found = LogQuery(
            follow=query.get("follow", "").lower() in ("true", "1"),
            timestamps=query.get("timestamps", "").lower() in ("true", "1"),
            tail_lines=None if tail is None else int(tail),
            limit_bytes=None if limit is None else int(limit),
            since=since,
        )
    except ValueError as error:
        raise bad_request(str(error)) from error
    if (found.tail_lines or 0) < 0 or (found.limit_bytes is not None and found.limit_bytes < 1):
        raise ApiError(
            422, "Invalid", "PodLogOptions is invalid: tailLines and limitBytes must not be negative"
        )
    return found


def open_log(kubelet: Kubelet, stored: Stored, query: dict[str, str]) -> AsyncIterator[bytes] | None:
    """The chunks of the log that a request means, None for a pod without a node. Raises 400 for none."""
    asked = parse_log_query(query)
    pod = stored.decode()
    name = _container_name(pod, query.get("container", ""))
    if SIMULATE in (pod["metadata"].get("annotations") or {}):
        return _once(simulated_log(pod))
    if not pod["spec"].get("nodeName"):
        return None
    run = kubelet.run_of(stored.uid)
    container = run.container(name) if run else None
    where = f'container "{name}" in pod "{stored.name}"'
    begins = "PodInitializing" if pod["spec"].get("initContainers") else "ContainerCreating"
    if run is None or container is None:
        raise bad_request(f"{where} is waiting to start: {begins}")
    if run.removed:
        return _once(f"unable to retrieve container logs for {container.status.get('containerID')}".encode())
    before_last = query.get("previous", "").lower() in ("true", "1")
    if before_last and not container.status["lastState"]:
        raise bad_request(f"previous terminated {where} not found")
    if not container.logs:
        raise bad_request(f"{where} is waiting to start: {begins}")
    waits_for_restart = bool(container.status["state"].get("waiting"))
    log = container.logs[-2 if before_last and not waits_for_restart else -1]
    return log.read(asked)


def _container_name(pod: Object, asked: str) -> str:
    spec = pod["spec"]
    main = [container["name"] for container in spec["containers"]]
    init = [container["name"] for container in spec.get("initContainers") or ()]
    if asked:
        if asked not in (*main, *init):
            raise bad_request(f"container {asked} is not valid for pod {pod['metadata']['name']}")
        return asked
    if len(main) == 1:
        return str(main[0])
    told = f"a container name must be specified for pod {pod['metadata']['name']}"
    raise bad_request(f"{told}, choose one of: [{' '.join((*init, *main))}]")


async def _once(content: bytes) -> AsyncIterator[bytes]:
    if content:
        yield content
