"""The names under which this repository's tests know the product; other repositories import them from
``pytest_cleanup_scheduler``."""

from __future__ import annotations

from pytest_cleanup_scheduler import ResourceManager, managed_test_resources, with_resource_cleanup

__all__ = ["ResourceManager", "managed_test_resources", "with_resource_cleanup"]
