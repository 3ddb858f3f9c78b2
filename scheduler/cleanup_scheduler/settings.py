"""Every setting, its default, its unit (in its name) and where its value came from.

Weakest first: the default, ``[tool.cleanup-scheduler]`` of the nearest ``pyproject.toml`` (or the top level
of the nearest ``cleanup-scheduler.toml``), ``CLEANUP_SCHEDULER_*`` environment variables, options given in
code or on a command line. Refuses what it does not know: a misspelt key is an error that names the nearest.
"""

from __future__ import annotations

import difflib
import functools
import math
import os
import tomllib
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from cleanup_scheduler.domain.policy import PolicyRules
from cleanup_scheduler.domain.resources import Level, Malformed, canonical_kind
from cleanup_scheduler.domain.selectors import parse_selector
from cleanup_scheduler.errors import SettingsError

ENV_PREFIX: Final = "CLEANUP_SCHEDULER_"
STATE_FOLDER: Final = ".cleanup-scheduler"
_NEVER_NEGATIVE: Final = (
    *("_seconds", "_hours", "_days", "_bytes", "_attempts", "_percent", "_deletions"),
    *("_per_second", "_all_workers"),
)
_FILES: Final = ("cleanup-scheduler.toml", "pyproject.toml")
# variables with our prefix that are no settings: they tell a child process what it belongs to ...
_BELONGS_TO: Final = frozenset({"RUN_ID", "SCOPE_ID", "LEDGER_ID", "SUITE_LEDGER_ID", "EMBEDDED_POD"})
_FOR_OUR_TESTS: Final = ("TEST_", "CLUSTER_STATE")  # ... or speak to our own tests and cluster tools


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings. Durations and sizes carry their unit in their name."""

    # the ledger
    ledger_url: str = ""
    ledger_required: bool = False
    ledger_timeout_seconds: float = 5.0
    max_event_bytes: int = 1_000_000
    # the cluster
    kubeconfig: str = ""
    context: str = ""
    cluster: str = ""
    namespace: str = ""
    quota: str = ""
    request_timeout_seconds: float = 10.0
    concurrency: int = 16
    max_requests_per_second: float = 0.0
    max_requests_per_second_all_workers: float = 0.0
    # the policy
    resource_cleanup: Level | None = None
    preserve_failed_hours: float = 24.0
    orphan_grace_seconds: float = 600.0
    allowed_namespaces: list[str] = []
    protected_namespaces: list[str] = msgspec.field(
        default_factory=lambda: ["kube-system", "kube-public", "kube-node-lease"]
    )
    allowed_kinds: list[str] = []
    # the test process
    wait: Literal["freed", "fixed"] = "freed"
    wait_after_seconds: float = 3.0
    heartbeat_seconds: float = 10.0
    run_lease_seconds: float = 60.0
    # the worker
    tick_seconds: float = 1.0
    sweep_seconds: float = 60.0
    worker_lease_seconds: float = 30.0
    claim_lease_seconds: float = 60.0
    shutdown_seconds: float = 20.0
    max_attempts: int = 8
    backoff_first_seconds: float = 1.0
    backoff_max_seconds: float = 300.0
    confirm_seconds: float = 30.0
    # the archive of logs
    archive_logs: bool = True
    max_log_bytes: int = 5_000_000
    log_timeout_seconds: float = 30.0
    archive_retention_days: float = 90.0
    archive_max_bytes: int = 2_000_000_000
    # the sweep
    selector: str = ""
    age_selector: str = ""
    age_hours: float = 24.0
    brake_max_deletions: int = 500
    brake_max_share_percent: float = 100.0
    # the orchestrator
    suites: dict[str, str] = {}
    suite_image: str = "python:3.12-slim"
    suite_pod_template: str = ""
    suite_timeout_seconds: float = 3600.0

    def policy_rules(self) -> PolicyRules:
        """The part that the policy reads."""
        return PolicyRules(
            preserve_failed=timedelta(hours=self.preserve_failed_hours),
            orphan_grace=timedelta(seconds=self.orphan_grace_seconds),
            allowed_namespaces=frozenset(self.allowed_namespaces),
            protected_namespaces=frozenset(self.protected_namespaces),
            allowed_kinds=frozenset(map(canonical_kind, self.allowed_kinds)),
        )


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, where each came from, and the folder that relative paths and the state belong to."""

    settings: Settings
    sources: dict[str, str]
    root: Path

    @property
    def state_folder(self) -> Path:
        """``.cleanup-scheduler/`` beside the configuration; ignored by git by itself."""
        return self.root / STATE_FOLDER

    @property
    def journal_folder(self) -> Path:
        """Where events wait that tests said while the ledger was out of reach."""
        return self.state_folder / "journal"

    @property
    def ledger_url(self) -> str:
        """The ledger in use: the setting, or SQLite in the state folder."""
        return self.settings.ledger_url or f"sqlite:///{self.state_folder / 'ledger.db'}"


