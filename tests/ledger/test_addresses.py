"""What a ledger's URL may be, and what is said when it may not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cleanup_scheduler.errors import SettingsError
from cleanup_scheduler.ledger import open_ledger
from cleanup_scheduler.ledger.address import file_system_of, hide_password, parse_address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "unknown scheme ''"),
        ("mysql://u:secret@host/db", "unknown scheme 'mysql'"),
        ("ledger.db", "unknown scheme"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///folder/", "names no file"),
        ("postgresql://u:secret@host:port/db", "malformed"),
        ("postgresql://u:secret@host:5432", "names no database"),
        ("postgresql:db", "names no database"),
        ("postgresql:///db", "names no host"),
        ("postgresql://u:secret@[host/db", "malformed"),
    ],
)
def test_a_url_that_cannot_work_is_refused_without_showing_its_password(url: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        open_ledger(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p%40ss@host:5432/db", "postgresql://u:***@host:5432/db"),
        ("postgresql://u:p@ss@host/db", "postgresql://u:***@host/db"),
        ("postgresql://host/db?user=u&password=p&x=y", "postgresql://host/db?user=u&password=***&x=y"),
        ("postgresql://u@host/db", "postgresql://u@host/db"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert hide_password(url) == shown


def test_names_of_postgresql_are_understood() -> None:
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        assert parse_address(f"{scheme}://u:p@host/db").url == "postgresql+psycopg://u:p@host/db"


def test_a_relative_path_is_taken_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_address("sqlite:///ledger.db").path == tmp_path / "ledger.db"
    assert parse_address(f"sqlite:///{tmp_path}/with%20space.db").path == tmp_path / "with space.db"


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        f"2 1 0:50 / {tmp_path}/share rw,relatime shared:1 - nfs4 server:/export rw\n"
    )
    assert file_system_of(tmp_path / "share" / "ledger.db", mounts) == "nfs4"
    assert file_system_of(tmp_path / "shared.db", mounts) == "ext4"
    monkeypatch.setattr("cleanup_scheduler.ledger.address._MOUNTS", mounts)
    with pytest.raises(SettingsError, match=r"network file system \(nfs4\).*PostgreSQL"):
        parse_address(f"sqlite:///{tmp_path}/share/ledger.db")


def test_the_file_system_here_is_known() -> None:
    assert file_system_of(Path.cwd()) or sys.platform != "linux"


def test_importing_the_ledger_imports_no_database_library() -> None:
    code = (
        "import sys, cleanup_scheduler.ledger\n"
        "print([m for m in ('sqlalchemy', 'alembic', 'psycopg', 'sqlite3') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"


def test_opening_a_migrated_ledger_imports_no_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    open_ledger(url).close()
    code = f"import sys; from cleanup_scheduler.ledger import open_ledger; open_ledger({url!r}).close(); print('alembic' in sys.modules)"  # noqa: E501
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "False"
