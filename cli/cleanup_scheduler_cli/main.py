"""The entry point: our errors become one line and their exit code; unexpected ones keep their traceback."""

from __future__ import annotations

import io
import os
import sys

import click
from cleanup_scheduler.errors import CleanupSchedulerError

from cleanup_scheduler_cli.app import cli
from cleanup_scheduler_cli.text import safe

_INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a letter gets its escape
            stream.reconfigure(errors="backslashreplace")
    try:
        code = cli.main(arguments, prog_name="cleanup-cli", standalone_mode=False)
        sys.stdout.flush()
    except CleanupSchedulerError as error:
        return _complain(str(error), error.exit_code)
    except click.ClickException as error:
        return _complain(_one_line(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _complain("interrupted", _INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


def _complain(what: str, exit_code: int) -> int:
    click.echo(f"cleanup-cli: {safe(what)}", err=True)
    return exit_code


def _one_line(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    if context is None or "(" in message:
        return message
    return f"{message} (see `{context.command_path} --help`)"
