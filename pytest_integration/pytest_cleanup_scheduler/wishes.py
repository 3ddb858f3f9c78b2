"""What a decorator, a marker or a context manager asks for, and which of several levels holds.

Strongest first: an explicit ``--resource-cleanup none`` > decorator or context-manager argument >
``resource_manager.cleanup_level = ...`` > marker > ``--resource-cleanup`` > environment > configuration > the
default. Pure; knows neither pytest nor a ledger.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from cleanup_scheduler.domain.resources import LEVELS, Level
from cleanup_scheduler.errors import UnknownName, UsageError

OPTION = "--resource-cleanup"


class Wish(NamedTuple):
    """Arguments of a decorator, marker or context manager; None is not given. ``where`` is for messages."""

    level: Level | None = None
    wait_after_seconds: float | None = None
    force: bool = False
    test_id: str | None = None
    where: str = ""


class Chosen(NamedTuple):
    """The level that holds and who chose it."""

    level: Level
    source: str


class LevelSources(NamedTuple):
    """Every place that may name a level, strongest first (after an explicit ``none`` option)."""

    argument: Level | None = None
    set_in_test: Level | None = None
    marker: Level | None = None
    option: Level | None = None
    settings: Level | None = None
    settings_source: str = "configuration"
    default: Level = "pods"

    def choose(self) -> Chosen:
        """The level that holds."""
        if self.option == "none":
            return Chosen("none", f"{OPTION} none")
        ranking: Iterable[tuple[Level | None, str]] = (
            (self.argument, "decorator or context manager"),
            (self.set_in_test, "resource_manager.cleanup_level"),
            (self.marker, "marker"),
            (self.option, OPTION),
            (self.settings, self.settings_source),
        )
        return next(
            (Chosen(level, source) for level, source in ranking if level is not None),
            Chosen(self.default, "default"),
        )


def check_level(value: Any) -> Level:
    """The level itself, or :class:`UnknownName` naming the nearest."""
    if value in LEVELS:
        return cast(Level, value)
    nearest = difflib.get_close_matches(str(value).lower(), LEVELS, n=1, cutoff=0.5)
    guess = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise UnknownName(f"unknown cleanup level {value!r}", hint=f"{guess}use one of: {', '.join(LEVELS)}")


def check_wait(value: Any) -> float:
    """A number of seconds that can be waited, or :class:`UsageError`."""
    if (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and value >= 0
        and math.isfinite(value)
    ):
        return float(value)
    raise UsageError(f"wait_after is {value!r}", hint="give a number of seconds, 0 or more")
