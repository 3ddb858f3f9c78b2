"""The first process of the real node: process 1 of a PID namespace, in a mount namespace of its own.

It makes the few places where containerd, the kubelet and the network plugin write outside our state folder
private, starts containerd, loads the images, starts the kubelet, and collects processes that lost their
parents. It ends when one of the two ends, and with it the kernel ends every container and drops every mount
and network namespace: nothing of the node can outlive it, however it dies. It refuses to change the machine's
kernel settings: the kubelet writes its own into copies.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.cluster import cgroups
from tools.cluster.processes import until

# what the kubelet and the network plugin set on a machine that they take to be theirs
KERNEL_SETTINGS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)


def main(config_file: Path) -> int:
    config: dict[str, Any] = json.loads(config_file.read_text())
    cgroups.enter(config["cgroup"])
    make_places_private(Path(config["node"]))
    containerd = subprocess.Popen(config["containerd"])
    if not until(containerd_answers, within_seconds=30):
        print("containerd did not answer within 30 s", flush=True)
        return 1
    subprocess.run(config["import_images"], check=True)
    kubelet = subprocess.Popen(config["kubelet"])
    names = {containerd.pid: "containerd", kubelet.pid: "kubelet"}
    while True:
        pid, status = os.wait()
        if pid in names:
            print(f"{names[pid]} ended with status {os.waitstatus_to_exitcode(status)}", flush=True)
            return 1


def make_places_private(node: Path) -> None:
    """All mounts are seen by this node alone."""
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for name in ("upper", "work"):
        Path("/run/var-lib", name).mkdir(parents=True)
    overlay = "lowerdir=/var/lib,upperdir=/run/var-lib/upper,workdir=/run/var-lib/work"
    mount("-t", "overlay", "-o", overlay, "overlay", "/var/lib")
    short = Path("/run/node")  # sockets below it: their paths may have 107 characters at most
    short.mkdir()
    mount("--bind", str(node), str(short))
    logs = node / "log"
    logs.mkdir(exist_ok=True)
    mount("--bind", str(logs), "/var/log")
    for name in KERNEL_SETTINGS:
        setting, copy = Path("/proc/sys", name), Path("/run/kernel-settings", name)
        if setting.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(setting.read_text())
            mount("--bind", str(copy), str(setting))


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def containerd_answers() -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex("/run/containerd/containerd.sock") == 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
