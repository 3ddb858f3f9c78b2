"""The face for tests: a pytest plugin, a decorator, a context manager and the orchestrator.

Importing this package costs nothing: pytest imports it at every start, used or not. What it offers is loaded
on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_cleanup_scheduler.context import managed_test_resources
    from pytest_cleanup_scheduler.decorator import with_resource_cleanup
    from pytest_cleanup_scheduler.manager import ResourceManager

__all__ = ["ResourceManager", "managed_test_resources", "with_resource_cleanup"]

_HOMES = {
    "ResourceManager": "pytest_cleanup_scheduler.manager",
    "managed_test_resources": "pytest_cleanup_scheduler.context",
    "with_resource_cleanup": "pytest_cleanup_scheduler.decorator",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
