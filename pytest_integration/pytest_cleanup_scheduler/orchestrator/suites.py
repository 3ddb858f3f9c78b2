"""From what somebody typed to suites: a name of the configuration, a folder below ``tests/``, or a test file.

Pure but for looking whether files exist. Refuses what lies outside the checkout: a pod could not see it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cleanup_scheduler.errors import SettingsError, UnknownName, UsageError

_MOST_NAME_CHARACTERS: Final = 40  # a Job's name has at most 63, and its pods add a suffix


class Suite(NamedTuple):
    """``target`` is what pytest gets, relative to the checkout; ``name`` can be part of an object's name."""

    name: str
    target: str


def known_suites(root: Path, configured: Mapping[str, str]) -> list[Suite]:
    """The configured ones; without any, each folder below ``tests/`` that holds tests."""
    if configured:
        return [Suite(slug(name), _existing(root, name, path)) for name, path in configured.items()]
    folders = sorted(path for path in (root / "tests").glob("*/") if any(path.rglob("test_*.py")))
    return [Suite(slug(folder.name), str(folder.relative_to(root))) for folder in folders]


def _existing(root: Path, name: str, path: str) -> str:
    if not (root / path).exists():
        raise SettingsError(
            f"suite {name!r} is {path!r}, which does not exist in {root}", hint="mend `suites`"
        )
    return path


def choose(arguments: Sequence[str], known: Sequence[Suite], root: Path, folder: Path) -> list[Suite]:
    """The suites that ``arguments`` name, all known ones when there are none.

    A name of a suite comes first; anything else is a path (with or without ``::test``), looked for in
    ``folder`` and in the checkout. Raises :class:`UnknownName` naming the nearest and listing the known.
    """
    if not arguments and not known:
        raise UsageError(f"there is no suite in {root}", hint="name them in [tool.cleanup-scheduler.suites]")
    by_name = {suite.name: suite for suite in known}
    chosen = [by_name.get(argument) or _as_path(argument, by_name, root, folder) for argument in arguments]
    return list(dict.fromkeys(chosen)) or list(known)


def _as_path(argument: str, by_name: Mapping[str, Suite], root: Path, folder: Path) -> Suite:
    path, separator, test = argument.partition("::")
    for base in (folder, root):
        found = (base / path).resolve()
        if not path or not found.exists():
            continue
        if not found.is_relative_to(root):
            raise UsageError(f"{found} lies outside {root}", hint="suite pods see only the checkout")
        inside = str(found.relative_to(root))
        return Suite(slug(inside.removeprefix("tests/").removesuffix(".py")), f"{inside}{separator}{test}")
    nearest = difflib.get_close_matches(argument, by_name, n=1, cutoff=0.5)
    guess = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise UnknownName(
        f"unknown suite {argument!r}",
        hint=f"{guess}known: {', '.join(sorted(by_name)) or 'none'}; or a test file",
    )


def slug(text: str) -> str:
    """``text`` as a part of an object's name."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return plain[-_MOST_NAME_CHARACTERS:].strip("-") or "suite"
