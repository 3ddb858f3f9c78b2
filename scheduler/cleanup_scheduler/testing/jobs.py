"""The Job controller: starts pods, counts how they end, stops them when a Job is suspended, and removes old
Jobs.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime

from cleanup_scheduler.testing.api import Api
from cleanup_scheduler.testing.audit import controller
from cleanup_scheduler.testing.background import Queue
from cleanup_scheduler.testing.deletion import DeleteOptions
from cleanup_scheduler.testing.jobsync import (
    JOB_CONTROLLER,
    TRACKING_FINALIZER,
    Backoff,
    JobSync,
    Plan,
    finished_at,
    is_finished,
)
from cleanup_scheduler.testing.objects import Object, controller_of, finalizers, set_finalizers
from cleanup_scheduler.testing.recorder import Recorder
from cleanup_scheduler.testing.statuses import ApiError
from cleanup_scheduler.testing.store import Event, Stored

DEFAULT_BACKOFF_SECONDS = 0.5  # Kubernetes waits 10 s; a test should not
_JOBS = controller("job-controller")
_TTL = controller("ttl-after-finished-controller")


class JobController:
    def __init__(
        self, api: Api, recorder: Recorder, backoff_seconds: float = DEFAULT_BACKOFF_SECONDS
    ) -> None:
        self._api = api
        self._recorder = recorder
        self._backoff_seconds = backoff_seconds
        self._pods = api.registry.by_key("pods")
        self._backoffs: dict[str, Backoff] = {}
        self._queue = Queue(self._look, "job controller")
        api.store.listen(self._follow)

    async def stop(self) -> None:
        await self._queue.stop()

    def _follow(self, event: Event) -> None:
        key = event.stored.resource.key
        if key == "jobs.batch":
            self._queue.add(event.stored.uid)
        elif key == "pods":
            for uid in event.stored.owner_uids:
                self._queue.add(uid)

    def _look(self, uid: str) -> None:
        stored = self._api.store.by_uid(uid)
        pods = [pod for pod in self._api.store.dependents(uid) if pod.resource is self._pods]
        if stored is None or stored.resource.key != "jobs.batch":
            if stored is None:
                self._backoffs.pop(uid, None)
                self._release_orphans(uid, pods)
            return
        job = stored.decode()
        if (job["spec"].get("managedBy") or JOB_CONTROLLER) != JOB_CONTROLLER:
            return
        if is_finished(job):
            self._backoffs.pop(uid, None)
            self._release_orphans(uid, pods)
            self._expire(stored, job)
            return
        controlled = [
            pod for pod in (pod.decode() for pod in pods) if (controller_of(pod) or {}).get("uid") == uid
        ]
        backoff = self._backoffs.setdefault(uid, Backoff(self._backoff_seconds))
        self._act(stored, job, JobSync(job, controlled, datetime.now(UTC), backoff).plan())

    def _act(self, stored: Stored, job: Object, plan: Plan) -> None:
        """Status first, then the pods: a count is never lost, and nothing happens twice, for this is one
        transaction.
        """
        created = self._create_pods(job, plan.create)
        backoff = self._backoffs[stored.uid]
        if created < plan.create:
            plan.status["active"] -= plan.create - created
            backoff.refusals, backoff.refused_at = backoff.refusals + 1, datetime.now(UTC)
            self._queue.add_later(stored.uid, backoff.remaining_seconds(backoff.refused_at))
        elif created:
            backoff.refusals = 0
        job["status"] = plan.status
        self._api.store.replace(stored, job)
        for pod in plan.count:
            self._release(pod["metadata"]["uid"])
        for pod in plan.delete_uncounted:
            self._release(pod["metadata"]["uid"])
            self._delete(pod)
        for pod in plan.delete:
            self._delete(pod)
        for reason, message in plan.events:
            warning = reason in ("BackoffLimitExceeded", "DeadlineExceeded")
            self._recorder.tell(job, reason, message, source="job-controller", warning=warning)
        if plan.look_again_seconds is not None:
            self._queue.add_later(stored.uid, plan.look_again_seconds)

    def _create_pods(self, job: Object, wanted: int) -> int:
        """Create pods until one is refused, which an event tells. Returns how many came."""
        for created in range(wanted):
            try:
                pod = self._api.create(self._pods, job["metadata"]["namespace"], _pod_of(job))
            except ApiError as error:
                told = f"Error creating: {error.message}"
                self._recorder.tell(job, "FailedCreate", told, source="job-controller", warning=True)
                return created
            told = f"Created pod: {pod['metadata']['name']}"
            self._recorder.tell(job, "SuccessfulCreate", told, source="job-controller")
        return wanted

    def _release(self, uid: str) -> None:
        stored = self._api.store.by_uid(uid)
        if stored is not None:
            self._api.modify(stored, _without_tracking)

    def _release_orphans(self, job_uid: str, pods: list[Stored]) -> None:
        """A Job that is over, or gone, tracks nothing any longer."""
        for pod in pods:
            obj = pod.decode()
            if TRACKING_FINALIZER in finalizers(obj) and (controller_of(obj) or {}).get("uid") == job_uid:
                self._api.modify(pod, _without_tracking)

    def _delete(self, pod: Object) -> None:
        meta = pod["metadata"]
        if self._api.store.by_uid(meta["uid"]) is not None:
            self._api.delete(self._pods, meta["namespace"], meta["name"], DeleteOptions(), _JOBS)

    def _expire(self, stored: Stored, job: Object) -> None:
        ttl_seconds, moment = job["spec"].get("ttlSecondsAfterFinished"), finished_at(job)
        if ttl_seconds is None or moment is None or "deletionTimestamp" in job["metadata"]:
            return
        left = ttl_seconds - (datetime.now(UTC) - moment).total_seconds()
        if left > 0:
            self._queue.add_later(stored.uid, left)
            return
        options = DeleteOptions(propagation="Foreground", uid=stored.uid)
        self._api.delete(stored.resource, stored.namespace, stored.name, options, _TTL)


def _without_tracking(pod: Object) -> None:
    set_finalizers(pod, [name for name in finalizers(pod) if name != TRACKING_FINALIZER])


def _pod_of(job: Object) -> Object:
    template = copy.deepcopy(job["spec"]["template"])
    meta = template.get("metadata") or {}
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": job["metadata"]["name"],
        "uid": job["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "generateName": f"{job['metadata']['name']}-",
            "labels": dict(meta.get("labels") or {}),
            "annotations": dict(meta.get("annotations") or {}),
            "finalizers": [*(meta.get("finalizers") or ()), TRACKING_FINALIZER],
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }
