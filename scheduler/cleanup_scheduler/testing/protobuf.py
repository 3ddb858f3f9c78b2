"""Reads the protobuf bodies that newer kubectls send for ``create namespace``, ``quota``, ``job`` …

Only requests, and only the kinds and fields that such commands make: a field that is not in the table
below is refused with its number, never dropped. Answers are JSON, which every client takes. The numbers
are those of Kubernetes' ``generated.proto`` files.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from cleanup_scheduler.testing.objects import Object, format_time
from cleanup_scheduler.testing.statuses import bad_request

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

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


_MESSAGES = _parsed(_TABLE)


def decode_protobuf(body: bytes) -> Object:
    """The object in a request's body. Raises 400 for what cannot be read whole."""
    if not body.startswith(_MAGIC):
        raise bad_request("the protobuf body does not begin with Kubernetes' magic number")
    try:
        envelope = _message("Unknown", body[len(_MAGIC) :])
        kind = envelope["typeMeta"]["kind"]
        if kind not in _MESSAGES:
            raise bad_request(
                f"{kind} is not read from protobuf here: send it as JSON (kubectl create -f FILE)"
            )
        content = _message(kind, base64.b64decode(envelope.get("raw", "")))
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise bad_request(f"the protobuf body cannot be read: {error!r}") from error
    return {"kind": kind, "apiVersion": envelope["typeMeta"]["apiVersion"]} | content


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _entries(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        if key & 7 == 0:
            value, position = _varint(data, position)
            yield key >> 3, value
        elif key & 7 == 2:
            length, position = _varint(data, position)
            if position + length > len(data):
                raise IndexError("a field is longer than the message")
            yield key >> 3, data[position : position + length]
            position += length
        else:
            raise KeyError(f"wire type {key & 7}")


def _message(name: str, data: bytes) -> Object:
    result: Object = {}
    for number, raw in _entries(data):
        if number not in _MESSAGES[name]:
            told = f"field {number} of {name} is not read from protobuf here: send the object as JSON"
            raise bad_request(f"{told} (kubectl create -f FILE)")
        label, kind = _MESSAGES[name][number]
        if kind == "-":
            continue
        if kind.startswith("*"):
            result.setdefault(label, []).append(_value(kind[1:], raw))
        elif kind.startswith("%"):
            entry = dict(_entries(_bytes(raw)))
            result.setdefault(label, {})[_text(entry.get(1, b""))] = _value(kind[1:], entry.get(2, b""))
        else:
            value = _value(kind, raw)
            if value not in ("", None):
                result[label] = value
    return result


def _bytes(raw: int | bytes) -> bytes:
    if isinstance(raw, int):
        raise KeyError("a number where bytes belong")
    return raw


def _text(raw: int | bytes) -> str:
    return _bytes(raw).decode()


def _quantity(raw: int | bytes) -> str:
    return _text(dict(_entries(_bytes(raw))).get(1, b""))


def _time(raw: int | bytes) -> str | None:
    seconds = dict(_entries(_bytes(raw))).get(1)
    return format_time(datetime.fromtimestamp(seconds, UTC)) if isinstance(seconds, int) else None


def _signed(raw: int | bytes) -> int:
    value = raw if isinstance(raw, int) else 0
    return value - (1 << 64) if value >> 63 else value


_SCALARS: dict[str, Callable[[int | bytes], Any]] = {
    "s": _text,
    "i": _signed,
    "b": bool,
    "y": lambda raw: base64.b64encode(_bytes(raw)).decode(),
    "q": _quantity,
    "t": _time,
}


def _value(kind: str, raw: int | bytes) -> Any:
    if kind.startswith("@"):
        return _message(kind[1:], _bytes(raw))
    return _SCALARS[kind](raw)
