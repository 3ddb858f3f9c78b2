"""``docs/compared.md`` points at tests that exist; a claim without one says that it is not there yet."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "compared.md").read_text(encoding="utf-8")
POINTER = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_test_that_is_named_exists() -> None:
    named = POINTER.findall(TEXT)
    assert len(named) > 30
    wrong = [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert wrong == []


def test_a_row_without_a_test_says_that_it_is_not_there_yet() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| |")]
    silent = [row for row in rows if not POINTER.search(row) and "not yet" not in row]
    assert silent == ["| trap | known from | test |"]
