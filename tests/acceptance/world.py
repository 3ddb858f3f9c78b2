"""A user with a checkout, a cluster and a shell: every command of the document is a process of its own.

The namespace is ``crucible`` and the labels are ``app=evaluation``, because the document's lines name them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import yaml
from cleanup_scheduler.domain.lifecycle import fold
from cleanup_scheduler.domain.state import Resource, Scope, State
from cleanup_scheduler.ledger import open_ledger

from tests.contracts.kubernetes.wire import Api, Json
from tests.under_test import ClusterUnderTest
from tests.witness import assert_every_delete_was_requested, deletes

CHECKOUT = Path(__file__).resolve().parents[2]
NAMESPACE = "crucible"
TIMEOUT_SECONDS = 280
_JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_QUOTAS = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas"


class Done(NamedTuple):
    """What a command came to. ``out`` is data, ``err`` is talk."""

    exit_code: int
    out: str
    err: str

    def well(self) -> Done:
        """It must have ended with 0."""
        assert self.exit_code == 0, f"exit code {self.exit_code}\n{self.out}\n{self.err}"
        return self


class World:
    """One test's."""

    def __init__(self, cluster: ClusterUnderTest, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.api = Api(cluster.kubeconfig)
        self.ledger_url = f"sqlite:///{folder}/ledger/ledger.db"
        (folder / "ledger").mkdir()
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CLEANUP_SCHEDULER_", "EVALUATION_", "PYTEST", "TEST_LABEL", "KUBE"))
        } | {
            "KUBECONFIG": str(cluster.kubeconfig),
            "CLEANUP_SCHEDULER_LEDGER_URL": self.ledger_url,
            "CLEANUP_SCHEDULER_NAMESPACE": NAMESPACE,
            "COLUMNS": "200",
            "NO_COLOR": "1",
        }
        if cluster.name != "embedded":
            self.environment["CLEANUP_SCHEDULER_SUITE_POD_TEMPLATE"] = str(self._suite_template())
        self._by_hand: set[str] = set()

    # ---- commands ----------------------------------------------------------------------------------------

    def orchestrator(self, *arguments: str) -> Done:
        """``./tests/test_orchestrator.py …`` from some other folder."""
        return self._run(CHECKOUT / "tests" / "test_orchestrator.py", *arguments)

    def start_orchestrator(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, without waiting for its end."""
        return subprocess.Popen(
            [CHECKOUT / "tests" / "test_orchestrator.py", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def cli(self, *arguments: str) -> Done:
        """``cleanup-cli …``."""
        return self._run(Path(sys.executable).parent / "cleanup-cli", *arguments)

    def scheduler(self, *arguments: str) -> Done:
        """``cleanup-scheduler …``."""
        return self._run(Path(sys.executable).parent / "cleanup-scheduler", *arguments)

    def kubectl(self, line: str) -> Done:
        """``kubectl …``, one line as the document prints it."""
        assert self.cluster.kubectl is not None
        return self._run(self.cluster.kubectl, *line.split())

    def _run(self, program: Path, *arguments: str) -> Done:
        done = subprocess.run(
            [program, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    # ---- the cluster -------------------------------------------------------------------------------------

    def jobs(self, prefix: str = "evaluation-job-") -> dict[str, Json]:
        """The Jobs of that prefix, by name."""
        items = self.api.get(_JOBS).ok()["items"] or []
        return {job["metadata"]["name"]: job for job in items if job["metadata"]["name"].startswith(prefix)}

    def pods(self, job_prefix: str = "evaluation-job-") -> list[str]:
        """The names of the pods of those Jobs that are not on their way out."""
        return [
            pod["metadata"]["name"]
            for pod in self.api.get(_PODS).ok()["items"] or []
            if pod["metadata"]["name"].startswith(job_prefix)
        ]

    def until(self, what: str, check: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until it is true."""
        deadline = time.monotonic() + seconds
        while not check():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
            time.sleep(0.1)

    def quota(self, pods: int) -> None:
        """The namespace's ``evaluation-quota``; returns once the API enforces it."""
        manifest = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "evaluation-quota"},
            "spec": {"hard": {"pods": str(pods)}},
        }
        self.api.post(_QUOTAS, manifest).ok()
        self.until("the quota counts", lambda: self._quota_used() is not None)

    def _quota_used(self) -> str | None:
        status = self.api.get(f"{_QUOTAS}/evaluation-quota").ok().get("status") or {}
        used: str | None = (status.get("used") or {}).get("pods")
        return used

    # ---- the ledger --------------------------------------------------------------------------------------

    def scopes(self) -> dict[str, Scope]:
        """The scopes by their test's name."""
        state = State()
        with open_ledger(self.ledger_url) as ledger:
            for event in ledger.follow():
                fold(state, event)
        return {scope.test_id.rpartition("::")[2]: scope for scope in state.scopes.values()}

    def tracked(self, test: str) -> list[Resource]:
        """What that test tracked."""
        return list(self.scopes()[test].tracked())

    def job_of(self, test: str) -> str:
        """The name of the one Job that the test tracked."""
        (resource,) = self.tracked(test)
        return resource.ref.name

    # ---- before and after --------------------------------------------------------------------------------

    def prepare(self) -> None:
        """The namespace exists and holds nothing of ours."""
        reply = self.api.post(
            "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        )
        assert reply.status in (201, 409), reply.text
        self.tidy()
        if self.cluster.audit is not None:
            self._by_hand = {delete.uid for delete in deletes(self.cluster, NAMESPACE)}

    def tidy(self) -> None:
        """Delete everything of the examples, and wait until it is gone."""
        self.api.delete(f"{_QUOTAS}/evaluation-quota")
        for prefix in ("evaluation-job-", "suite-"):
            for name in self.jobs(prefix):
                self.api.delete(f"{_JOBS}/{name}", {"propagationPolicy": "Background"})
            for name in self.pods(prefix):
                self.api.delete(f"{_PODS}/{name}", {"gracePeriodSeconds": 0})
            self._until_gone(prefix)

    def _until_gone(self, prefix: str) -> None:
        self.until(f"{prefix}* is gone", lambda: not self.jobs(prefix) and not self.pods(prefix))

    def close(self) -> None:
        """Leave nothing behind."""
        self.tidy()
        self.api.close()

    def assert_every_delete_was_requested(self) -> None:
        """What the API server wrote down, against the ledger."""
        if self.cluster.audit is not None and (self.folder / "ledger" / "ledger.db").exists():
            with open_ledger(self.ledger_url) as ledger:
                assert_every_delete_was_requested(
                    ledger, self.cluster, NAMESPACE, by_hand=frozenset(self._by_hand)
                )

    # ---- what pods need on a node with images of its own -------------------------------------------------

    def _suite_template(self) -> Path:
        """Suites use this machine's Python and checkout, and its network to reach the API server."""
        kubeconfig = self.cluster.kubeconfig.resolve()
        writable = [CHECKOUT, self.folder]
        readable = [kubeconfig.parent, *_python_folders()]
        template = self._with_host_folders(readable, writable)
        template["spec"] |= {"hostNetwork": True}
        (container,) = template["spec"]["containers"]
        container |= {"name": "suite", "workingDir": str(CHECKOUT), "command": [sys.executable]}
        container["env"] = [
            *container["env"],
            {"name": "KUBECONFIG", "value": str(kubeconfig)},
            {"name": "HOME", "value": str(self.folder)},
            {"name": "EVALUATION_POD_TEMPLATE", "value": str(self._evaluation_template())},
        ]
        return self._write("suite-pod.yaml", template)

    def _evaluation_template(self) -> Path:
        """Evaluations are plain Python."""
        return self._write("evaluation-pod.yaml", self._with_host_folders(_python_folders(), []))

    def simulated_evaluations(self) -> list[str]:
        """Arguments that have evaluations run on simulated nodes, where a hundred cost nothing."""
        if self.cluster.name == "embedded":
            return []
        template = self.cluster.simulated_template("complete")
        return ["--env", f"EVALUATION_POD_TEMPLATE={self._write('simulated-pod.yaml', template)}"]

    def _with_host_folders(self, readable: list[Path], writable: list[Path]) -> Json:
        template = self.cluster.process_template("")
        (container,) = template["spec"]["containers"]
        del container["command"]
        folders = [(path, True) for path in readable] + [(path, False) for path in writable]
        template["spec"]["volumes"] = [
            {"name": f"host-{n}", "hostPath": {"path": str(path.resolve())}}
            for n, (path, _) in enumerate(folders)
        ]
        container["volumeMounts"] = [
            {"name": f"host-{n}", "mountPath": str(path), "readOnly": read_only}
            for n, (path, read_only) in enumerate(folders)
        ]
        container["env"] = [{"name": "PATH", "value": f"{sys.base_prefix}/bin:/usr/bin:/bin"}]
        return template

    def _write(self, name: str, template: Json) -> Path:
        file = self.folder / name
        file.write_text(yaml.safe_dump(template))
        return file


def _python_folders() -> list[Path]:
    return [Path(sys.base_prefix), *(path for path in map(Path, ("/usr", "/lib", "/lib64")) if path.exists())]


def passed(output: str) -> int:
    """How many tests passed, by the last line of pytest's output (its colour and prefix taken off)."""
    found = re.findall(r"(\d+) passed", output)
    return int(found[-1]) if found else 0