def load_settings(
    start: Path | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Loaded:
    """Read the settings that hold in folder ``start`` (default: the current one).

    ``options`` are values given in code; those that are None count as not given. Raises
    :class:`SettingsError` naming the key, where it stands and the nearest known one.
    """
    start = (start or Path.cwd()).resolve()
    file, table = _nearest_table(start)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, given in (
        (str(file) if file else "", table),
        ("environment", _from_environment(os.environ if environment is None else environment)),
        ("option", {key: value for key, value in (options or {}).items() if value is not None}),
    ):
        for key, value in given.items():
            name = _known(key, source)
            values[name] = _convert(name, value, source)
            sources[name] = f"{ENV_PREFIX}{name.upper()}" if source == "environment" else source
    settings = Settings(**values)
    _check("allowed_kinds", settings.policy_rules, sources)
    for name in ("selector", "age_selector"):
        _check(name, functools.partial(parse_selector, getattr(settings, name)), sources)
    return Loaded(settings=settings, sources=sources, root=file.parent if file else _project_root(start))


def _check(name: str, read: Callable[[], object], sources: Mapping[str, str]) -> None:
    """What only shows when the value is used must not show up hours later."""
    try:
        read()
    except Malformed as error:
        raise SettingsError(f"{sources[name]}: setting {name!r}: {error}") from error


def _nearest_table(start: Path) -> tuple[Path | None, dict[str, Any]]:
    for folder in (start, *start.parents):
        for name in _FILES:
            file = folder / name
            if file.is_file():
                table = _read_table(file)
                if table is not None:
                    return file, table
    return None, {}


def _read_table(file: Path) -> dict[str, Any] | None:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}", hint="mend the file or remove it") from error
    if file.name == "cleanup-scheduler.toml":
        return document
    table = document.get("tool", {}).get("cleanup-scheduler")
    if table is not None and not isinstance(table, dict):
        raise SettingsError(
            f"{file}: tool.cleanup-scheduler is not a table", hint="write [tool.cleanup-scheduler]"
        )
    return table


def _project_root(start: Path) -> Path:
    """Without a configuration the state goes beside the nearest project file or repository, else here."""
    for folder in (start, *start.parents):
        if any((folder / mark).exists() for mark in ("pyproject.toml", ".git", "pytest.ini", "tox.ini")):
            return folder
    return start


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(ENV_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(ENV_PREFIX) and _is_setting(name.removeprefix(ENV_PREFIX))
    }


def _is_setting(name: str) -> bool:
    return name not in _BELONGS_TO and not name.startswith(_FOR_OUR_TESTS)


def _known(key: str, source: str) -> str:
    name = key.replace("-", "_")
    if name in Settings.__struct_fields__:
        return name
    nearest = difflib.get_close_matches(name, Settings.__struct_fields__, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}?" if nearest else "`cleanup-cli config` lists every setting"
    shown = f"{ENV_PREFIX}{key.upper()}" if source == "environment" else key
    raise SettingsError(f"{source}: unknown setting {shown!r}", hint=hint)


def _convert(name: str, value: Any, source: str) -> Any:
    expected = _TYPES[name]
    if source == "environment" and expected in (list[str], dict[str, str]):
        value = _split(value, as_dict=expected == dict[str, str])
    try:
        converted = msgspec.convert(value, expected, strict=source != "environment")
    except msgspec.ValidationError as error:
        raise SettingsError(f"{source}: setting {name!r} is {value!r}: {error}", hint=_hint(name)) from error
    if isinstance(converted, float) and not math.isfinite(converted):
        raise SettingsError(f"{source}: setting {name!r} is {value!r}", hint="it must be a finite number")
    if name.endswith(_NEVER_NEGATIVE) and converted < 0:
        raise SettingsError(f"{source}: setting {name!r} is {value!r}", hint="it cannot be negative")
    return converted


def _split(value: str, *, as_dict: bool) -> list[str] | dict[str, str]:
    parts = [part.strip() for part in value.split(",") if part.strip()]
    return dict(part.partition("=")[::2] for part in parts) if as_dict else parts


def _hint(name: str) -> str:
    return "use one of: none, pods, all" if name == "resource_cleanup" else f"it is of type {_TYPES[name]}"


_TYPES: Final[dict[str, Any]] = {field.name: field.type for field in msgspec.structs.fields(Settings)}
