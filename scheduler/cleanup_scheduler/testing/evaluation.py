"""The evaluation service of the examples: a platform that runs code in Jobs and knows of its users' tests
nothing.

    python -m cleanup_scheduler.testing.evaluation --kubeconfig FILE [--namespace crucible]
        [--pod-template FILE] [--port 0]

prints one line that starts with ``ready URL`` and serves on loopback until SIGTERM or Ctrl-C. The tests of
the examples submit through it instead of creating Jobs, because that is the normal case: Jobs are created by
somebody else and known by name only.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from pathlib import Path
from types import TracebackType

from cleanup_scheduler.errors import CleanupSchedulerError
from cleanup_scheduler.settings import Settings
from cleanup_scheduler.testing.evaluation_client import (
    ApiSession,
    Evaluation,
    EvaluationRefused,
    get_evaluation,
    submit_evaluation,
    wait_for_evaluation,
)

__all__ = [
    "ApiSession",
    "Evaluation",
    "EvaluationRefused",
    "EvaluationService",
    "get_evaluation",
    "submit_evaluation",
    "wait_for_evaluation",
]


class EvaluationService:
    """The service in this process, in a thread of its own; a context manager. ``url`` is set once it runs.

    ``pod_template`` is a YAML file with a PodTemplateSpec (volumes, environment, node selector, image): what
    the pods of evaluations need on that cluster. The command comes from the service.
    """

    def __init__(
        self,
        kubeconfig: Path | str,
        *,
        namespace: str = "crucible",
        pod_template: Path | str | None = None,
        port: int = 0,
    ) -> None:
        self._settings = Settings(kubeconfig=str(kubeconfig), namespace=namespace)
        self._template_file = Path(pod_template) if pod_template else None
        self._port = port
        self._started = threading.Event()
        self._problem: BaseException | None = None
        self.url = ""

    def start(self) -> str:
        """Serve; returns the URL. Raises ``SettingsError``, or ``OSError`` when the port is taken."""
        self._thread = threading.Thread(target=self._run, name="evaluation-service", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._problem is not None:
            self._thread.join()
            raise self._problem
        return self.url

    def stop(self) -> None:
        """End it; Jobs that were submitted stay."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def __enter__(self) -> EvaluationService:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as problem:  # noqa: BLE001 handed to the thread that waits in start()
            self._problem = problem
        finally:
            self._started.set()

    async def _serve(self) -> None:
        from aiohttp import web  # not needed by those who only submit

        from cleanup_scheduler.cluster import connect
        from cleanup_scheduler.testing.evaluation_server import Evaluations, read_template

        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        template = read_template(self._template_file)
        async with connect(self._settings) as cluster:
            runner = web.AppRunner(
                Evaluations(cluster, cluster.namespace, template).app(), access_log=None, shutdown_timeout=1.0
            )
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", self._port).start()
                self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                self._started.set()
                await self._stopping.wait()
            finally:
                await runner.cleanup()


def _serve_until_told(kubeconfig: Path, namespace: str, pod_template: Path | None, port: int) -> None:
    import click

    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    try:
        with EvaluationService(
            kubeconfig, namespace=namespace, pod_template=pod_template, port=port
        ) as service:
            click.echo(f"ready {service.url} namespace={namespace}")
            told.wait()
    except (CleanupSchedulerError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


def main() -> None:
    """Bad arguments are told in one line, with exit code 2."""
    import click

    file = click.Path(path_type=Path, dir_okay=False)
    options: list[click.Parameter] = [
        click.Option(["--kubeconfig"], required=True, type=file, help="the cluster to run evaluations on"),
        click.Option(["--namespace"], default="crucible", show_default=True, help="where its Jobs go"),
        click.Option(["--pod-template"], type=file, help="YAML PodTemplateSpec for the pods"),
        click.Option(["--port"], default=0, type=click.IntRange(0, 65535), help="0 is any free one"),
    ]
    command = click.Command("evaluation", callback=_serve_until_told, params=options, help=__doc__)
    try:
        command.main(prog_name="python -m cleanup_scheduler.testing.evaluation", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
