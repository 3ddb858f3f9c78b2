"""``cleanup-scheduler``, for operators: ``run`` serves a cluster from a ledger, ``migrate`` prepares one.

Exit codes: 0 done, 1 something failed or was given up, 2 bad input, 3 a brake needs a person, 4 the cluster
or the ledger is out of reach.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import click

from cleanup_scheduler.errors import CleanupSchedulerError
from cleanup_scheduler.settings import Loaded, load_settings

if TYPE_CHECKING:
    from cleanup_scheduler.engine.loglines import LogFormat
    from cleanup_scheduler.engine.report import PassReport

_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells count
_EXIT_CODES: Final = """\b
Exit codes:
  0  done; or told to stop by SIGTERM or Ctrl-C, and stopped
  1  --once: something failed (it is tried again later) or was given up
  2  bad input: an option, a setting, the kubeconfig, a ledger that was not migrated
  3  --once: a brake stopped the pass, a person is needed
  4  --once: the cluster or the ledger is out of reach"""
_ledger_option = click.option("--ledger", metavar="URL", help="sqlite:///FILE or postgresql://…")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("cleanup-scheduler"), prog_name="cleanup-scheduler")
def cli() -> None:
    """Clean up what tests leave behind in Kubernetes, from a durable ledger."""


@cli.command(epilog=_EXIT_CODES)
@click.option("--once", "only_once", is_flag=True, help="One pass over everything, then exit.")
@click.option(
    "--dry-run", is_flag=True, help="Print what would be done and why; change nothing (with --once)."
)
@click.option("--force", is_flag=True, help="Go on where a brake would stop.")
@_ledger_option
@click.option("--kubeconfig", metavar="FILE", help="Default: KUBECONFIG, then ~/.kube/config.")
@click.option("--context", metavar="NAME", help="A context of the kubeconfig; default: its current one.")
@click.option(
    "--health-port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    help="Answer /healthz and /readyz over HTTP; 0: any free port, named in the log. Default: no HTTP.",
)
@click.option(
    "--health-host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="With --health-port. In a pod 0.0.0.0, so that the kubelet reaches it.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="A line for people, or a JSON object per line.",
)
@click.option("-v", "--verbose", is_flag=True, help="Also say what is waited for.")
def run(
    *,
    only_once: bool,
    dry_run: bool,
    force: bool,
    ledger: str | None,
    kubeconfig: str | None,
    context: str | None,
    health_port: int | None,
    health_host: str,
    log_format: LogFormat,
    verbose: bool,
) -> int:
    """Replay the ledger, clean up what is due, find what crashed runs left; on and on, or once."""
    if dry_run and not only_once:
        raise click.UsageError("--dry-run needs --once")
    if health_port is not None and only_once:
        raise click.UsageError("--health-port is for a worker that stays: leave --once out")
    loaded = _load(ledger_url=ledger, kubeconfig=kubeconfig, context=context)
    from cleanup_scheduler.engine import loglines

    loglines.set_up(log_format, verbose=verbose)
    from cleanup_scheduler.cluster import current_cluster
    from cleanup_scheduler.engine.daemon import Address, serve

    gc.freeze()  # what is imported stays; walking it anew took the collector a sixth of a pass's CPU time
    if only_once:
        return _once(loaded, force=force, dry_run=dry_run)
    current_cluster(loaded.settings)  # a wrong kubeconfig is said before anything is opened
    health = None if health_port is None else Address(health_host, health_port)
    asyncio.run(serve(loaded, force=force, health=health))
    return 0


@cli.command()
@_ledger_option
def migrate(*, ledger: str | None) -> int:
    """Create the ledger's tables, or bring them up to this version."""
    loaded = _load(ledger_url=ledger)
    from cleanup_scheduler.ledger import migrate as migrate_ledger

    click.echo(f"the ledger is at revision {migrate_ledger(loaded.ledger_url)}")
    return 0


def _load(**options: Any) -> Loaded:
    return load_settings(options=options)


def _once(loaded: Loaded, *, force: bool, dry_run: bool) -> int:
    from cleanup_scheduler.cluster import current_cluster
    from cleanup_scheduler.engine.daemon import once
    from cleanup_scheduler.ledger import open_ledger

    settings = loaded.settings
    current_cluster(settings)  # a wrong kubeconfig is said before a ledger is made
    with open_ledger(
        loaded.ledger_url,
        timeout_seconds=settings.ledger_timeout_seconds,
        max_event_bytes=settings.max_event_bytes,
    ) as ledger:
        report = asyncio.run(once(ledger, loaded, force=force, dry_run=dry_run))
    _print(report, dry_run=dry_run)
    return report.exit_code


def _print(report: PassReport, *, dry_run: bool) -> None:
    from cleanup_scheduler.engine.report import describe

    if dry_run:
        for item in report.items:
            click.echo(describe(item))
    click.echo(report.summary())


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit; errors of ours become one line."""
    try:
        code = cli.main(arguments, prog_name="cleanup-scheduler", standalone_mode=False)
    except CleanupSchedulerError as error:
        code = _complain(str(error), error.exit_code)
    except click.ClickException as error:
        code = _complain(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        code = _complain("interrupted", _INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(what: str, exit_code: int) -> int:
    from cleanup_scheduler.engine.report import printable

    click.echo(f"cleanup-scheduler: {printable(' '.join(what.split()))}", err=True)
    return exit_code


if __name__ == "__main__":
    main()
