"""The command tree. A command's module is imported when the command is run, not before."""

from __future__ import annotations

import importlib
from typing import Final

import click

from cleanup_scheduler_cli.options import global_options

_PACKAGE: Final = "cleanup_scheduler_cli"
# name -> (module, attribute, the line that `--help` shows)
COMMANDS: Final = {
    "report": ("report", "report", "What became of what the tests tracked, dead letters first."),
    "runs": ("runs", "runs", "The runs in the ledger, newest first."),
    "explain": ("explain", "explain", "What happened to a resource, and what the policy says now."),
    "logs": ("logs", "logs", "The archived logs of a resource whose pods may be gone."),
    "release": ("people", "release", "Clean it up now."),
    "hold": ("people", "hold", "Never clean it up until the hold is lifted."),
    "unhold": ("people", "unhold", "Lift a hold: the policy decides again."),
    "retry": ("people", "retry", "Try again what failed or was given up."),
    "status": ("status", "status", "Who is alive, and what is due."),
    "config": ("config", "config", "Every setting with its value, unit and source."),
    "ledger": ("ledger", "ledger", "Rebuild, export, import or prune the ledger."),
    "verify": ("verify", "verify", "Was an event changed, removed, or the end cut off?"),
    "doctor": ("verify", "doctor", "What is well around the ledger, and what is not."),
    "completion": ("completion", "completion", "The completion script for a shell."),
    "demo": ("demo.command", "demo", "See the whole idea work on a small cluster made for the occasion."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which people need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A misspelt command names the nearest one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            nearest = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else "`cleanup-cli --help` lists them"
            raise click.UsageError(f"no command {args[0]!r} ({hint})", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    None, "-V", "--version", package_name="cleanup-scheduler", message="cleanup-cli %(version)s"
)
@global_options
def cli() -> None:
    """Reads the ledger of what tests created in Kubernetes, and tells the scheduler what people decide.

    TARGET is one thing: job/NAME, `jobs NAME`, a uid, a test id, or a run id.

    Exit codes: 0 done; 1 found something wrong; 2 bad input; 3 a brake or a person is needed;
    4 the cluster or the ledger is out of reach.
    """
