"""The revisions that this program knows, oldest first: so that Alembic is imported only when migrating."""

from __future__ import annotations

from pathlib import Path
from typing import Final

KNOWN: Final[tuple[str, ...]] = ("0001", "0002", "0003", "0004")
NEWEST: Final = KNOWN[-1]


def migrations_folder() -> Path:
    """Inside the package when installed from a wheel; beside ``scheduler/`` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parents[1] / "migrations"
