"""Makes the two images of the real node from Debian's static busybox: one to run things in, and one that only
waits (it holds a pod's network). No registry is asked; the same busybox always gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from tools.cluster.facts import IMAGE

PAUSE_IMAGE = "localhost/pause:test"
FOLDERS = {"bin": 0o755, "etc": 0o755, "root": 0o700, "tmp": 0o1777}
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}
# short names too, so that a manifest's plain `image: busybox:test` is found without a registry
BUSYBOX_NAMES = [IMAGE, "docker.io/library/busybox:test"]


def write_images(busybox: Path, into: Path) -> None:
    """An archive as ``docker save`` makes it: one layer, two images."""
    layer = layer_of(busybox)
    names = {"busybox.json": BUSYBOX_NAMES, "pause.json": [PAUSE_IMAGE]}
    configs = {
        "busybox.json": config_of(layer, ["sh"]),
        "pause.json": config_of(layer, ["sleep", "2147483647"]),
    }
    manifest = [{"Config": name, "RepoTags": names[name], "Layers": ["layer.tar"]} for name in configs]
    with tarfile.open(into, "w") as archive:
        add(archive, "layer.tar", layer, 0o644)
        for name, config in configs.items():
            add(archive, name, json.dumps(config).encode(), 0o644)
        add(archive, "manifest.json", json.dumps(manifest).encode(), 0o644)


def layer_of(busybox: Path) -> bytes:
    applets = subprocess.run(
        [str(busybox), "--list"], capture_output=True, text=True, check=True
    ).stdout.split()
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as layer:
        for folder, mode in FOLDERS.items():
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            layer.addfile(entry)
        add(layer, "bin/busybox", busybox.read_bytes(), 0o755)
        for applet in sorted(set(applets) - {"busybox"}):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
            layer.addfile(link)
        for name, text in FILES.items():
            add(layer, name, text.encode(), 0o644)
    return whole.getvalue()


def config_of(layer: bytes, command: list[str]) -> dict[str, Any]:
    return {
        "architecture": machine(),
        "os": "linux",
        "config": {"Cmd": command, "Env": ["PATH=/bin"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }


def machine() -> str:
    """This machine in Go's words, as images name it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def add(archive: tarfile.TarFile, name: str, body: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(body), mode
    archive.addfile(entry, io.BytesIO(body))
