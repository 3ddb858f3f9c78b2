"""The fields of the built-in kinds that this cluster looks at, with their types and protobuf numbers, as one
table.

It serves two readers: protobuf bodies are read by it, and JSON whose known fields have the wrong type is
refused. Fields that it does not name are stored as they come. The numbers are those of Kubernetes'
``generated.proto`` files.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# field=number:type; s string, i integer, b boolean, y bytes, q quantity, t time, @Message, - read over (a new
# object's status counts for nothing); * repeated, % map from strings
_TABLE = """\
Unknown typeMeta=1:@TypeMeta raw=2:y contentEncoding=3:s contentType=4:s
TypeMeta apiVersion=1:s kind=2:s
ObjectMeta name=1:s generateName=2:s namespace=3:s selfLink=4:s uid=5:s resourceVersion=6:s \
 generation=7:i creationTimestamp=8:t deletionTimestamp=9:t deletionGracePeriodSeconds=10:i \
 labels=11:%s annotations=12:%s ownerReferences=13:*@OwnerReference finalizers=14:*s
OwnerReference apiVersion=5:s kind=1:s name=3:s uid=4:s controller=6:b blockOwnerDeletion=7:b
DeleteOptions gracePeriodSeconds=1:i preconditions=2:@Preconditions orphanDependents=3:b \
 propagationPolicy=4:s dryRun=5:*s
Preconditions uid=1:s resourceVersion=2:s
LabelSelector matchLabels=1:%s
Namespace metadata=1:@ObjectMeta spec=2:@NamespaceSpec status=3:-
NamespaceSpec finalizers=1:*s
ConfigMap metadata=1:@ObjectMeta immutable=4:b data=2:%s binaryData=3:%y
Secret metadata=1:@ObjectMeta immutable=5:b data=2:%y stringData=4:%s type=3:s
ServiceAccount metadata=1:@ObjectMeta automountServiceAccountToken=4:b
ResourceQuota metadata=1:@ObjectMeta spec=2:@ResourceQuotaSpec status=3:-
ResourceQuotaSpec hard=1:%q scopes=2:*s
Pod metadata=1:@ObjectMeta spec=2:@PodSpec status=3:-
PodTemplateSpec metadata=1:@ObjectMeta spec=2:@PodSpec
PodSpec containers=2:*@Container initContainers=20:*@Container restartPolicy=3:s \
 terminationGracePeriodSeconds=4:i activeDeadlineSeconds=5:i dnsPolicy=6:s nodeSelector=7:%s \
 serviceAccountName=8:s serviceAccount=9:s nodeName=10:s hostNetwork=11:b hostPID=12:b hostIPC=13:b \
 securityContext=14:@Empty hostname=16:s subdomain=17:s schedulerName=19:s \
 automountServiceAccountToken=21:b priorityClassName=24:s
Container name=1:s image=2:s command=3:*s args=4:*s workingDir=5:s env=7:*@EnvVar \
 resources=8:@ResourceRequirements terminationMessagePath=13:s imagePullPolicy=14:s stdin=16:b \
 stdinOnce=17:b tty=18:b terminationMessagePolicy=20:s
EnvVar name=1:s value=2:s
ResourceRequirements limits=1:%q requests=2:%q
Job metadata=1:@ObjectMeta spec=2:@JobSpec status=3:-
JobSpec parallelism=1:i completions=2:i activeDeadlineSeconds=3:i selector=4:@LabelSelector \
 manualSelector=5:b template=6:@PodTemplateSpec backoffLimit=7:i ttlSecondsAfterFinished=8:i \
 completionMode=9:s suspend=10:b podReplacementPolicy=14:s managedBy=15:s
CronJob metadata=1:@ObjectMeta spec=2:@CronJobSpec status=3:-
CronJobSpec schedule=1:s startingDeadlineSeconds=2:i concurrencyPolicy=3:s suspend=4:b \
 jobTemplate=5:@JobTemplateSpec successfulJobsHistoryLimit=6:i failedJobsHistoryLimit=7:i \
 timeZone=8:s
JobTemplateSpec metadata=1:@ObjectMeta spec=2:@JobSpec
Deployment metadata=1:@ObjectMeta spec=2:@DeploymentSpec status=3:-
DeploymentSpec replicas=1:i selector=2:@LabelSelector template=3:@PodTemplateSpec \
 strategy=4:@Strategy minReadySeconds=5:i revisionHistoryLimit=6:i paused=7:b \
 progressDeadlineSeconds=9:i
Strategy type=1:s
Empty
"""

_Fields = dict[int, tuple[str, str]]


def _parsed(table: str) -> dict[str, _Fields]:
    messages: dict[str, _Fields] = {}
    for line in table.strip().splitlines():
        name, *fields = line.split()
        messages[name] = {}
        for field in fields:
            key, _, kind = field.partition(":")
            label, _, number = key.partition("=")
            messages[name][int(number)] = (label, kind)
    return messages


MESSAGES = _parsed(_TABLE)


def wrong_field(message: str, value: Any, path: str = "") -> str:
    """The path of the first known field whose type does not fit, empty when all fit. Null fits everywhere."""
    if not isinstance(value, dict):
        return path or message
    for label, kind in MESSAGES.get(message, {}).values():
        found = value.get(label)
        where = f"{path}.{label}" if path else label
        if found is not None and (wrong := _wrong(kind, found, where)):
            return wrong
    return ""


def _wrong(kind: str, value: Any, path: str) -> str:
    if kind.startswith("*"):
        items = value if isinstance(value, list) else None
        return path if items is None else _first(_wrong(kind[1:], item, path) for item in items)
    if kind.startswith("%"):
        values = value.values() if isinstance(value, dict) else None
        return path if values is None else _first(_wrong(kind[1:], item, path) for item in values)
    if kind.startswith("@"):
        return wrong_field(kind[1:], value, path)
    fits = {
        "b": isinstance(value, bool),
        "i": isinstance(value, int) and not isinstance(value, bool),
        "q": isinstance(value, str | int | float) and not isinstance(value, bool),
        "-": True,
    }.get(kind, isinstance(value, str))
    return "" if fits else path


def _first(paths: Iterable[str]) -> str:
    return next(filter(None, paths), "")
