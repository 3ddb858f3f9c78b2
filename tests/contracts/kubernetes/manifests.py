"""Small objects for the contract tests. What a pod needs to run on one cluster or the other is not known
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.contracts.kubernetes.wire import Json

APP = {"app": "contract"}  # clusters put config maps of their own into each namespace: ours carry this label


def config_map(name: str, *, labels: Mapping[str, str] = APP, data: str = "x", **metadata: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": dict(labels), **metadata},
        "data": {"value": data},
    }


def secret(name: str, *, labels: Mapping[str, str] = APP) -> Json:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": dict(labels)}}


def event(name: str, namespace: str) -> Json:
    """An event about nothing in particular."""
    about = {"apiVersion": "v1", "kind": "Pod", "name": "nobody", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "involvedObject": about}


def quota(name: str, **hard: str) -> Json:
    """A ResourceQuota; ``requests_cpu="1"`` stands for ``requests.cpu``, ``count_jobs_batch`` for
    ``count/jobs.batch``.
    """
    names = {"requests_cpu": "requests.cpu", "count_jobs_batch": "count/jobs.batch"}
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": name},
        "spec": {"hard": {names.get(key, key): value for key, value in hard.items()}},
    }


def pod(name: str, template: Json, **metadata: Any) -> Json:
    """A pod of its own from what is otherwise a Job's pod template."""
    own = {**template["metadata"], "name": name, **metadata}
    own["labels"] = {**APP, **template["metadata"].get("labels", {}), **metadata.get("labels", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": own, "spec": template["spec"]}


def job(name: str, template: Json, *, labels: Mapping[str, str] = APP, **spec: Any) -> Json:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {"template": template, **spec},
    }


def owned_by(owner: Json, *, blocks: bool | None = None) -> Json:
    """An owner reference to this object; ``blocks`` sets blockOwnerDeletion."""
    reference = {key: owner[key] for key in ("apiVersion", "kind")}
    reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
    return reference if blocks is None else {**reference, "blockOwnerDeletion": blocks}


def precondition(uid: str, **more: Any) -> Json:
    """DeleteOptions that only this uid satisfies."""
    return {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}, **more}


def options(**fields: Any) -> Json:
    return {"apiVersion": "v1", "kind": "DeleteOptions", **fields}
