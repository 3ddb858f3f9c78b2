"""The real node: containerd, runc and a kubelet beside the played ones, on Linux as root. Pods run there as
processes, with real logs, signals and graceful termination. It refuses to start on a machine that lacks
something, and says in one line what.

Everything of it lives below :mod:`tools.cluster.node_init`, in namespaces of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from string import Template

from tools.cluster import cgroups
from tools.cluster.control_plane import read
from tools.cluster.errors import StartFailed, StopFailed
from tools.cluster.facts import REAL_NODE_LABEL
from tools.cluster.image import PAUSE_IMAGE, write_images
from tools.cluster.places import CHECKOUT, Places
from tools.cluster.processes import Process, all_pids, command_line, find, send, still_alive, until

NAME = "localhost"
PACKAGES = ("runc", "containernetworking-plugins", "busybox-static")
CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))


def what_is_missing(here: Places) -> str:
    """Empty when the node can be started, else why not and what to do. Installs Debian packages if it may."""
    if sys.platform != "linux":
        return "it needs Linux"
    if os.geteuid() != 0:
        return "it needs root (sudo -E make cluster)"
    if missing := missing_packages():
        install(missing)
    if missing := missing_packages():
        return f"{', '.join(missing)} missing: apt-get install {' '.join(PACKAGES)}"
    return may_not_isolate(here)


def may_not_isolate(here: Places) -> str:
    tried = subprocess.run(
        [*NAMESPACES, "mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True, check=False
    )
    if tried.returncode != 0:
        return "this machine allows no mount and PID namespaces: a container would have to be privileged"
    if not all(os.access(hierarchy, os.W_OK) for hierarchy in cgroups.hierarchies()):
        return "control groups are read-only: a container would have to be privileged"
    return ""


NAMESPACES = (
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--propagation",
    "slave",
    "--mount-proc",
)


def missing_packages() -> list[str]:
    found = {
        "runc": shutil.which("runc"),
        "containernetworking-plugins": cni_programs(),
        "busybox-static": busybox(),
    }
    return [package for package, program in found.items() if program is None]


def cni_programs() -> Path | None:
    return next((folder for folder in CNI_FOLDERS if (folder / "ptp").exists()), None)


def busybox() -> Path | None:
    """A static one: the image has no libraries."""
    found = shutil.which("busybox")
    return Path(found) if found and is_static(Path(found)) else None


def is_static(program: Path) -> bool:
    """Whether a 64-bit ELF program needs no loader: no program header of it is an interpreter (type 3)."""
    body = program.read_bytes()
    offset, size, count = (*struct.unpack_from("<Q", body, 32), *struct.unpack_from("<HH", body, 54))
    types = [struct.unpack_from("<I", body, offset + size * index)[0] for index in range(count)]
    return body.startswith(b"\x7fELF\x02") and 3 not in types


def install(packages: list[str]) -> None:
    if shutil.which("apt-get") is None:
        return
    print(f"installing {', '.join(packages)}", file=sys.stderr, flush=True)
    command = ["install", "--yes", "--no-install-recommends", *packages]
    if not apt_get(*command):
        apt_get("update")
        apt_get(*command)


def apt_get(*arguments: str) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return (
        subprocess.run(["apt-get", *arguments], env=environment, capture_output=True, check=False).returncode
        == 0
    )


def start(here: Places, programs: dict[str, Path]) -> None:
    """Returns at once; the node shows itself to the API server within a few seconds."""
    config = write_config(here, programs)
    log = here.logs / "node.log"
    with log.open("ab") as output:
        subprocess.Popen(
            [*NAMESPACES, sys.executable, "-m", "tools.cluster.node_init", str(config)],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def write_config(here: Places, programs: dict[str, Path]) -> Path:
    here.node.mkdir()
    (here.config / "cni").mkdir()
    shutil.copyfile("/etc/resolv.conf", here.config / "resolv.conf")
    runc, plugins, static_busybox = shutil.which("runc"), cni_programs(), busybox()
    if not (runc and plugins and static_busybox):
        raise StartFailed(f"the real node lost a program while it was started: {missing_packages()}")
    write_images(static_busybox, here.node / "images.tar")
    names = {
        "CONFIG": here.config,
        "PKI": here.kwok_cluster / "pki",
        "PAUSE_IMAGE": PAUSE_IMAGE,
        "REAL_NODE_LABEL": REAL_NODE_LABEL,
        "KUBELET_PORT": free_port(),
        "RUNC": runc,
        "SHIM": programs["containerd-shim-runc-v2"],
        "CNI_PROGRAMS": plugins,
    }
    for name in ("containerd.toml", "kubelet.yaml"):
        (here.config / name).write_text(Template(read(name)).substitute(names))
    conflist = Template(read("ptp.conflist")).substitute(SUBNET=f"{network(here)}.0/24")
    (here.config / "cni" / "10-ptp.conflist").write_text(conflist)
    config = init_config_file(here)
    config.write_text(json.dumps(init_config(here, programs), indent=2))
    return config


def init_config(here: Places, programs: dict[str, Path]) -> dict[str, object]:
    kubelet = {
        "config": here.config / "kubelet.yaml",
        "kubeconfig": here.kubeconfig,
        "root-dir": "/run/node/kubelet",
        "cert-dir": "/run/node/kubelet-pki",
        "hostname-override": NAME,
        "node-labels": f"{REAL_NODE_LABEL}=true",
    }
    ctr = [programs["ctr"], "-a", "/run/containerd/containerd.sock", "-n", "k8s.io"]
    commands: dict[str, list[object]] = {
        "containerd": [programs["containerd"], "--config", here.config / "containerd.toml"],
        "import_images": [*ctr, "image", "import", here.node / "images.tar"],
        "kubelet": [programs["kubelet"], *(f"--{name}={value}" for name, value in kubelet.items())],
    }
    as_text = {name: [str(word) for word in words] for name, words in commands.items()}
    return {"node": str(here.node), "cgroup": cgroup(here), **as_text}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def network(here: Places) -> str:
    """The first three bytes of the pods' addresses, from a range that no real network has (RFC 2544)."""
    number = int(here.short_id, 16)
    return f"198.{18 + number % 2}.{number // 2 % 256}"


