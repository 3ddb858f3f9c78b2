"""One look at one Job: what its pods say, what its status becomes, which pods go and how many come.

Follows ``syncJob`` of Kubernetes' Job controller, without indexed completion, pod failure policies and
per-index limits. It decides; :mod:`cleanup_scheduler.testing.jobs` acts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cleanup_scheduler.testing.objects import Object, condition_is, finalizers, format_time, parse_time

TRACKING_FINALIZER = "batch.kubernetes.io/job-tracking"
JOB_CONTROLLER = "kubernetes.io/job-controller"
_BACKOFF_MESSAGE = "Job has reached the specified backoff limit"
_DEADLINE_MESSAGE = "Job was active longer than specified deadline"


_MAX_BACKOFF_SECONDS = 600.0
_MAX_REFUSED_SECONDS = 5.0


@dataclass(slots=True)
class Backoff:
    """How often a Job's pods failed since the last success, or were refused: each time waits longer."""

    first_seconds: float
    failures: int = 0
    failed_at: datetime | None = None
    refusals: int = 0
    refused_at: datetime | None = None

    def remaining_seconds(self, moment: datetime) -> float:
        waits = (
            self._wait_seconds(self.failures, self.failed_at, moment, _MAX_BACKOFF_SECONDS),
            self._wait_seconds(self.refusals, self.refused_at, moment, _MAX_REFUSED_SECONDS),
        )
        return max(waits)

    def _wait_seconds(self, count: int, since: datetime | None, moment: datetime, longest: float) -> float:
        if since is None or not count:
            return 0.0
        wait_seconds = min(self.first_seconds * 2.0 ** (count - 1), longest)
        return (since + timedelta(seconds=wait_seconds) - moment).total_seconds()


@dataclass(slots=True)
class Plan:
    """What is to be done. ``delete_uncounted``: take the finalizer first, so that the pods do not count as
    failed.
    """

    status: Object
    count: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    delete_uncounted: list[Object] = field(default_factory=list)
    create: int = 0
    look_again_seconds: float | None = None
    events: list[tuple[str, str]] = field(default_factory=list)


def is_finished(job: Object) -> bool:
    return condition_is(job, "Complete") or condition_is(job, "Failed")


