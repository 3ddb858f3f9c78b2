"""``python -m cleanup_scheduler.testing --kubeconfig FILE``: an embedded cluster until SIGTERM or Ctrl-C."""

from __future__ import annotations

import re
import signal
import sys
import threading
from pathlib import Path

import click

from cleanup_scheduler.testing.cluster import EmbeddedCluster

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _namespace(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not _NAMESPACE.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a namespace name: use lower case letters, digits and '-'")
    return value


@click.command(help=__doc__)
@click.option(
    "--kubeconfig", required=True, type=click.Path(path_type=Path, dir_okay=False), help="file to write"
)
@click.option(
    "--namespace", default="crucible", show_default=True, callback=_namespace, help="made at the start"
)
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="port on loopback; 0 is any free one")
@click.option("--audit-log", type=click.Path(path_type=Path, dir_okay=False), help="deletes as JSON lines")
def _serve(kubeconfig: Path, namespace: str, port: int, audit_log: Path | None) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        cluster = EmbeddedCluster(kubeconfig=kubeconfig, namespace=namespace, port=port, audit_log=audit_log)
        cluster.start()
    except OSError as error:
        raise click.UsageError(f"cannot start: {error}") from error
    try:
        click.echo(f"ready {cluster.server} kubeconfig={kubeconfig} namespace={namespace}")
        stop.wait()
    finally:
        cluster.stop()
        kubeconfig.unlink(missing_ok=True)


def main() -> None:
    """Bad arguments are told in one line, with exit code 2."""
    try:
        _serve.main(prog_name="python -m cleanup_scheduler.testing", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