def cgroup(here: Places) -> str:
    return f"cleanup-scheduler-{here.short_id}"


def processes(here: Places) -> list[Process]:
    """The one that all others hang on: it waits outside for the namespaces' first process."""
    mark = str(init_config_file(here))
    return find(lambda words: words[0] == NAMESPACES[0] and words[-1] == mark, mark)


def not_running(here: Places) -> list[str]:
    return [] if processes(here) else ["real node"]


def init_config_file(here: Places) -> Path:
    return here.config / "node.json"


def inside(here: Places) -> list[Process]:
    """Every process of the node, containers too, as this side of the namespace numbers them."""
    found = []
    for pid in pids_in(pid_namespaces(here)):
        program, *_ = command_line(pid) or ["(ended)"]
        found.append(Process(Path(program).name, pid, program))
    return found


def pid_namespaces(here: Places) -> set[str]:
    """The node's one, while it runs."""
    outside = [process.pid for process in processes(here)]
    return {link for pid in outside for child in children(pid) if (link := pid_namespace(child))}


def pids_in(namespaces: set[str]) -> list[int]:
    return [pid for pid in all_pids() if pid_namespace(pid) in namespaces]


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def pid_namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def stop(here: Places) -> None:
    """SIGKILL for its first process: the kernel does the rest, and no container can refuse.

    The one outside ends last, so that it collects that process: not every machine has a process 1
    that does.
    """
    first, namespaces = processes(here), pid_namespaces(here)
    for process in first:
        for child in children(process.pid):
            send(child, signal.SIGKILL)
    for process in still_alive(first, 10):
        send(process.pid, signal.SIGKILL)
    if not until(lambda: not pids_in(namespaces), within_seconds=10):
        raise StopFailed(f"processes of the real node that cannot be killed: {pids_in(namespaces)}")
    if sys.platform == "linux":
        cgroups.remove(cgroup(here))


def what_is_left(here: Places) -> list[str]:
    """What a stopped node has left outside the state folder. The kernel drops interfaces a moment later."""
    if sys.platform != "linux":
        return []
    until(lambda: not interfaces(here), within_seconds=10)
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    below = [f"mount {mount}" for mount in mounts if Path(mount).is_relative_to(here.state)]
    return below + [f"control group {group}" for group in cgroups.remaining(cgroup(here))] + interfaces(here)


def interfaces(here: Places) -> list[str]:
    """Host sides of pods' networks: each has the network's first address."""
    if shutil.which("ip") is None:
        return []
    shown = subprocess.run(["ip", "-json", "address"], capture_output=True, text=True, check=False).stdout
    return [
        f"interface {link['ifname']}"
        for link in json.loads(shown or "[]")
        if any(address.get("local") == f"{network(here)}.1" for address in link.get("addr_info", []))
    ]
