"""`cleanup-cli config`: every setting with its value, its unit and where it came from."""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec

from cleanup_scheduler_cli.options import format_option, global_options
from cleanup_scheduler_cli.session import Session

_UNITS: Final = ("seconds", "hours", "bytes", "percent", "attempts", "deletions")
_DERIVED: Final = "derived"


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """``source`` is a file, an environment variable, ``option``, ``default``, or how it was derived."""

    name: str
    value: Any
    unit: str
    source: str


@click.command()
@format_option("table", "json", "yaml", "name", "csv")
@global_options
@click.pass_obj
def config(session: Session, form: str) -> None:
    """Every setting with its value, unit and source.

    Weakest first: the default, the nearest cleanup-scheduler.toml or pyproject.toml, the environment
    (CLEANUP_SCHEDULER_…), options.
    """
    settings = all_settings(session)
    out = session.out
    rows = [(s.name, _shown(s.value), s.unit, s.source) for s in settings]
    match form:
        case "json":
            out.json(settings)
        case "yaml":
            out.yaml(settings)
        case "name":
            for setting in settings:
                out.line(setting.name)
        case "csv":
            out.csv(("setting", "value", "unit", "source"), rows)
        case _:
            out.table(("SETTING", "VALUE", "UNIT", "SOURCE"), rows)


def all_settings(session: Session) -> list[Setting]:
    """In the order of their declaration. Passwords are never shown."""
    loaded = session.loaded
    values: dict[str, Any] = msgspec.to_builtins(loaded.settings)
    found = []
    for name, value in values.items():
        source = loaded.sources.get(name, "default")
        if name == "ledger_url":
            value, source = (
                _ledger_url(loaded.ledger_url),
                source if value else f"{_DERIVED} from {loaded.root}",
            )
        found.append(Setting(name=name, value=value, unit=_unit(name), source=source))
    return found


def _ledger_url(url: str) -> str:
    """With the password hidden, whatever its form."""
    import re

    return re.sub(r"(//[^/@:]*):[^@]*@", r"\1:***@", url)


def _unit(name: str) -> str:
    return next((unit for unit in _UNITS if name.endswith(unit)), "")


def _shown(value: Any) -> str:
    match value:
        case None | "" | [] | {}:
            return "-"
        case bool():
            return str(value).lower()
        case list():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{key}={part}" for key, part in value.items())
        case _:
            return str(value)
