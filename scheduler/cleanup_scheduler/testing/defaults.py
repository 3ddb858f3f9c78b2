"""What the API fills in when an object is created. Only what clients, controllers and kubectl look at."""

from __future__ import annotations

from collections.abc import Callable

from cleanup_scheduler.testing.objects import Object, metadata, set_condition
from cleanup_scheduler.testing.quantities import canonical_quantity

JOB_NAME_LABELS = ("batch.kubernetes.io/job-name", "job-name")
CONTROLLER_UID_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid")


# What admission adds to pods, and not to templates.
_ADMITTED: Object = {
    "serviceAccountName": "default",
    "serviceAccount": "default",
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
    "priority": 0,
}
_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def _pod_spec(spec: Object) -> None:
    for key, value in {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }.items():
        spec.setdefault(key, value)
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        _container(container)


def _container(container: Object) -> None:
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    image = container.get("image") or ""
    container.setdefault(
        "imagePullPolicy", "Always" if image.endswith(":latest") or ":" not in image else "IfNotPresent"
    )
    for side, amounts in container["resources"].items():
        if side in ("limits", "requests") and isinstance(amounts, dict):
            container["resources"][side] = {name: canonical_quantity(text) for name, text in amounts.items()}
    limits = container["resources"].get("limits")
    if limits:
        requests = container["resources"].setdefault("requests", {})
        for name, quantity in limits.items():
            requests.setdefault(name, quantity)


def _qos(spec: Object) -> str:
    sets = [container["resources"] for container in spec.get("containers") or ()]
    if not any(resources.get("requests") or resources.get("limits") for resources in sets):
        return "BestEffort"
    guaranteed = all(
        {"cpu", "memory"} <= set(resources.get("limits") or ())
        and resources.get("limits") == resources.get("requests")
        for resources in sets
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _pod(obj: Object) -> None:
    metadata(obj).setdefault("generation", 1)
    spec = obj.setdefault("spec", {})
    _pod_spec(spec)
    for key, value in _ADMITTED.items():
        spec.setdefault(key, value)
    present = {toleration.get("key") for toleration in spec.get("tolerations") or ()}
    spec["tolerations"] = [
        *(spec.get("tolerations") or ()),
        *(
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            for key in _TOLERATED
            if key not in present and None not in present
        ),
    ]
    obj["status"] = {"phase": "Pending", "qosClass": _qos(spec)}


def _job(obj: Object) -> None:
    meta = metadata(obj)
    meta.setdefault("generation", 1)
    spec = obj.setdefault("spec", {})
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    if spec.get("parallelism") is None:
        spec["parallelism"] = 1
    for key, value in {
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "manualSelector": False,
        "podReplacementPolicy": "TerminatingOrFailed",
    }.items():
        if spec.get(key) is None:
            spec[key] = value
    _job_labels(meta, spec)
    template_spec = spec.setdefault("template", {}).setdefault("spec", {})
    if template_spec.get("restartPolicy"):
        _pod_spec(template_spec)
    else:
        _pod_spec(template_spec)
        template_spec.pop("restartPolicy")  # a Job has no default; its validation asks for it
    obj["status"] = {}


def _job_labels(meta: Object, spec: Object) -> None:
    if spec["manualSelector"]:
        return
    template_meta = metadata(spec.setdefault("template", {}))
    inherits = not meta.get("labels")
    labels = template_meta.setdefault("labels", {})
    for key in CONTROLLER_UID_LABELS:
        labels.setdefault(key, meta["uid"])
    for key in JOB_NAME_LABELS:
        labels.setdefault(key, meta["name"])
    if inherits:
        meta["labels"] = dict(labels)
    spec["selector"] = {"matchLabels": {CONTROLLER_UID_LABELS[0]: meta["uid"]}}


def _namespace(obj: Object) -> None:
    labels = metadata(obj).setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = metadata(obj)["name"]
    obj["spec"] = {"finalizers": ["kubernetes"]}
    obj["status"] = {"phase": "Active"}


def _quota(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec["hard"] = {name: canonical_quantity(amount) for name, amount in (spec.get("hard") or {}).items()}
    obj["status"] = {}


def _generation_and_empty_status(obj: Object) -> None:
    metadata(obj).setdefault("generation", 1)
    obj["status"] = {}


def _replicated(obj: Object) -> None:
    _generation_and_empty_status(obj)
    obj.setdefault("spec", {}).setdefault("replicas", 1)
    obj["status"] = {"replicas": 0}


def _daemon_set(obj: Object) -> None:
    _generation_and_empty_status(obj)
    counts = ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady")
    obj["status"] = dict.fromkeys(counts, 0)


def _service(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    obj["status"] = {"loadBalancer": {}}


def _claim(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    obj["status"] = {"phase": "Pending"}


def _secret(obj: Object) -> None:
    obj.setdefault("type", "Opaque")


def _definition(definition: Object) -> None:
    """The status that the API server gives a definition whose names are free: established at once."""
    spec = definition["spec"]
    status: Object = {}
    names = dict(spec["names"])
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", f"{names['kind']}List")
    status["acceptedNames"] = spec["names"] = names
    status["storedVersions"] = [version["name"] for version in spec["versions"] if version.get("storage")]
    set_condition(status, "NamesAccepted", "True", reason="NoConflicts", message="no conflicts found")
    definition["status"] = status
    set_condition(
        status, "Established", "True", reason="InitialNamesAccepted", message="the names are accepted"
    )


_DEFAULTS: dict[str, Callable[[Object], None]] = {
    "pods": _pod,
    "jobs.batch": _job,
    "namespaces": _namespace,
    "resourcequotas": _quota,
    "services": _service,
    "persistentvolumeclaims": _claim,
    "secrets": _secret,
    "customresourcedefinitions.apiextensions.k8s.io": _definition,
    "cronjobs.batch": _generation_and_empty_status,
    "deployments.apps": _replicated,
    "replicasets.apps": _replicated,
    "statefulsets.apps": _replicated,
    "daemonsets.apps": _daemon_set,
}


def fill_in(key: str, obj: Object) -> None:
    """Apply the defaults of the kind stored as ``key`` to an object that is being created."""
    if key in _DEFAULTS:
        _DEFAULTS[key](obj)
