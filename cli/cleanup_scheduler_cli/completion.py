"""`cleanup-cli completion SHELL`: the script that makes a shell complete our commands and options."""

from __future__ import annotations

import click

from cleanup_scheduler_cli.options import global_options
from cleanup_scheduler_cli.session import Session


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@global_options
@click.pass_obj
def completion(session: Session, shell: str) -> None:
    """The completion script for SHELL.

    bash: `source <(cleanup-cli completion bash)` in ~/.bashrc; zsh: the same in ~/.zshrc; fish:
    `cleanup-cli completion fish > ~/.config/fish/completions/cleanup-cli.fish`.
    """
    from click.shell_completion import get_completion_class

    from cleanup_scheduler_cli.app import cli

    made_for = get_completion_class(shell)
    if made_for is None:
        raise click.UsageError(f"no completion for {shell}")
    script = made_for(cli, {}, "cleanup-cli", "_CLEANUP_CLI_COMPLETE").source()
    click.echo(script)
