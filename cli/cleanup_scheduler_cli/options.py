"""The options that every command takes, before or after its name, and those that several share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from cleanup_scheduler_cli.session import Session

Command = TypeVar("Command", bound=Callable[..., Any])
_SETTINGS: Final = {"ledger": "ledger_url"}


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Kept in the session; the one nearest to the command's end wins."""
    session = context.ensure_object(Session)
    if parameter.name == "no_color":
        session.no_color = session.no_color or bool(value)
    elif value is not None:
        session.options[_SETTINGS.get(str(parameter.name), str(parameter.name))] = value


def _shared(*names: str, text: str, **attributes: Any) -> Callable[[Command], Command]:
    return click.option(*names, help=text, expose_value=False, callback=_remember, **attributes)


_GLOBAL: Final = (
    _shared("--ledger", metavar="URL", text="The ledger, like sqlite:///FILE or postgresql://HOST/NAME."),
    _shared("--kubeconfig", metavar="FILE", text="The kubeconfig, as kubectl's."),
    _shared("--context", metavar="NAME", text="The kubeconfig's context."),
    _shared("-n", "--namespace", metavar="NAME", text="Only what is in this namespace."),
    _shared(
        "--no-color", is_flag=True, default=False, text="No colour; the variable NO_COLOR says the same."
    ),
)


def global_options(command: Command) -> Command:
    """Adds the options that every command takes."""
    for option in reversed(_GLOBAL):
        command = option(command)
    return command


def format_option(*formats: str) -> Callable[[Command], Command]:
    """``-o`` with the formats given (the first is the default), and ``--json`` as its short form."""

    def decorate(command: Command) -> Command:
        option = click.option(
            "-o", "--output", "form", type=click.Choice(formats), default=formats[0], show_default=True,
            help="The form of the output.",
        )  # fmt: skip
        json = click.option("--json", "form", flag_value="json", help="The same as -o json.")
        return option(json(command))

    return decorate


def since_option(text: str) -> Callable[[Command], Command]:
    """``--since``, with what it means for the command."""
    return click.option(
        "--since", metavar="WHEN", help=f"{text}: 90s, 2h30m, 7d, or a time like 2026-01-31T12:00."
    )


def target_argument(command: Command) -> Command:
    """What the command is about, in one or two words."""
    return click.argument("target", nargs=-1, required=True)(command)
