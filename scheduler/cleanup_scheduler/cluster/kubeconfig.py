"""Which cluster is meant: the kubeconfig's files, contexts and names, read as plain YAML.

Exists so that a test process can name its cluster without paying for the client's import. Refuses to talk to
anybody: whether the server answers, and whether it accepts the credentials, is found out by the first call.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import yaml

from cleanup_scheduler.domain.resources import Malformed, check_namespace
from cleanup_scheduler.errors import SettingsError
from cleanup_scheduler.settings import Settings

IN_CLUSTER: Final = "in-cluster"
# "Accessing the Kubernetes API from a Pod" names both variables and the folder
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LISTS: Final = {"contexts": "context", "clusters": "cluster", "users": "user"}
_FILES: Final = {
    "clusters": ("certificate-authority",),
    "users": ("client-certificate", "client-key", "tokenFile"),
}


class ClusterName(msgspec.Struct, frozen=True):
    """What events call the cluster (the context's name, unless the settings say otherwise), and the
    namespace that holds where none is given."""

    name: str
    namespace: str


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One context in full. ``document`` is the merged kubeconfig with absolute paths; None inside a pod.

    ``source`` names the files, for messages.
    """

    name: ClusterName
    context: str
    server: str
    source: str
    document: dict[str, Any] | None = None


def current_cluster(settings: Settings, *, environment: Mapping[str, str] | None = None) -> ClusterName:
    """The cluster and namespace that ``settings`` mean; raises :class:`SettingsError` in one line."""
    return find_target(settings, environment=environment).name


def find_target(settings: Settings, *, environment: Mapping[str, str] | None = None) -> Target:
    """The context that ``settings`` mean, read anew from disk with each call."""
    environment = os.environ if environment is None else environment
    files = _files(settings, environment)
    if not files:
        return _inside_a_pod(settings, environment)
    source = os.pathsep.join(str(file) for file in files)
    document = _merge([_read(file) for file in files])
    context_name = settings.context or document["current-context"]
    context = _entry(document, "contexts", context_name, source)
    cluster = _entry(document, "clusters", context.get("cluster") or "", source)
    server = _server(cluster, context_name, source)
    _require_files(document, context, source)
    namespace = settings.namespace or context.get("namespace") or "default"
    return Target(
        name=ClusterName(settings.cluster or context_name, _checked(namespace, source)),
        context=context_name,
        server=server,
        source=source,
        document=document,
    )


def _files(settings: Settings, environment: Mapping[str, str]) -> list[Path]:
    """The given file must exist; of ``$KUBECONFIG``'s list, as with kubectl, those count that do."""
    if settings.kubeconfig:
        file = Path(settings.kubeconfig).expanduser().absolute()
        if not file.is_file():
            raise SettingsError(
                f"kubeconfig {file} does not exist", hint="write it there, or name another with `kubeconfig`"
            )
        return [file]
    listed = environment.get("KUBECONFIG", "")
    named = [Path(name).expanduser().absolute() for name in listed.split(os.pathsep) if name]
    found = [file for file in named if file.is_file()]
    if named and not found:
        raise SettingsError(f"kubeconfig {listed} does not exist", hint="it is what $KUBECONFIG names")
    home = Path(environment.get("HOME") or Path.home()) / ".kube" / "config"
    return found or ([home] if home.is_file() else [])


def _inside_a_pod(settings: Settings, environment: Mapping[str, str]) -> Target:
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
    if not (host and port and (_SERVICE_ACCOUNT / "token").is_file()):
        raise SettingsError(
            "no kubeconfig: $KUBECONFIG is not set and ~/.kube/config does not exist",
            hint="set `kubeconfig` or $KUBECONFIG to the file of the cluster to use",
        )
    mine = _SERVICE_ACCOUNT / "namespace"
    namespace = settings.namespace or (mine.read_text(encoding="utf-8").strip() if mine.is_file() else "")
    source = f"the service account in {_SERVICE_ACCOUNT}"
    return Target(
        name=ClusterName(settings.cluster or IN_CLUSTER, _checked(namespace or "default", source)),
        context=IN_CLUSTER,
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        source=source,
    )


def _read(file: Path) -> dict[str, Any]:
    """One file, its relative paths made absolute (they are relative to the file that holds them)."""
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(
            f"kubeconfig {file} cannot be read: {reason}", hint="mend the file or name another"
        ) from error
    if not isinstance(document, dict):
        raise SettingsError(f"kubeconfig {file} holds no settings", hint="mend the file or name another")
    for key, inner in _LISTS.items():
        entries = document.get(key) or []
        if not (isinstance(entries, list) and all(_well_formed(entry, inner) for entry in entries)):
            raise SettingsError(
                f"kubeconfig {file}: {key!r} is not a list of names with a {inner!r} each",
                hint="mend the file or name another",
            )
        for entry in entries:
            for field in _FILES.get(key, ()):
                if path := entry[inner].get(field):
                    entry[inner][field] = str(file.parent / Path(str(path)).expanduser())
        document[key] = entries
    return document


def _well_formed(entry: Any, inner: str) -> bool:
    if not (isinstance(entry, dict) and isinstance(entry.get("name"), str)):
        return False
    entry[inner] = entry.get(inner) or {}
    return isinstance(entry[inner], dict)


def _merge(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """As kubectl merges: the first file that says something about a name wins."""
    merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "current-context": ""}
    merged.update({key: [] for key in _LISTS})
    for document in documents:
        merged["current-context"] = merged["current-context"] or str(document.get("current-context") or "")
        for key in _LISTS:
            known = {entry["name"] for entry in merged[key]}
            merged[key] += [copy.deepcopy(entry) for entry in document[key] if entry["name"] not in known]
    return merged


def _entry(document: dict[str, Any], key: str, name: str, source: str) -> dict[str, Any]:
    inner = _LISTS[key]
    for entry in document[key]:
        if entry["name"] == name:
            found: dict[str, Any] = entry[inner]
            return found
    known = ", ".join(sorted(entry["name"] for entry in document[key])) or "none"
    if not name:
        raise SettingsError(
            f"kubeconfig {source} has no current {inner}",
            hint=f"set `context` to one of: {known}",
        )
    raise SettingsError(f"kubeconfig {source} has no {inner} {name!r}", hint=f"it has: {known}")


def _server(cluster: dict[str, Any], context: str, source: str) -> str:
    server = str(cluster.get("server") or "").rstrip("/")
    try:
        parts = urlsplit(server)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        fine = False
    if not fine:
        raise SettingsError(
            f"kubeconfig {source}: the server of context {context!r} is {server!r}",
            hint="it must look like https://HOST:PORT",
        )
    return server


def _require_files(document: dict[str, Any], context: dict[str, Any], source: str) -> None:
    for key, inner in (("clusters", "cluster"), ("users", "user")):
        for entry in document[key]:
            if entry["name"] != context.get(inner):
                continue
            for field in _FILES[key]:
                path, data = entry[inner].get(field), entry[inner].get(f"{field}-data")
                if path and not data and not Path(path).is_file():
                    raise SettingsError(
                        f"kubeconfig {source}: {field} of {inner} {entry['name']!r} does not exist: {path}",
                        hint="make the credentials anew, or use another context",
                    )


def _checked(namespace: str, source: str) -> str:
    try:
        return check_namespace(namespace)
    except Malformed as error:
        raise SettingsError(f"namespace: {error}", hint=f"from the settings or {source}") from error
