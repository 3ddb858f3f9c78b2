"""The import contracts hold, and each is seen to fail when somebody breaks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("scheduler", "cli", "pytest_integration")


def lint_imports(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(str(checkout / folder) for folder in FOLDERS)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_walls_stand(checkout: Path) -> None:
    linted = lint_imports(checkout)

    assert linted.returncode == 0, linted.stdout
    assert "5 kept, 0 broken" in linted.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        (
            "scheduler/cleanup_scheduler/domain/policy.py",
            "import cleanup_scheduler.settings",
            "the domain is pure",
        ),
        ("scheduler/cleanup_scheduler/engine/worker.py", "import sqlalchemy", "only the ledger knows SQL"),
        (
            "scheduler/cleanup_scheduler/reports/model.py",
            "import kubernetes",
            "only the cluster package knows",
        ),
        ("cli/cleanup_scheduler_cli/main.py", "import pytest_cleanup_scheduler", "the two faces do not know"),
        ("scheduler/cleanup_scheduler/ledger/rows.py", "import cleanup_scheduler.engine", "point one way"),
    ],
)
def test_a_broken_wall_is_seen(checkout: Path, module: str, line: str, contract: str) -> None:
    file = checkout / module
    file.write_text(f"{file.read_text()}\n{line}\n")

    linted = lint_imports(checkout)

    assert linted.returncode == 1
    broken = [row for row in linted.stdout.splitlines() if "BROKEN" in row]
    assert any(contract in row for row in broken), linted.stdout
