"""A project of somebody else, for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugin.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project whose cluster refuses connections."""
    return Project(tmp_path)
