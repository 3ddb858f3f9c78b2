"""Writes a kubeconfig for the embedded cluster, readable by its owner only, never half-written."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import yaml


def write_kubeconfig(
    path: Path, *, server: str, token: str, certificate_pem: str, namespace: str, name: str = "embedded"
) -> None:
    """Replace ``path`` by a kubeconfig with one context. OSError when its folder cannot be written."""
    cluster = {
        "server": server,
        "certificate-authority-data": base64.b64encode(certificate_pem.encode()).decode(),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        "current-context": name,
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        yaml.safe_dump(content, stream, sort_keys=False)
    partial.replace(path)
