"""Runs test suites, each in a Kubernetes Job of its own: ``./tests/test_orchestrator.py SUITE...``.

The suite's Job is itself tracked in a run of the orchestrator, so the same policy, worker and report speak of
it. Importing this package is cheap; :func:`main` is the command.
"""

from __future__ import annotations

from pathlib import Path


def main(root: Path | None = None) -> None:
    """The command line. ``root`` is the checkout whose suites are meant; the current folder's when None."""
    from pytest_cleanup_scheduler.orchestrator.command import orchestrate

    orchestrate(obj=root)
