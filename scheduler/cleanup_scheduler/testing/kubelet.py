"""The node: takes every pod that appears, runs it or simulates it, and finishes its deletion.

A pod with the annotation ``cleanup-scheduler.test/simulate`` (complete, run, fail) gets no process; a
hundred thousand of them fit. Nothing is scheduled: there is one node.
"""

from __future__ import annotations

import asyncio
import platform
from collections import deque

from cleanup_scheduler.testing.api import Api
from cleanup_scheduler.testing.audit import NODE
from cleanup_scheduler.testing.background import spawn
from cleanup_scheduler.testing.deletion import DeleteOptions
from cleanup_scheduler.testing.objects import Object, format_time, metadata, now, set_condition
from cleanup_scheduler.testing.pods import NODE_NAME, PodRun
from cleanup_scheduler.testing.processes import Processes
from cleanup_scheduler.testing.simulation import SIMULATE, simulated_status
from cleanup_scheduler.testing.store import Event, Stored

FORCED_GRACE_SECONDS = 2.0
_SIMULATED_AT_ONCE = 200
_NODE_LABELS = {"kubernetes.io/hostname": NODE_NAME, "kubernetes.io/os": "linux"}


class Kubelet:
    def __init__(self, api: Api, processes: Processes, *, max_running_pods: int, env: dict[str, str]) -> None:
        self._api = api
        self._processes = processes
        self._env = env
        self._capacity = asyncio.Semaphore(max_running_pods)
        self._runs: dict[str, PodRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._arrivals: deque[Stored] = deque()
        self._departures: deque[str] = deque()
        self._wake = asyncio.Event()
        self._loop_task = spawn(self._loop(), "node")
        api.store.listen(self._follow)

    def run_of(self, uid: str) -> PodRun | None:
        return self._runs.get(uid)

    async def stop(self) -> None:
        """Forget all pods; the guardian ends their processes."""
        tasks = [self._loop_task, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _follow(self, event: Event) -> None:
        if event.stored.resource.key != "pods":
            return
        if event.type == "ADDED":
            self._arrivals.append(event.stored)
        elif event.type == "DELETED" or b'"deletionTimestamp"' in event.stored.metadata_json:
            self._departures.append(event.stored.uid)
        else:
            return
        self._wake.set()

    async def _loop(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._arrivals or self._departures:
                for _ in range(min(_SIMULATED_AT_ONCE, len(self._departures))):
                    self._depart(self._departures.popleft())
                for _ in range(min(_SIMULATED_AT_ONCE, len(self._arrivals))):
                    self._arrive(self._arrivals.popleft())
                await asyncio.sleep(0)

    def _arrive(self, arrived: Stored) -> None:
        stored = self._api.store.by_uid(arrived.uid)
        if stored is None:
            return
        pod = stored.decode()
        if pod["metadata"].get("deletionTimestamp") or not self._takes(stored, pod["spec"]):
            return
        if SIMULATE in (metadata(pod).get("annotations") or {}):
            pod["spec"]["nodeName"] = NODE_NAME
            pod["status"] = simulated_status(pod)
            self._api.store.replace(stored, pod)
            return
        task = spawn(self._run(stored.uid), f"pod {stored.path}")
        self._tasks[stored.uid] = task
        task.add_done_callback(lambda _: self._tasks.pop(arrived.uid, None))

    def _takes(self, stored: Stored, spec: Object) -> bool:
        """Whether the pod is for this node; one that no node takes is told so, and waits for ever."""
        if spec.get("nodeName"):
            return bool(spec["nodeName"] == NODE_NAME)
        if spec.get("schedulerName") != "default-scheduler" or spec.get("schedulingGates"):
            return False
        if (spec.get("nodeSelector") or {}).items() <= _NODE_LABELS.items():
            return True
        why = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
        self._tell_unschedulable(stored.uid, why)
        return False

    async def _run(self, uid: str) -> None:
        if self._capacity.locked():
            self._tell_unschedulable(uid, "0/1 nodes are available: 1 Too many pods.")
        async with self._capacity:
            stored = self._api.store.by_uid(uid)
            if stored is None or b'"deletionTimestamp"' in stored.metadata_json:
                return
            pod = stored.decode()
            pod["spec"]["nodeName"] = NODE_NAME
            set_condition(pod["status"], "PodScheduled", "True")
            self._api.store.replace(stored, pod)
            run = self._runs[uid] = PodRun(self._processes, pod, self._env, self._write_status)
            await run.run()
            self._finish_deletion(uid)

    def _tell_unschedulable(self, uid: str, why: str) -> None:
        stored = self._api.store.by_uid(uid)
        if stored is not None:
            pod = stored.decode()
            set_condition(pod["status"], "PodScheduled", "False", reason="Unschedulable", message=why)
            self._api.store.replace(stored, pod)

    def _write_status(self, run: PodRun) -> None:
        stored = self._api.store.by_uid(run.uid)
        if stored is None:
            return
        pod = stored.decode()
        run.apply_status(pod["status"])
        self._api.store.replace(stored, pod)

    def _depart(self, uid: str) -> None:
        """A pod was marked for deletion, its grace was shortened, or it is gone."""
        stored = self._api.store.by_uid(uid)
        run = self._runs.get(uid)
        if stored is None:
            if run is not None:
                self._remove(run)
            return
        if run is None:
            self._end_simulated(stored)
            self._finish_deletion(uid)
        elif uid in self._tasks and run.phase not in ("Succeeded", "Failed"):
            grace = stored.decode()["metadata"].get("deletionGracePeriodSeconds") or 0
            run.stop(max(grace, 1) if grace else FORCED_GRACE_SECONDS)
        else:
            self._finish_deletion(uid)

    def _remove(self, run: PodRun) -> None:
        """Gone from the API: end what still runs, then forget its logs."""
        task = self._tasks.get(run.uid)
        if task is None:
            if self._runs.pop(run.uid, None) is not None and not run.removed:
                run.remove()
        else:
            run.stop(FORCED_GRACE_SECONDS)
            task.add_done_callback(lambda _: self._remove(run))

    def _end_simulated(self, stored: Stored) -> None:
        pod: Object = stored.decode()
        if pod["status"].get("phase") == "Running":
            pod["status"] = simulated_status(pod, ended=True)
            self._api.store.replace(stored, pod)

    def _finish_deletion(self, uid: str) -> None:
        """The node's own last delete, without grace; finalizers may still hold the pod."""
        stored = self._api.store.by_uid(uid)
        if stored is None or b'"deletionTimestamp"' not in stored.metadata_json:
            return
        if stored.decode()["metadata"].get("deletionGracePeriodSeconds"):
            options = DeleteOptions(grace_seconds=0, uid=uid)
            self._api.delete(stored.resource, stored.namespace, stored.name, options, NODE)
        run = self._runs.get(uid)
        if run is not None and run.stopped and not run.removed and self._api.store.by_uid(uid) is not None:
            run.remove()  # finalizers hold the pod, but not the containers that its deletion ended


def node_object() -> Object:
    """The one node, so that ``kubectl get nodes`` has something to show."""
    moment = format_time(now())
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": moment}
    return {
        "metadata": {"name": NODE_NAME, "labels": dict(_NODE_LABELS)},
        "status": {
            "conditions": [ready],
            "nodeInfo": _node_info(),
            "images": [{"names": ["busybox:test"]}],  # any image does; this one is what our own tests name
        },
    }


def _node_info() -> Object:
    """All fields are required by typed clients; this node knows only what runs it."""
    unknown = ("bootID", "machineID", "systemUUID", "kubeProxyVersion")
    return dict.fromkeys(unknown, "") | {
        "architecture": platform.machine(),
        "containerRuntimeVersion": "processes://1",
        "kernelVersion": platform.release(),
        "kubeletVersion": "v1.37.2+embedded",
        "operatingSystem": platform.system().lower(),
        "osImage": platform.platform(),
    }
