"""Which programs the cluster is made of, in which versions, and where each is found: among what the user
named (``KUBEBUILDER_ASSETS``), in our cache, on ``PATH``. It refuses a program of another minor version.

Finding never builds; :mod:`tools.cluster.build` does, for what is missing here.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tools.cluster.places import HERE

KUBERNETES_VERSION = "1.37.2"
ETCD_VERSION = "3.7.3"
KWOK_VERSION = "0.8.0"
CONTAINERD_VERSION = "2.4.2"
ASSETS = "KUBEBUILDER_ASSETS"


@dataclass(frozen=True)
class GoModule:
    """A folder below ``go/`` whose ``go.mod`` names what to build, and how programs learn their version."""

    name: str
    version: str
    packages: dict[str, str]  # program -> Go package
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return HERE / "go" / self.name

    @property
    def linker_flags(self) -> str:
        """Without them Kubernetes' programs call themselves v0.0.0-master, which clients cannot parse."""
        return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in self.variables.items())])

    def digest(self) -> str:
        """Changes with whatever changes the programs: sources' versions, linker flags, platform."""
        files = [self.folder / "go.mod", self.folder / "go.sum"]
        parts = [file.read_bytes() for file in files]
        parts += [self.linker_flags.encode(), f"{platform.system()}/{platform.machine()}".lower().encode()]
        whole = hashlib.sha256()
        for part in parts:
            whole.update(len(part).to_bytes(8, "big") + part)
        return whole.hexdigest()[:16]


KUBERNETES = GoModule(
    "kubernetes",
    KUBERNETES_VERSION,
    {
        name: f"k8s.io/kubernetes/cmd/{name}"
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
    },
    {
        "k8s.io/component-base/version.gitVersion": f"v{KUBERNETES_VERSION}",
        "k8s.io/component-base/version.gitMajor": KUBERNETES_VERSION.split(".")[0],
        "k8s.io/component-base/version.gitMinor": KUBERNETES_VERSION.split(".")[1],
        "k8s.io/client-go/pkg/version.gitVersion": f"v{KUBERNETES_VERSION}",
    },
)
KUBELET = GoModule(
    "kubernetes", KUBERNETES_VERSION, {"kubelet": "k8s.io/kubernetes/cmd/kubelet"}, KUBERNETES.variables
)
ETCD = GoModule("etcd", ETCD_VERSION, {"etcd": "go.etcd.io/etcd/server/v3"})
KWOK = GoModule("kwok", KWOK_VERSION, {name: f"sigs.k8s.io/kwok/cmd/{name}" for name in ("kwok", "kwokctl")})
CONTAINERD = GoModule(
    "containerd",
    CONTAINERD_VERSION,
    {
        name: f"github.com/containerd/containerd/v2/cmd/{name}"
        for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    },
)
CONTROL_PLANE = (ETCD, KUBERNETES, KWOK)
REAL_NODE = (KUBELET, CONTAINERD)
VERSION_ARGUMENTS = {"kubectl": ["version", "--client"], "containerd-shim-runc-v2": ["-v"]}


@dataclass(frozen=True)
class Shelf:
    """Where finished programs are put and looked for."""

    cache: Path

    def folder(self, module: GoModule) -> Path:
        return self.cache / f"{module.name}-{module.version}-{module.digest()}"

    def find(self, module: GoModule, program: str) -> Path | None:
        """The user's own choice first, then what we built, then whatever lies on PATH and fits."""
        if assets := os.environ.get(ASSETS):
            named = Path(assets) / program
            if fits(named, module.version):
                return named
        built = self.folder(module) / program
        if built.is_file():
            return built
        found = shutil.which(program)
        return Path(found) if found and fits(Path(found), module.version) else None

    def missing(self, modules: tuple[GoModule, ...]) -> list[tuple[GoModule, str]]:
        return [(m, program) for m in modules for program in m.packages if self.find(m, program) is None]

    def programs(self, modules: tuple[GoModule, ...]) -> dict[str, Path]:
        """Every program of these modules; those not found are left out."""
        found = {program: self.find(m, program) for m in modules for program in m.packages}
        return {program: path for program, path in found.items() if path}


def fits(program: Path, version: str) -> bool:
    """Whether this is an executable that says it has the same major and minor version."""
    if not os.access(program, os.X_OK):
        return False
    command = [str(program), *VERSION_ARGUMENTS.get(program.name, ["--version"])]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return minor_version(said.stdout + said.stderr) == minor_version(version)


def minor_version(text: str) -> tuple[int, int] | None:
    """The first thing in the text that looks like a version: (major, minor)."""
    found = re.search(r"\bv?(\d+)\.(\d+)\.\d+", text)
    return (int(found[1]), int(found[2])) if found else None
