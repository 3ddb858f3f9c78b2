"""Kinds: how one is called, and the path at which the API serves it. Discovery tells what is not built in.

The built-in workloads are known without asking. Refuses to guess between two groups that both serve a word:
that is an error which names the choices (the core group wins, as with kubectl).
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final
from urllib.parse import quote

import msgspec

from cleanup_scheduler.cluster.together import together
from cleanup_scheduler.domain.resources import Malformed, canonical_kind
from cleanup_scheduler.errors import BadAnswer, ClusterError, UnknownName

_LOGGER = logging.getLogger(__name__)


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind that the API serves. ``word`` is the CamelCase word of manifests."""

    plural: str
    group: str
    version: str
    word: str
    singular: str = ""
    short_names: tuple[str, ...] = ()
    namespaced: bool = True

    @property
    def canonical(self) -> str:
        """``jobs.batch``, ``pods``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        """``batch/v1``, ``v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, of one object, or of its subresource."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(quote(part, safe="") for part in parts)

    def names(self) -> set[str]:
        """Every spelling that means this kind, but for those that only say the group too."""
        return {self.plural, self.singular, *self.short_names} - {""}


def _built_in(word: str, plural: str, group: str = "", *, namespaced: bool = True) -> Kind:
    return Kind(
        plural=plural, group=group, version="v1", word=word, singular=word.lower(), namespaced=namespaced
    )


PODS: Final = _built_in("Pod", "pods")
JOBS: Final = _built_in("Job", "jobs", "batch")
QUOTAS: Final = _built_in("ResourceQuota", "resourcequotas")
BUILT_IN: Final[dict[str, Kind]] = {
    kind.canonical: kind
    for kind in (
        PODS,
        JOBS,
        QUOTAS,
        _built_in("CronJob", "cronjobs", "batch"),
        _built_in("Deployment", "deployments", "apps"),
        _built_in("StatefulSet", "statefulsets", "apps"),
        _built_in("ReplicaSet", "replicasets", "apps"),
        _built_in("DaemonSet", "daemonsets", "apps"),
        _built_in("Service", "services"),
        _built_in("ConfigMap", "configmaps"),
        _built_in("Secret", "secrets"),
        _built_in("PersistentVolumeClaim", "persistentvolumeclaims"),
        _built_in("ServiceAccount", "serviceaccounts"),
        _built_in("Namespace", "namespaces", namespaced=False),
    )
}

Fetch = Callable[[str, str], Coroutine[Any, Any, dict[str, Any]]]  # (path, accept) -> JSON
_AGGREGATED: Final = ",".join(
    [
        *(
            f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            for version in ("v2", "v2beta1")
        ),
        "application/json",
    ]
)


