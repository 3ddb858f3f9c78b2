"""The HTTP side of the evaluation service: JSON in, Jobs out. Everything about Kubernetes goes through
``cleanup_scheduler.cluster``.

    POST /evaluations  {"code": "...", "timeout_seconds"?, "backoff_limit"?, "labels"?} -> 201 {"id", "job"}
    GET /evaluations/ID  -> {"id", "job", "status", "exit_code", "output", "reason"}

An error is {"error": "why"}: 400 for a bad request, 404 for an unknown (or cleaned) evaluation, 429 for a
full quota, 503 when the cluster is out of reach, 502 when it refuses. Refuses to clean up: that is somebody
else's business, which is what the examples are about.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import yaml
from aiohttp import web

from cleanup_scheduler.cluster import Cluster, JobStatus
from cleanup_scheduler.domain.resources import JOBS, ResourceRef
from cleanup_scheduler.errors import ClusterError, ClusterUnavailable, SettingsError

LABELS: Final = {"app": "evaluation"}
DEFAULT_TEMPLATE: Final[dict[str, Any]] = {
    "spec": {"containers": [{"name": "main", "image": "python:3.12-slim"}], "restartPolicy": "Never"}
}
_MAX_OUTPUT_BYTES: Final = 1_000_000
_OUTPUT_TIMEOUT_SECONDS: Final = 10.0
# the kernel takes no single argument longer than 128 KiB
_Code = Annotated[str, msgspec.Meta(min_length=1, max_length=30_000)]


class NewEvaluation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody wants evaluated."""

    code: _Code
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] | None = None
    backoff_limit: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0
    labels: dict[str, str] = {}


def read_template(file: Path | None) -> dict[str, Any]:
    """A PodTemplateSpec from a YAML file; raises :class:`SettingsError` in one line."""
    if file is None:
        return DEFAULT_TEMPLATE
    try:
        template = yaml.safe_load(file.read_text(encoding="utf-8"))
        containers = template["spec"].setdefault("containers", [])
        if not containers:
            containers.append({})
        containers[0].setdefault("name", "main")
        template["spec"].setdefault("restartPolicy", "Never")
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(
            f"pod template {file} cannot be used: {reason}", hint="it must be a PodTemplateSpec in YAML"
        ) from error
    return dict(template)


def make_job(name: str, wanted: NewEvaluation, template: dict[str, Any]) -> dict[str, Any]:
    """The Job's manifest. The template's own command, if any, is the interpreter."""
    pod = copy.deepcopy(template)
    labels = {**wanted.labels, **LABELS}
    metadata = pod.setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    container = pod["spec"]["containers"][0]
    container["command"] = [*(container.get("command") or ["python3"]), "-c", wanted.code]
    container.pop("args", None)
    spec: dict[str, Any] = {"backoffLimit": wanted.backoff_limit, "template": pod}
    if wanted.timeout_seconds is not None:
        spec["activeDeadlineSeconds"] = max(1, round(wanted.timeout_seconds))
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


class Evaluations:
    """The requests of the service, on one namespace of one cluster."""

    def __init__(self, cluster: Cluster, namespace: str, template: dict[str, Any]) -> None:
        self._cluster, self._namespace, self._template = cluster, namespace, template

    def app(self) -> web.Application:
        """The web application."""
        app = web.Application(middlewares=[_errors_as_json])
        app.router.add_post("/evaluations", self.submit)
        app.router.add_get("/evaluations/{id}", self.show)
        return app

    async def submit(self, request: web.Request) -> web.Response:
        """Create the Job, unless a quota has no pod left."""
        if request.content_type != "application/json":  # keeps out forms of foreign web pages
            return _error(415, "send JSON with Content-Type application/json")
        try:
            wanted = msgspec.json.decode(await request.read(), type=NewEvaluation)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _error(400, f"the request is not as described: {error}")
        if full := await self._full_quota():
            return _error(429, full)
        eval_id = secrets.token_hex(4)
        job = make_job(f"evaluation-job-{eval_id}", wanted, self._template)
        made = await self._cluster.create(job, self._namespace)
        return web.json_response({"id": eval_id, "job": made.ref.name}, status=201)

    async def _full_quota(self) -> str:
        """A Job is admitted even where its pods will not be, so a platform has to look by itself."""
        async for found in self._cluster.list("resourcequotas", self._namespace):
            quota = await self._cluster.quota(self._namespace, found.ref.name)
            if "pods" in quota.hard and quota.free("pods") < 1:
                used, limit = quota.used["pods"], quota.hard["pods"]
                return f"exceeded quota: {found.ref.name}, used: pods={used}, limited: pods={limit}"
        return ""

    async def show(self, request: web.Request) -> web.Response:
        """How it stands, with its output as far as there is any."""
        eval_id = request.match_info["id"]
        name = f"evaluation-job-{eval_id}"
        ref = ResourceRef(self._cluster.name, self._namespace, JOBS, name)
        seen, job = await self._cluster.get(ref), await self._cluster.job_status(ref)
        if seen is None or job is None:
            return _error(404, f"there is no evaluation {eval_id}, or it was cleaned up")
        answer = {"id": eval_id, "job": name, "status": job.finished or "queued", "reason": job.reason}
        pods = sorted(await self._cluster.pods_of(seen), key=lambda pod: pod.created_at)
        if pods:
            answer |= await self._of_pod(pods[-1].ref, job)
        return web.json_response(answer)

    async def _of_pod(self, pod: ResourceRef, job: JobStatus) -> dict[str, Any]:
        status = await self._cluster.pod_status(pod)
        if status is None:
            return {}
        container = next(one for one in status.containers if one.role == "main")
        found: dict[str, Any] = {"exit_code": status.exit_code}
        if not job.finished and container.has_log:
            found["status"] = "running"
        if not job.reason:
            found["reason"] = status.reason or (container.reason if container.state == "waiting" else "")
        if container.has_log:
            log = await self._cluster.logs(
                pod, container.name, max_bytes=_MAX_OUTPUT_BYTES, timeout_seconds=_OUTPUT_TIMEOUT_SECONDS
            )
            found["output"] = None if log.missing else log.body.decode("utf-8", "replace")
        return found


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _error(error.status, error.reason)
    except ClusterUnavailable as error:
        return _error(503, str(error))
    except ClusterError as error:
        return _error(429 if "exceeded quota" in error.message else 502, str(error))


def _error(status: int, why: str) -> web.Response:
    return web.json_response({"error": why}, status=status)
