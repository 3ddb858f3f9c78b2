"""Pods on the real node that run this machine's Python on this checkout: the image has a shell and nothing
else, all the rest comes in as folders of the host, read-only unless said otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

import yaml

from tools.cluster.facts import IMAGE, REAL_NODE_LABEL
from tools.cluster.places import CHECKOUT

SHARED_LIBRARIES = [Path(folder) for folder in ("/usr", "/lib", "/lib64")]


def real_node_pod_template(
    server: str, *, writable: Sequence[Path] = (), readable: Sequence[Path] = ()
) -> dict[str, Any]:
    """``server`` is the API server's address. The container is called ``suite``, its command is the
    interpreter: give it ``args``. All folders are seen at their own paths; ``writable`` ones outlive the pod.
    """
    text = Template((Path(__file__).parent / "real-node-pod-template.yaml").read_text()).substitute(
        REAL_NODE_LABEL=REAL_NODE_LABEL,
        IMAGE=IMAGE,
        CHECKOUT=CHECKOUT,
        PYTHON=sys.executable,
        API_HOST=urlsplit(server).hostname,
        API_PORT=urlsplit(server).port,
    )
    template: dict[str, Any] = yaml.safe_load(text)
    folders = dict.fromkeys(outermost([*python_folders(), CHECKOUT, *readable]), True)
    folders |= {folder.absolute(): False for folder in writable}
    template["spec"]["volumes"] = [
        {"name": f"host-{number}", "hostPath": {"path": str(folder.resolve())}}
        for number, folder in enumerate(folders)
    ]
    template["spec"]["containers"][0]["volumeMounts"] = [
        {"name": f"host-{number}", "mountPath": str(folder), "readOnly": read_only}
        for number, (folder, read_only) in enumerate(folders.items())
    ]
    return template


def python_folders() -> list[Path]:
    """The environment, what it was made from, and the libraries that the interpreter is linked with."""
    return [
        Path(sys.prefix),
        Path(sys.base_prefix),
        *(folder for folder in SHARED_LIBRARIES if folder.exists()),
    ]


def outermost(folders: Sequence[Path]) -> list[Path]:
    """Without those that lie in another one."""
    whole = sorted({folder.absolute() for folder in folders})
    return [
        folder
        for folder in whole
        if not any(folder.is_relative_to(other) for other in whole if other != folder)
    ]
