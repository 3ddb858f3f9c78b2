"""docs/reference.md names every command, option, setting and exit code, with the defaults that hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from cleanup_scheduler import errors
from cleanup_scheduler.__main__ import cli as operators
from cleanup_scheduler.settings import Settings
from cleanup_scheduler_cli.app import COMMANDS, cli
from pytest_cleanup_scheduler.plugin import pytest_addoption

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
GLOBAL = {parameter.name for parameter in cli.params} | {"help"}


def section(title: str) -> str:
    """The text under a heading, up to the next one of its rank or higher."""
    found = re.search(
        rf"^(#+) {re.escape(title)}$(.*?)(?=^#{{1,3}} |\Z)", REFERENCE, re.MULTILINE | re.DOTALL
    )
    assert found, f"docs/reference.md has no section {title!r}"
    return found[2]


def command(name: str) -> click.Command:
    """By its words, like ``ledger export``."""
    found: click.Command | None = cli
    for word in name.split():
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), word)
    assert found is not None
    return found


def all_names() -> list[str]:
    names = []
    for name in COMMANDS:
        found = command(name)
        below = found.commands if isinstance(found, click.Group) else {}
        names += [name, *(f"{name} {word}" for word in below)]
    return names


ALL = all_names()


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_each_of_its_options_is_documented(name: str) -> None:
    text = section(f"cleanup-cli {name}")
    for parameter in command(name).params:
        if isinstance(parameter, click.Option) and parameter.name not in GLOBAL:
            for spelling in parameter.opts:
                assert re.search(rf"^\| .*`{spelling}[ `]", text, re.MULTILINE), f"{name} {spelling}"


@pytest.mark.parametrize("name", ALL)
def test_no_option_is_documented_that_does_not_exist(name: str) -> None:
    known = {spelling for parameter in command(name).params for spelling in parameter.opts}
    documented = set(re.findall(r"^\| (?:`-\w`, )?`(--[\w-]+)", section(f"cleanup-cli {name}"), re.MULTILINE))
    assert documented <= known


@pytest.mark.parametrize("name", ALL)
def test_every_command_says_in_help_what_it_does(name: str) -> None:
    assert command(name).help
    assert all(p.help for p in command(name).params if isinstance(p, click.Option))


@pytest.mark.parametrize("name", sorted(operators.commands))
def test_every_command_for_operators_is_documented(name: str) -> None:
    text = section(f"cleanup-scheduler {name}")
    for parameter in operators.commands[name].params:
        for spelling in parameter.opts:
            if spelling.startswith("-"):
                assert re.search(rf"^\| .*`{spelling}[ `]", text, re.MULTILINE), f"{name} {spelling}"


def test_every_pytest_option_is_documented() -> None:
    parser = pytest.Parser(_ispytest=True)
    pytest_addoption(parser)
    spellings = [name for option in parser.getgroup("cleanup-scheduler").options for name in option.names()]
    assert spellings
    for spelling in spellings:
        assert f"`{spelling}" in section("pytest"), spelling


def test_every_global_option_is_documented() -> None:
    text = section("cleanup-cli")
    for parameter in cli.params:
        assert f"`{parameter.opts[-1]}" in text, parameter.name


@pytest.mark.parametrize("field", msgspec.structs.fields(Settings), ids=lambda field: field.name)
def test_every_setting_is_documented_with_its_default(field: Any) -> None:
    row = re.search(rf"^\| `{field.name}` \| `(.*?)` \| \S.* \|$", section("Settings"), re.MULTILINE)
    assert row, field.name
    default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    assert json.loads(row[1]) == default


def test_no_setting_is_documented_that_does_not_exist() -> None:
    documented = re.findall(r"^\| `(\w+)` \| `", section("Settings"), re.MULTILINE)
    assert set(documented) == set(Settings.__struct_fields__)


def test_every_exit_code_of_an_error_is_documented() -> None:
    kinds = (kind for kind in vars(errors).values() if isinstance(kind, type))
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.CleanupSchedulerError)}
    for code in codes | {0, 130}:
        assert f"| {code} |" in section("Exit codes")


def test_every_format_that_a_command_offers_is_documented() -> None:
    for name in ALL:
        for parameter in command(name).params:
            if isinstance(parameter.type, click.Choice) and isinstance(parameter, click.Option):
                for choice in parameter.type.choices:
                    assert f"`{choice}`" in section(f"cleanup-cli {name}"), f"{name}: {choice}"