def finished_at(job: Object) -> datetime | None:
    """When the Job became complete or failed."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return parse_time(condition["lastTransitionTime"])
    return None


def _phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase", "Pending"))


def _is_active(pod: Object) -> bool:
    return _phase(pod) not in ("Succeeded", "Failed") and "deletionTimestamp" not in pod["metadata"]


def _is_terminating(pod: Object) -> bool:
    return _phase(pod) not in ("Succeeded", "Failed") and "deletionTimestamp" in pod["metadata"]


def _is_failed(pod: Object, *, only_replace_failed: bool) -> bool:
    if _phase(pod) == "Failed":
        return True
    deleted = "deletionTimestamp" in pod["metadata"] and _phase(pod) != "Succeeded"
    return deleted and not only_replace_failed


def _restarts(pod: Object) -> int:
    status = pod.get("status") or {}
    statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return sum(container.get("restartCount", 0) for container in statuses)


class JobSync:
    def __init__(self, job: Object, pods: list[Object], moment: datetime, backoff: Backoff) -> None:
        self._job = job
        self._spec: Object = job["spec"]
        self._pods = pods
        self._now = moment
        self._backoff = backoff
        self._only_replace_failed = self._spec.get("podReplacementPolicy") == "Failed"
        self._active = [pod for pod in pods if _is_active(pod)]
        self._terminating = sum(_is_terminating(pod) for pod in pods)
        tracked = [pod for pod in pods if TRACKING_FINALIZER in finalizers(pod)]
        self._tracked = tracked
        self._new_succeeded = [pod for pod in tracked if _phase(pod) == "Succeeded"]
        self._new_failed = [pod for pod in tracked if self._has_failed(pod)]
        if self._new_succeeded:
            backoff.failures = 0
        if self._new_failed:
            backoff.failures += len(self._new_failed)
            backoff.failed_at = moment
        status = dict(job.get("status") or {})
        status["conditions"] = [dict(condition) for condition in status.get("conditions") or ()]
        self._succeeded = status.get("succeeded", 0) + len(self._new_succeeded)
        self._failed = status.get("failed", 0) + len(self._new_failed)
        self._plan = Plan(status)

    def _has_failed(self, pod: Object) -> bool:
        return _is_failed(pod, only_replace_failed=self._only_replace_failed)

    def plan(self) -> Plan:
        plan, status = self._plan, self._plan.status
        suspended = bool(self._spec.get("suspend"))
        if "startTime" not in status and not suspended:
            status["startTime"] = format_time(self._now)
        failure = self._failure(suspended=suspended)
        if failure:
            plan.delete = self._active
            ended: tuple[str, str, str] | None = ("Failed", *failure)
        else:
            ended = self._manage(suspended=suspended)
        self._count(ended)
        self._finish(ended)
        self._write_counts()
        return plan

    def _failure(self, *, suspended: bool) -> tuple[str, str] | None:
        for condition in self._plan.status["conditions"]:
            if condition["type"] == "FailureTarget" and condition["status"] == "True":
                return condition["reason"], condition["message"]
        limit = self._spec["backoffLimit"]
        restarts = sum(_restarts(pod) for pod in self._pods if _phase(pod) in ("Running", "Pending"))
        on_failure = self._spec["template"]["spec"].get("restartPolicy") == "OnFailure"
        if self._failed > limit or (on_failure and restarts and restarts >= limit):
            return "BackoffLimitExceeded", _BACKOFF_MESSAGE
        deadline = self._spec.get("activeDeadlineSeconds")
        if deadline is None or suspended:
            return None
        left = deadline - (self._now - parse_time(self._plan.status["startTime"])).total_seconds()
        if left <= 0:
            return "DeadlineExceeded", _DEADLINE_MESSAGE
        self._plan.look_again_seconds = left
        return None

    def _manage(self, *, suspended: bool) -> tuple[str, str, str] | None:
        """Create and delete pods towards the wanted number. Returns the success when there is one."""
        active = len(self._active)
        managed = "deletionTimestamp" not in self._job["metadata"]
        if managed and suspended:
            self._plan.delete_uncounted = self._active
            active = 0
        elif managed:
            active = self._adjust(active)
        completions = self._spec.get("completions")
        enough = self._succeeded > 0 if completions is None else self._succeeded >= completions
        if enough and active == 0:
            return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
        if managed:
            self._tell_suspension(suspended=suspended)
        return None

    def _adjust(self, active: int) -> int:
        completions, parallelism = self._spec.get("completions"), self._spec["parallelism"]
        if completions is None:
            wanted = active if self._succeeded else parallelism
        else:
            wanted = max(0, min(completions - self._succeeded, parallelism))
        if active > wanted:
            newest_first = sorted(
                self._active, key=lambda pod: pod["metadata"]["creationTimestamp"], reverse=True
            )
            self._plan.delete_uncounted = newest_first[: active - wanted]
            return wanted
        missing = wanted - active - (self._terminating if self._only_replace_failed else 0)
        if missing <= 0:
            return active
        wait_seconds = self._backoff.remaining_seconds(self._now)
        if wait_seconds > 0:
            deadline_seconds = self._plan.look_again_seconds
            self._plan.look_again_seconds = min(wait_seconds, deadline_seconds or wait_seconds)
            return active
        self._plan.create = missing
        return active + missing

    def _tell_suspension(self, *, suspended: bool) -> None:
        status = self._plan.status
        if suspended and self._set("Suspended", "True", "JobSuspended", "Job suspended"):
            self._plan.events.append(("Suspended", "Job suspended"))
            status.pop("startTime", None)
        elif not suspended and self._set("Suspended", "False", "JobResumed", "Job resumed", only_change=True):
            self._plan.events.append(("Resumed", "Job resumed"))
            status["startTime"] = format_time(self._now)

    def _count(self, ended: tuple[str, str, str] | None) -> None:
        """Which pods leave the tracking: the ended ones and, when the Job is over or going, all of them."""
        going = "deletionTimestamp" in self._job["metadata"]
        status = self._plan.status
        for pod in self._tracked:
            failed = self._has_failed(pod)
            if not (going or ended or failed or _phase(pod) == "Succeeded"):
                continue
            self._plan.count.append(pod)
            if _phase(pod) == "Succeeded":
                status["succeeded"] = status.get("succeeded", 0) + 1
            elif failed or (ended and ended[0] == "Failed"):
                status["failed"] = status.get("failed", 0) + 1

    def _finish(self, ended: tuple[str, str, str] | None) -> None:
        if ended is None:
            return
        kind, reason, message = ended
        self._set("FailureTarget" if kind == "Failed" else "SuccessCriteriaMet", "True", reason, message)
        if self._terminating or self._plan.delete:
            return  # declared once the last pod is gone, which brings us back here
        if self._set(kind, "True", reason, message):
            told = ("Completed", "Job completed") if kind == "Complete" else (reason, message)
            self._plan.events.append(told)
        if kind == "Complete":
            self._plan.status["completionTime"] = format_time(self._now)

    def _write_counts(self) -> None:
        status, plan = self._plan.status, self._plan
        deleted = {pod["metadata"]["uid"] for pod in (*plan.delete, *plan.delete_uncounted)}
        left = [pod for pod in self._active if pod["metadata"]["uid"] not in deleted]
        active = len(left) + plan.create
        if active:
            status["active"] = active
        else:
            status.pop("active", None)
        status["ready"] = sum(condition_is(pod, "Ready") for pod in left)
        status["terminating"] = self._terminating + len(deleted)
        status["uncountedTerminatedPods"] = {}
        if not status["conditions"]:
            del status["conditions"]

    def _set(self, kind: str, value: str, reason: str, message: str, *, only_change: bool = False) -> bool:
        conditions: list[Object] = self._plan.status["conditions"]
        found = next((condition for condition in conditions if condition["type"] == kind), None)
        if found is None and only_change:
            return False
        if found is not None and found["status"] == value:
            return False
        moment = format_time(self._now)
        fresh = {"type": kind, "status": value, "reason": reason, "message": message}
        fresh |= {"lastProbeTime": moment, "lastTransitionTime": moment}
        if found is None:
            conditions.append(fresh)
        else:
            found.update(fresh)
        return True