class Kinds:
    """One cluster's kinds: built in, or as its discovery lists them (cached; asked again when in vain)."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._discovered: list[Kind] | None = None
        self._asking = asyncio.Lock()

    async def resolve(self, name: str) -> Kind:
        """The kind that ``name`` means; raises :class:`UnknownName` with the nearest, or the choices."""
        try:
            wanted = canonical_kind(name)
        except Malformed as error:
            raise UnknownName(str(error)) from error
        if wanted in BUILT_IN:
            return BUILT_IN[wanted]
        return await self._find(lambda kinds: _choose(name, wanted, kinds))

    async def of_manifest(self, api_version: str, word: str) -> Kind:
        """The kind of a manifest's or an owner reference's ``apiVersion`` and ``kind``."""
        for kind in BUILT_IN.values():
            if kind.word == word and kind.api_version == api_version:
                return kind
        group, _, version = api_version.rpartition("/")

        def match(kinds: list[Kind]) -> Kind:
            for kind in kinds:
                if kind.word == word and kind.group == group:
                    # the version asked for may be served beside the preferred one
                    return msgspec.structs.replace(kind, version=version or kind.version)
            raise UnknownName(
                f"the cluster has no kind {word!r} in {api_version!r}",
                hint="is its CustomResourceDefinition installed?",
            )

        return await self._find(match)

    async def _find(self, match: Callable[[list[Kind]], Kind]) -> Kind:
        fresh = self._discovered is None
        kinds = await self._known(renew=False)
        try:
            return match(kinds)
        except UnknownName:
            if fresh:
                raise
        return match(await self._known(renew=True, old=kinds))

    async def _known(self, *, renew: bool, old: list[Kind] | None = None) -> list[Kind]:
        async with self._asking:
            if self._discovered is None or (renew and self._discovered is old):
                self._discovered = await self._discover()
            return self._discovered

    async def _discover(self) -> list[Kind]:
        try:
            return await self._ask()
        except (KeyError, TypeError, AttributeError) as error:
            raise BadAnswer(f"the cluster's list of its kinds cannot be read: {error!r}") from error

    async def _ask(self) -> list[Kind]:
        found: list[Kind] = []
        for document in await together(self._fetch(path, _AGGREGATED) for path in ("/api", "/apis")):
            if document.get("kind") == "APIGroupDiscoveryList":
                found += _from_aggregated(document)
            else:
                found += await self._from_legacy(document)
        return found

    async def _from_legacy(self, document: dict[str, Any]) -> list[Kind]:
        """Servers before 1.26, and simple ones: one more request for each group, of its preferred version."""
        if document.get("kind") == "APIVersions":
            versions = [("", version) for version in document.get("versions") or ()]
        else:
            versions = [
                (group["name"], group["preferredVersion"]["version"])
                for group in document.get("groups") or ()
            ]
        pages = await asyncio.gather(
            *(
                self._fetch(f"/apis/{group}/{version}" if group else f"/api/{version}", "application/json")
                for group, version in versions
            ),
            return_exceptions=True,
        )
        found: list[Kind] = []
        for (group, version), page in zip(versions, pages, strict=True):
            if isinstance(page, ClusterError) and group:
                # an aggregated API whose server is down must not hide the other groups
                _LOGGER.warning("the kinds of group %s are not known: %s", group, page)
                continue
            if isinstance(page, BaseException):
                raise page
            found += _from_resources(page.get("resources") or (), group, version, word="kind", plural="name")
        return found


def _from_aggregated(document: dict[str, Any]) -> list[Kind]:
    found: list[Kind] = []
    for group in document.get("items") or ():
        seen: set[str] = set()
        for version in group.get("versions") or ():  # preferred first
            kinds = _from_resources(
                version.get("resources") or (),
                (group.get("metadata") or {}).get("name", ""),
                version["version"],
                word="responseKind",
                plural="resource",
            )
            found += [kind for kind in kinds if kind.plural not in seen]
            seen.update(kind.plural for kind in kinds)
    return found


def _from_resources(
    resources: Iterable[dict[str, Any]], group: str, version: str, *, word: str, plural: str
) -> list[Kind]:
    found = []
    for resource in resources:
        if "/" in resource[plural] or not {"list", "delete"} <= set(resource.get("verbs") or ()):
            continue  # a subresource, or nothing that can be found and cleaned
        kind = resource[word]
        scope = resource.get("scope")
        found.append(
            Kind(
                plural=resource[plural],
                group=group,
                version=version,
                word=kind if isinstance(kind, str) else kind["kind"],
                singular=resource.get("singularResource") or resource.get("singularName") or "",
                short_names=tuple(resource.get("shortNames") or ()),
                namespaced=resource.get("namespaced", False) if scope is None else scope == "Namespaced",
            )
        )
    return found


def _choose(name: str, wanted: str, kinds: list[Kind]) -> Kind:
    word, _, group = wanted.partition(".")
    candidates = [
        kind
        for kind in kinds
        if word in kind.names() and (not group or group in (kind.group, f"{kind.version}.{kind.group}"))
    ]
    exact = [kind for kind in candidates if word == kind.plural] or candidates
    core = [kind for kind in exact if not kind.group] or exact
    if len(core) == 1:
        return core[0]
    if core:
        choices = ", ".join(sorted(kind.canonical for kind in core))
        raise UnknownName(f"kind {name!r} is ambiguous", hint=f"write one of: {choices}")
    spellings = {spelling for kind in kinds for spelling in (*kind.names(), kind.canonical)}
    nearest = difflib.get_close_matches(wanted, sorted(spellings), n=3)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else "`kubectl api-resources` lists the kinds"
    raise UnknownName(f"the cluster has no kind {name!r}", hint=hint)
