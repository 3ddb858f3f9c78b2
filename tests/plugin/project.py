"""Somebody's project with tests, run by a pytest process of its own; and what its ledger says afterwards."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple, TypeVar

from cleanup_scheduler.domain.events import Event, StoredEvent
from cleanup_scheduler.domain.lifecycle import fold
from cleanup_scheduler.domain.state import Scope, State
from cleanup_scheduler.ledger import open_ledger

Payload = TypeVar("Payload", bound=Event)
TIMEOUT_SECONDS = 90
REFUSED = "https://127.0.0.1:1"  # nobody listens there
_KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: somewhere
contexts: [{{name: somewhere, context: {{cluster: c, user: u, namespace: crucible}}}}]
clusters: [{{name: c, cluster: {{server: "{server}"}}}}]
users: [{{name: u, user: {{token: t}}}}]
"""


class Result(NamedTuple):
    """What a process came to."""

    exit_code: int
    out: str
    err: str

    def outcomes(self) -> dict[str, int]:
        """The counts of pytest's last line."""
        found = re.findall(r"(\d+) (passed|failed|skipped|error|xfailed|rerun)", self.out.splitlines()[-1])
        return {word: int(count) for count, word in found}

    def summary(self) -> list[str]:
        """The lines of our section of the summary."""
        lines = self.out.splitlines()
        starts = [n for n, line in enumerate(lines) if re.fullmatch(r"=+ cleanup-scheduler =+", line)]
        if not starts:
            return []
        ends = [n for n, line in enumerate(lines) if n > starts[0] and line.startswith("=")]
        return lines[starts[0] + 1 : ends[0]]


class Project:
    """A folder with a pyproject, a kubeconfig, and tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CLEANUP_SCHEDULER_", "TEST_LABEL", "PYTEST", "KUBE"))
        }
        self.environment |= {"HOME": str(folder), "NO_COLOR": "1", "COLUMNS": "200"}
        self.kubeconfig(REFUSED)
        self.configure("")

    def kubeconfig(self, server: str) -> None:
        """Point the project at a server."""
        file = self.folder / "kubeconfig"
        file.write_text(_KUBECONFIG.format(server=server))
        self.environment["KUBECONFIG"] = str(file)

    def configure(self, settings: str) -> None:
        """The lines below ``[tool.cleanup-scheduler]``."""
        self.write("pyproject.toml", f"[tool.cleanup-scheduler]\n{settings}\n")

    def write(self, name: str, text: str) -> Path:
        """A file of the project."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    def run(self, *arguments: str, env: dict[str, str] | None = None) -> Result:
        """Run Python with these arguments."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment | (env or {}),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def pytest(self, *arguments: str, env: dict[str, str] | None = None) -> Result:
        """Run pytest, with only the plugins that a test names."""
        return self.run("-m", "pytest", "-p", "no:cacheprovider", *arguments, env=env)

    def events(self) -> list[StoredEvent]:
        """Everything in the project's ledger."""
        with open_ledger(f"sqlite:///{self.folder}/.cleanup-scheduler/ledger.db") as ledger:
            return list(ledger.follow())

    def said(self, kind: type[Payload]) -> list[Payload]:
        """The payloads of one type, in order."""
        return [event.payload for event in self.events() if isinstance(event.payload, kind)]

    def scopes(self) -> dict[str, Scope]:
        """The scopes by the name of their test (without its folder); the last attempt wins."""
        state = State()
        for event in self.events():
            fold(state, event)
        return {scope.test_id.rpartition("::")[2]: scope for scope in state.scopes.values()}
