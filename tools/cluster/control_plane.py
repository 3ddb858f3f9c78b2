"""The control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and kwok, which plays the
nodes. ``kwokctl`` starts and stops them; everything listens on loopback. It refuses to use a program from
outside :mod:`tools.cluster.programs`, and so never downloads one.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

import yaml

from tools.cluster.errors import StartFailed
from tools.cluster.places import HERE, KWOK_NAME, Places
from tools.cluster.processes import Process, end, find, until

PROGRAMS = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok-controller"}
PLAYED_NODES = 5
# 2 KB, as the log of a small evaluation
PLAYED_LOG = 48 * "2024-01-01T00:00:00.000000000Z stdout F this pod is only played: nothing ran in it\n"


def start(places: Places, programs: dict[str, Path], *, rate_limits: bool) -> None:
    """Returns once the API answers, the played nodes are ready and pods are taken."""
    write_config(places)
    options = [] if rate_limits else ["--disable-qps-limits"]
    for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        options += [f"--{name}-binary", str(programs[name])]
    options += ["--kwok-controller-binary", str(programs["kwok"])]
    options += ["--config", str(places.config / "kwok.yaml"), "--kubeconfig", str(places.kubeconfig)]
    options += ["--kube-audit-policy", str(places.config / "audit-policy.yaml")]
    kwokctl(places, programs, "create", "cluster", "--runtime", "binary", "--wait", "60s", *options)
    kubectl(places, programs, "create", "-f", str(places.config / "played-nodes.yaml"))
    names = [f"played-{index}" for index in range(PLAYED_NODES)]
    wait_for_nodes(places, programs, names, lambda: not_running(places), component_logs(places))
    # a pod is refused before its namespace has one
    kubectl(places, programs, "wait", "--for=create", "serviceaccount/default", "--timeout=50s")


def write_config(places: Places) -> None:
    places.config.mkdir(parents=True)
    played_log = places.config / "played.log"
    played_log.write_text(PLAYED_LOG)
    (places.config / "audit-policy.yaml").write_bytes(read("audit-policy.yaml").encode())
    filled = Template(read("kwok.yaml")).safe_substitute(
        PKI=places.kwok_cluster / "pki", PLAYED_LOG=played_log
    )
    (places.config / "kwok.yaml").write_text(filled + "---\n" + read("played-pods.yaml"))
    nodes = [Template(read("played-node.yaml")).substitute(INDEX=index) for index in range(PLAYED_NODES)]
    (places.config / "played-nodes.yaml").write_text("---\n".join(nodes))


def read(name: str) -> str:
    return (HERE / "config" / name).read_text()


def stop(places: Places, programs: dict[str, Path]) -> None:
    """Also what a start that was killed half-way has left."""
    started = processes(places)
    if "kwokctl" in programs and places.kwok_cluster.is_dir():
        kwokctl(places, programs, "delete", "cluster", check=False)
    end(started)


def processes(places: Places) -> list[Process]:
    mark = f"{places.kwok_cluster}/bin/"
    return find(lambda words: words[0].startswith(mark), mark)


def not_running(places: Places) -> list[str]:
    """Which of the five have ended."""
    return sorted(PROGRAMS - {process.name for process in processes(places)})


def kwokctl(places: Places, programs: dict[str, Path], *arguments: str, check: bool = True) -> None:
    """``kwokctl`` looks for kubectl on PATH and would download it: ours is put there first."""
    environment = {**os.environ, "KWOK_WORKDIR": str(places.kwok_workdir)}
    if "kubectl" in programs:
        environment["PATH"] = f"{programs['kubectl'].parent}{os.pathsep}{environment.get('PATH', '')}"
    places.logs.mkdir(parents=True, exist_ok=True)
    log = places.logs / "kwokctl.log"
    with log.open("ab") as output:
        command = [str(programs["kwokctl"]), "--name", KWOK_NAME, *arguments]
        done = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    if check and done.returncode != 0:
        raise StartFailed(f"kwokctl {arguments[0]} failed:\n{tails([log, *component_logs(places)])}")


def kubectl(places: Places, programs: dict[str, Path], *arguments: str) -> str:
    command = [str(programs["kubectl"]), "--kubeconfig", str(places.kubeconfig), *arguments]
    environment = {**os.environ, "KUBECACHEDIR": str(places.state / "kubectl-cache")}  # not ~/.kube
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise StartFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def wait_for_nodes(
    places: Places,
    programs: dict[str, Path],
    names: list[str],
    not_running: Callable[[], list[str]],
    logs: list[Path],
) -> None:
    """StartFailed, with the ends of the logs, when they do not come or what should bring them has ended."""

    def ready() -> bool:
        listed: dict[str, Any] = json.loads(kubectl(places, programs, "get", "nodes", "-o", "json"))
        return set(names) <= {node["metadata"]["name"] for node in listed["items"] if is_ready(node)}

    if not until(lambda: ready() or not_running(), within_seconds=60, interval_seconds=0.2) or not_running():
        ended = ", ".join(not_running())
        why = f"{ended} ended" if ended else "not within 60 s"
        raise StartFailed(f"no node {', '.join(names)}: {why}\n{tails(logs)}")


def is_ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions") or []
    return any((found["type"], found["status"]) == ("Ready", "True") for found in conditions)


def etcd_address(places: Places) -> str:
    """Where etcd answers, read from what kwokctl has written for the API server."""
    for component in yaml.safe_load_all((places.kwok_cluster / "kwok.yaml").read_text()):
        if component and component.get("kind") == "KwokctlConfiguration":
            return f"http://127.0.0.1:{component['options']['etcdPort']}"
    raise StartFailed(f"no etcd port in {places.kwok_cluster / 'kwok.yaml'}")


def component_logs(places: Places) -> list[Path]:
    return sorted(log for log in places.kwok_logs.glob("*.log") if log != places.audit_log)


def tails(logs: list[Path], count: int = 8) -> str:
    """What each log said last; the folder they are in is about to go."""
    shown = [
        (log.name, log.read_text(errors="replace").splitlines()[-count:]) for log in logs if log.is_file()
    ]
    return "\n".join(f"--- {name}\n" + "\n".join(lines) for name, lines in shown)
