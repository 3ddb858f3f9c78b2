"""What a resource is called. Addresses are names; the uid, once seen, is the identity.

Refuses to resolve kinds that only a cluster can know: ``jobs``, ``pods`` and their like have an alias table
here, so that a test process needs no cluster; every other kind keeps the spelling it was given in until a
worker asks the API's discovery.
"""

from __future__ import annotations

import re
from typing import Final, Literal, get_args

import msgspec

Level = Literal["none", "pods", "all"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
Outcome = Literal["passed", "failed", "skipped", "interrupted", "unknown"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)

PODS: Final = "pods"
JOBS: Final = "jobs.batch"

# plural, singular and short names of the built-in kinds (kubectl api-resources), to `plural.group`
_ALIASES: Final[dict[str, str]] = {
    alias: kind
    for kind, aliases in {
        PODS: "pods pod po",
        JOBS: "jobs job jobs.batch job.batch",
        "cronjobs.batch": "cronjobs cronjob cj cronjobs.batch cronjob.batch",
        "deployments.apps": "deployments deployment deploy deployments.apps deployment.apps",
        "statefulsets.apps": "statefulsets statefulset sts statefulsets.apps statefulset.apps",
        "replicasets.apps": "replicasets replicaset rs replicasets.apps replicaset.apps",
        "daemonsets.apps": "daemonsets daemonset ds daemonsets.apps daemonset.apps",
        "services": "services service svc",
        "configmaps": "configmaps configmap cm",
        "secrets": "secrets secret",
        "persistentvolumeclaims": "persistentvolumeclaims persistentvolumeclaim pvc",
        "serviceaccounts": "serviceaccounts serviceaccount sa",
        "namespaces": "namespaces namespace ns",
    }.items()
    for alias in aliases.split()
}
_SINGULARS: Final[dict[str, str]] = {
    PODS: "pod",
    JOBS: "job",
    "cronjobs.batch": "cronjob",
    "deployments.apps": "deployment",
    "statefulsets.apps": "statefulset",
    "replicasets.apps": "replicaset",
    "daemonsets.apps": "daemonset",
    "services": "service",
    "configmaps": "configmap",
    "secrets": "secret",
    "persistentvolumeclaims": "persistentvolumeclaim",
    "serviceaccounts": "serviceaccount",
    "namespaces": "namespace",
}
# Kubernetes, "Object Names and IDs": most names are DNS-1123 subdomains of at most 253 characters
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_KIND: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(\.[a-z0-9][-a-z0-9.]*)?")


class Malformed(ValueError):
    """A name that Kubernetes would refuse; the message says what is wrong and what is allowed."""


def canonical_kind(kind: str) -> str:
    """``Job``, ``jobs``, ``job.batch`` -> ``jobs.batch``; an unknown kind comes back in lower case.

    Raises :class:`Malformed` when it cannot be a kind at all.
    """
    if len(kind) > 253 or not _KIND.fullmatch(kind):
        raise Malformed(
            f"{kind!r} is not a resource kind; write it like 'jobs', 'pods' or 'widgets.example.com'"
        )
    return _ALIASES.get(kind.lower(), kind.lower())


def check_name(name: str) -> str:
    """The name itself, or :class:`Malformed` when no Kubernetes object can have it."""
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise Malformed(
            f"{name!r} is not a resource name; Kubernetes allows lower-case letters, digits, '-' and '.', "
            "at most 253 characters"
        )
    return name


def check_namespace(namespace: str) -> str:
    """The namespace itself, or :class:`Malformed`; the empty one stands for cluster-scoped kinds."""
    if namespace and (len(namespace) > 63 or not _NAMESPACE.fullmatch(namespace)):
        raise Malformed(
            f"{namespace!r} is not a namespace; Kubernetes allows lower-case letters, digits and '-', "
            "at most 63 characters"
        )
    return namespace


class ResourceRef(msgspec.Struct, frozen=True, order=True, omit_defaults=True, gc=False):
    """An address: where something can be looked for. Who answers there is known only by its uid."""

    cluster: str
    namespace: str
    kind: str
    name: str

    @property
    def short(self) -> str:
        """``job/evaluation-job-1``, as kubectl prints it."""
        return f"{singular(self.kind)}/{self.name}"

    def __str__(self) -> str:
        return f"{self.short} in namespace {self.namespace}" if self.namespace else self.short


def make_ref(cluster: str, namespace: str, kind: str, name: str) -> ResourceRef:
    """A checked address; raises :class:`Malformed`."""
    return ResourceRef(cluster, check_namespace(namespace), canonical_kind(kind), check_name(name))


def singular(kind: str) -> str:
    """The word that kubectl prints for a canonical kind: ``jobs.batch`` -> ``job``."""
    return _SINGULARS.get(kind, kind)
