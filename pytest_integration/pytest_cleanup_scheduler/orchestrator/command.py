"""The command line of the orchestrator: what it takes, what it says, its exit codes.

0 all passed, 1 tests failed, 2 bad input, 4 the cluster is out of reach, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click
from cleanup_scheduler.domain.resources import Level
from cleanup_scheduler.errors import CleanupSchedulerError, UsageError
from cleanup_scheduler.settings import load_settings

from pytest_cleanup_scheduler.orchestrator.running import Orchestrator, Order
from pytest_cleanup_scheduler.orchestrator.suites import choose, known_suites
from pytest_cleanup_scheduler.problems import one_line
from pytest_cleanup_scheduler.wishes import check_level

INTERRUPTED_EXIT_CODE = 130


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("suites", nargs=-1)
@click.option(
    "--resource-cleanup", "--cleanup-level", metavar="none|pods|all", help="What is cleaned up; default none."
)
@click.option("--parallel", is_flag=True, help="Run the suites at the same time.")
@click.option("--force-cleanup", is_flag=True, help="Clean up after failed tests and suites too.")
@click.option("-n", "--namespace", help="Where suites run; default: settings, kubeconfig, crucible.")
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path), help="The kubeconfig to use, here and in the pods."
)
@click.option("--context", help="The kubeconfig's context to use.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Stop a suite that takes longer.")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="A variable for the suites' pods.")
@click.pass_obj
def orchestrate(
    root: Path | None,
    suites: Sequence[str],
    *,
    resource_cleanup: str | None,
    parallel: bool,
    force_cleanup: bool,
    namespace: str | None,
    kubeconfig: Path | None,
    context: str | None,
    timeout: float | None,
    env: Sequence[str],
) -> None:
    """Run test suites, each in a Kubernetes Job.

    SUITES are suites by name, or test files; all suites when none is named.
    """
    signal.signal(signal.SIGTERM, _as_ctrl_c)
    try:
        level = None if resource_cleanup is None else _level(resource_cleanup)
        loaded = load_settings(
            root,
            options={
                "namespace": namespace,
                "kubeconfig": None if kubeconfig is None else str(kubeconfig.absolute()),
                "context": context,
                "suite_timeout_seconds": timeout,
            },
        )
        checkout = root or loaded.root
        order = Order(
            suites=choose(suites, known_suites(checkout, loaded.settings.suites), checkout, Path.cwd()),
            root=checkout,
            loaded=loaded,
            level=level,
            force=force_cleanup,
            parallel=parallel,
            kubeconfig=kubeconfig is not None,
            environment=dict(_variable(text) for text in env),
        )
        code = Orchestrator(order).run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_EXIT_CODE)
    except CleanupSchedulerError as error:
        click.echo(f"error: {one_line(str(error))}", err=True)
        sys.exit(error.exit_code)
    sys.exit(code)


def _level(word: str) -> Level:
    try:
        return check_level(word)
    except UsageError as error:
        raise UsageError(f"--resource-cleanup: {error.message}", hint=error.hint) from error


def _variable(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise UsageError(f"--env {text!r} is no variable", hint="write NAME=VALUE")
    return name, value


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    """SIGTERM stops suites in good order, like Ctrl-C."""
    raise KeyboardInterrupt
